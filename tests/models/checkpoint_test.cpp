#include "models/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "models/layout.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// What `action` throws; empty when it does not.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.config.text, b.config.text);
  EXPECT_EQ(a.metadata, b.metadata);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, view] : a.tensors) {
    const TensorView& other = b.tensors.at(name);
    EXPECT_EQ(view.dtype, other.dtype) << name;
    EXPECT_EQ(view.shape, other.shape) << name;
    ASSERT_EQ(view.bytes.size(), other.bytes.size()) << name;
    EXPECT_EQ(std::memcmp(view.bytes.data(), other.bytes.data(), view.bytes.size()), 0) << name;
  }
}

class CheckpointTest : public testing::TestWithParam<const char*> {
 protected:
  TemporaryDirectory scratch;
};

TEST_P(CheckpointTest, SavesAndLoadsUnchangedWholeAndSharded) {
  for (DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    const Checkpoint made = random_checkpoint(small_config(GetParam()), 7, dtype);
    save_checkpoint(made, scratch.path / "whole");
    const Checkpoint whole = load_checkpoint(scratch.path / "whole");
    expect_equal(made, whole);
    EXPECT_EQ(whole.files.size(), 1u);
    save_checkpoint(whole, scratch.path / "shards", 8000);
    const Checkpoint sharded = load_checkpoint(scratch.path / "shards");
    expect_equal(made, sharded);
    EXPECT_GT(sharded.files.size(), 3u);
    std::filesystem::remove_all(scratch.path / "whole");
    std::filesystem::remove_all(scratch.path / "shards");
  }
}

TEST_P(CheckpointTest, EveryMissingTensorIsNamed) {
  const Checkpoint made = random_checkpoint(small_config(GetParam()), 7);
  for (const TensorSpec& spec : tensor_specs(made.config)) {
    Checkpoint broken = made;
    broken.tensors.erase(spec.name);
    EXPECT_NE(error_of([&] { check_tensors(broken); }).find("'" + spec.name + "': found nothing"),
              std::string::npos);
    broken = made;
    Tensor wrong(DType::kF32, {3, 5});
    broken.tensors[spec.name] = wrong.view();
    const std::string message = error_of([&] { check_tensors(broken); });
    EXPECT_NE(message.find("'" + spec.name + "': found shape [3, 5], wanted " + to_string(spec.shape)),
              std::string::npos)
        << message;
  }
  Checkpoint broken = made;
  const Tensor extra(DType::kF32, {2});
  broken.tensors["model.layers.9.extra"] = extra.view();
  EXPECT_NE(error_of([&] { check_tensors(broken); }).find("'model.layers.9.extra'"), std::string::npos);
  const Tensor integers(DType::kI32, tensor_specs(made.config)[0].shape);
  broken = made;
  broken.tensors[tensor_specs(made.config)[0].name] = integers.view();
  EXPECT_NE(error_of([&] { check_tensors(broken); }).find("found type i32"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Models, CheckpointTest, testing::ValuesIn(kSmallModels),
                         [](const auto& model) { return std::string(model.param); });

TEST(CheckpointErrors, DirectoriesAndIndex) {
  TemporaryDirectory scratch;
  const std::filesystem::path at = scratch.path / "model";
  EXPECT_NE(error_of([&] { load_checkpoint(at); }).find("no such directory"), std::string::npos);
  std::filesystem::create_directory(at);
  EXPECT_NE(error_of([&] { load_checkpoint(at); }).find("config.json: No such file"), std::string::npos);
  write_text(at / "config.json", small_config("gla").text);
  EXPECT_NE(error_of([&] { load_checkpoint(at); }).find("found neither model.safetensors"),
            std::string::npos);

  const std::filesystem::path index = at / "model.safetensors.index.json";
  for (const char* text :
       {"", "[]", "{\"weight_map\": 3}", "{\"weight_map\": {\"a\": \"../x\"}}",
        "{\"weight_map\": {\"a\": 4}}", "{\"weight_map\": {\"a\": \"none.safetensors\"}}"}) {
    write_text(index, text);
    EXPECT_NE(error_of([&] { load_checkpoint(at); }), "") << text;
  }

  save_checkpoint(random_checkpoint(small_config("gla"), 3), at, 8000);
  std::string listed = read_text_file(index);
  const std::string entry = "\"lm_head.weight\": \"";
  listed[listed.find(entry) + 1] = 'x';
  write_text(index, listed);
  EXPECT_NE(error_of([&] { load_checkpoint(at); }).find("'lm_head.weight' of"), std::string::npos);
}

TEST(CheckpointErrors, Configurations) {
  const auto refused = [](const char* model, const std::string& patch) {
    return error_of([&] { parse_config(patch_config(small_config(model).text, patch)); });
  };
  EXPECT_NE(error_of([] { parse_config("{"); }).find("not JSON"), std::string::npos);
  EXPECT_NE(refused("gla", R"({"model_type": "rwkv7"})").find("found \"rwkv7\""), std::string::npos);
  EXPECT_NE(refused("gla", R"({"num_heads": "two"})").find("num_heads: found \"two\""), std::string::npos);
  EXPECT_NE(refused("gla", R"({"num_heads": 0})").find("num_heads: found 0"), std::string::npos);
  EXPECT_NE(refused("gla", R"({"num_heads": 7})").find("expand_k"), std::string::npos);
  EXPECT_NE(refused("gla", R"({"num_hidden_layers": null})").find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(refused("gla", R"({"use_short_conv": 1})").find("use_short_conv"), std::string::npos);
  EXPECT_NE(refused("gated_deltanet", R"({"attn": {"layers": [1]}})").find("attn"), std::string::npos);
  EXPECT_NE(refused("gated_deltanet", R"({"num_v_heads": 3})").find("num_v_heads"), std::string::npos);
  EXPECT_NE(refused("gated_deltanet", R"({"expansion_method": "wide"})").find("'wide'"), std::string::npos);
  EXPECT_NE(refused("gated_deltanet", R"({"layer_overrides": {"9": {}}})").find("layer_overrides"),
            std::string::npos);
  EXPECT_NE(refused("mamba2", R"({"expand": 3})").find("expand"), std::string::npos);
  EXPECT_NE(refused("mamba2", R"({"n_groups": 3})").find("n_groups"), std::string::npos);
  EXPECT_NE(refused("linear_attn", R"({"feature_map": "hedgehog"})").find("hedgehog"), std::string::npos);
}

TEST(CheckpointErrors, NonfiniteNumbersOfPythonAreKept) {
  const ModelConfig config = small_config("mamba2");
  EXPECT_NE(config.text.find("Infinity"), std::string::npos);
  const std::string patched = patch_config(config.text, R"({"state_size": 32})");
  EXPECT_EQ(patched.find("\"Infinity\""), std::string::npos);
  const auto mixer = std::get<Mamba2Mixer>(parse_config(patched).layers[0]);
  EXPECT_TRUE(std::isinf(mixer.step_max));
  EXPECT_EQ(mixer.state_size, 32);
}

}  // namespace
}  // namespace statescope
