#include "models/tokens.h"

#include <fstream>

#include <gtest/gtest.h>

#include "tests/models/small_models.h"

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {
namespace {

std::string refusal(const std::filesystem::path& path) {
  try {
    tokens_of_file(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

template <class Id>
void write_ids(const std::filesystem::path& path, DType dtype, Shape shape, const std::vector<Id>& values) {
  Tensor ids(dtype, shape);
  std::ranges::copy(values, ids.as<Id>().begin());
  write_safetensors(path, {{"input_ids", ids.view()}});
}

TEST(Tokens, IdsOfAFile) {
  const TemporaryDirectory directory;
  write_ids<std::int32_t>(directory.path / "a.safetensors", DType::kI32, {1, 3}, {7, 31999, 0});
  EXPECT_EQ(tokens_of_file(directory.path / "a.safetensors"), (std::vector<std::int32_t>{7, 31999, 0}));
  write_ids<std::int64_t>(directory.path / "b.safetensors", DType::kI64, {1, 3}, {5, 1LL << 40, 2});
  EXPECT_EQ(tokens_of_file(directory.path / "b.safetensors"), (std::vector<std::int32_t>{5, -1, 2}));
}

TEST(Tokens, TextByteByByte) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path / "text.txt", std::ios::binary) << "a\n\xff";
  EXPECT_EQ(tokens_of_file(directory.path / "text.txt"), (std::vector<std::int32_t>{97, 10, 255}));
}

TEST(Tokens, FilesThatAreNoSequence) {
  const TemporaryDirectory directory;
  write_ids<std::int32_t>(directory.path / "two.safetensors", DType::kI32, {2, 2}, {1, 2, 3, 4});
  EXPECT_NE(refusal(directory.path / "two.safetensors").find("wanted one sequence"), std::string::npos);
  Tensor floats(DType::kF32, {1, 2});
  write_safetensors(directory.path / "floats.safetensors", {{"input_ids", floats.view()}});
  EXPECT_NE(refusal(directory.path / "floats.safetensors").find("wanted i32 or i64"), std::string::npos);
  write_safetensors(directory.path / "other.safetensors", {{"ids", floats.view()}});
  EXPECT_NE(refusal(directory.path / "other.safetensors").find("input_ids"), std::string::npos);
  std::ofstream(directory.path / "empty.txt");
  EXPECT_NE(refusal(directory.path / "empty.txt").find("found no text"), std::string::npos);
  EXPECT_NE(refusal(directory.path / "absent.txt").find("absent.txt"), std::string::npos);
}

}  // namespace
}  // namespace statescope
