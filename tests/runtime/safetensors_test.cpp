// The safetensors reader: round trips, every kind of lie with its message, and a fuzzer that mutates a good
// file.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {
namespace {

std::vector<std::byte> file_of(const std::string& header, std::size_t data_bytes) {
  std::vector<std::byte> bytes(8 + header.size() + data_bytes);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

std::string why(const std::string& header, std::size_t data_bytes) {
  const auto bytes = file_of(header, data_bytes);
  try {
    parse_safetensors(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

class Scratch : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "statescope-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir); }
  std::filesystem::path dir;
};

TEST_F(Scratch, FilesRoundTrip) {
  Tensor a(DType::kF32, {2, 3}), b(DType::kI32, {4}), c(DType::kBf16, {0, 5});
  a.as<float>()[5] = 2.5f;
  b.as<std::int32_t>()[3] = -7;
  write_safetensors(dir / "x.safetensors", {{"a", a.view()}, {"b", b.view()}, {"c", c.view()}},
                    {{"rule", "gla"}});
  const SafetensorsFile file(dir / "x.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(file.metadata().at("rule"), "gla");
  EXPECT_EQ(file.view("a").shape, (Shape{2, 3}));
  EXPECT_TRUE(std::ranges::equal(file.view("a").bytes, a.bytes));
  EXPECT_TRUE(std::ranges::equal(file.view("b").bytes, b.bytes));
  EXPECT_EQ(file.view("c").bytes.size(), 0u);
  EXPECT_THROW(file.view("d"), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir), {}), 1) << "a temporary file is left";
}

TEST_F(Scratch, AFailedWriteLeavesNothing) {
  Tensor a(DType::kF32, {2});
  std::filesystem::create_directory(dir / "taken");
  std::ofstream(dir / "taken" / "inside") << "x";
  EXPECT_THROW(write_safetensors(dir / "taken", {{"a", a.view()}}), Error);
  EXPECT_THROW(write_safetensors(dir / "absent" / "x", {{"a", a.view()}}), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir), {}), 1) << "a temporary file is left";
}

TEST_F(Scratch, NamesFilesThatCannotBeRead) {
  EXPECT_THROW(SafetensorsFile(dir / "absent"), Error);
  EXPECT_THROW(SafetensorsFile{dir}, Error);
  std::ofstream(dir / "empty");
  EXPECT_THROW(SafetensorsFile(dir / "empty"), Error);
}

TEST(Safetensors, NamesEveryLie) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(why(good, 8), "accepted");
  EXPECT_EQ(why(good, 4), "safetensors: tensor 'a' spans bytes 0 to 8 of a data part of 4");
  EXPECT_EQ(why(good, 12), "safetensors: tensors cover 8 of 12 data bytes");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
            "safetensors: tensor 'a' of shape [3] and type F32 spans 8 bytes");
  EXPECT_EQ(why(R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8),
            "safetensors: tensor 'a' has unknown type 'F33'");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8),
            "safetensors: tensor 'a': an extent is not a whole number");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8),
            "shape [4611686018427387904, 4] has more elements than 63 bits can count");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
            "safetensors: tensor 'a' spans bytes 8 to 0 of a data part of 8");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                6),
            "safetensors: tensors overlap or leave a gap at byte 2");
  EXPECT_EQ(why(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}})", 0),
            "safetensors: the header names 'a' twice");
  EXPECT_EQ(why(R"([1])", 0), "safetensors: the header is not a JSON object");
  EXPECT_EQ(why(R"({"a":)", 0), "safetensors: the header is not JSON");
  EXPECT_EQ(why(R"({"__metadata__":{"rule":1}})", 0), "safetensors: __metadata__ 'rule' is not a string");

  std::vector<std::byte> bytes = file_of(good, 8);
  const std::uint64_t absurd = ~0ull;
  std::memcpy(bytes.data(), &absurd, 8);
  EXPECT_THROW(parse_safetensors(bytes), Error);
  EXPECT_THROW(parse_safetensors(std::span(bytes).first(7)), Error);
}

TEST(Safetensors, SurvivesMutation) {
  const auto good = file_of(R"({"__metadata__":{"rule":"gla","scale":"0.5"},)"
                            R"("q":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                            R"("cu":{"dtype":"I32","shape":[2],"data_offsets":[24,32]}})",
                            32);
  std::mt19937 random(11);
  int accepted = 0, refused = 0;
  std::size_t sum = 0;
  for (int round = 0; round < 60000; ++round) {
    auto bytes = good;
    for (std::uint32_t edits = 1 + random() % 4; edits > 0; --edits) {
      switch (random() % 4) {
        case 0:
          bytes[random() % bytes.size()] = static_cast<std::byte>(random());
          break;
        case 1:
          bytes.resize(random() % (bytes.size() + 1) + 1);
          break;
        case 2:
          bytes.insert(bytes.begin() + random() % bytes.size(),
                       static_cast<std::byte>("0[]{}\",:9"[random() % 9]));
          break;
        case 3:
          bytes.erase(bytes.begin() + random() % bytes.size());
          break;
      }
      if (bytes.empty()) bytes.push_back({});
    }
    try {
      for (const auto& [name, view] : parse_safetensors(bytes)) {
        ASSERT_EQ(view.bytes.size(),
                  static_cast<std::size_t>(element_count(view.shape)) * size_of(view.dtype));
        for (std::byte b : view.bytes) sum += static_cast<std::size_t>(b);  // every byte must be readable
      }
      ++accepted;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 30000);
  EXPECT_GT(accepted, 100) << "the mutations never leave a readable file: they test only the first check "
                           << sum;
}

}  // namespace
}  // namespace statescope
