// Larger states for trained checkpoints: what is kept, what is fresh, and that the result runs and loads
// back.
#include "models/growth.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "models/layout.h"
#include "models/model.h"
#include "models/tokens.h"
#include "runtime/check/compare.h"
#include "runtime/cpu/cpu_device.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

Tensor logits_of(const Checkpoint& checkpoint) {
  BackendStatus status;
  Model model(checkpoint, cpu::find_devices(status).at(0).open());
  ModelState state = model.start();
  return model.forward(state, byte_tokens("AN OLD STATE AND A NEW ONE"));
}

std::vector<float> values(const Checkpoint& checkpoint, const std::string& name) {
  const Tensor tensor = convert(checkpoint.tensors.at(name), DType::kF32);
  return {tensor.as<float>().begin(), tensor.as<float>().end()};
}

void expect_loads_back(const Checkpoint& checkpoint) {
  TemporaryDirectory scratch;
  save_checkpoint(checkpoint, scratch.path / "grown");
  EXPECT_EQ(relative_rms(logits_of(load_checkpoint(scratch.path / "grown")), logits_of(checkpoint)), 0);
}

// Everything outside of the chosen layers' mixers (and what belongs to them) is the base's.
void expect_others_kept(const Checkpoint& base, const Growth& growth) {
  for (const auto& [name, view] : base.tensors) {
    bool chosen = false;
    for (std::int64_t layer : growth.layers) chosen |= name.starts_with(layer_prefix(base.config, layer));
    if (chosen && name.find("mlp") == name.npos) continue;
    EXPECT_EQ(growth.checkpoint.tensors.at(name).bytes.data(), view.bytes.data()) << name;
  }
}

TEST(HeadwiseGrowth, KeepsTheFunctionWhereItCan) {
  for (const char* type : {"gated_deltanet", "gla"}) {
    for (DType dtype : {DType::kF32, DType::kBf16}) {
      const Checkpoint base = random_checkpoint(small_config(type), 5, dtype);
      const Tensor before = logits_of(base);
      for (const std::vector<std::int64_t>& layers : {std::vector<std::int64_t>{}, {1}}) {
        const Growth same = grow_headwise(base, 4, Activation::kIdentity, layers, 6);
        EXPECT_TRUE(same.unchanged);
        EXPECT_LE(relative_rms(logits_of(same.checkpoint), before), 1e-5) << type;
        EXPECT_EQ(same.after.layer_state[1], 4 * same.before.layer_state[1]);
        EXPECT_EQ(same.after.layer_state[0], (layers.empty() ? 4 : 1) * same.before.layer_state[0]);
        EXPECT_EQ(same.checkpoint.tensors.begin()->second.dtype, dtype);
        expect_others_kept(base, same);
        expect_loads_back(same.checkpoint);
      }
      const Growth other = grow_headwise(base, 4, Activation::kSilu, {}, 6);
      EXPECT_FALSE(other.unchanged);
      EXPECT_GT(relative_rms(logits_of(other.checkpoint), before), 1e-3);
    }
  }
  EXPECT_THROW(grow_headwise(random_checkpoint(small_config("mamba2"), 5), 2, Activation::kSilu, {}, 1),
               Error);
  EXPECT_THROW(grow_headwise(random_checkpoint(small_config("gla"), 5), 1, Activation::kSilu, {}, 1), Error);
  EXPECT_THROW(grow_headwise(random_checkpoint(small_config("gla"), 5), 2, Activation::kSilu, {2}, 1), Error);
}

TEST(StateXGla, OneHeadOfTheWholeWidth) {
  const Checkpoint base = random_checkpoint(small_config("gla", R"({"num_hidden_layers": 8})"), 5);
  const std::string at = "model.layers.6.attn.";
  const Growth fresh = grow_statex(base, StateX::kReinitialise, {}, 0, 7);
  EXPECT_EQ(fresh.layers, (std::vector<std::int64_t>{0, 6}));              // every sixth
  EXPECT_EQ(fresh.after.layer_state[6], 2 * fresh.before.layer_state[6]);  // H K x H V over H of K x V
  EXPECT_EQ(fresh.after.layer_state[5], fresh.before.layer_state[5]);
  EXPECT_EQ(fresh.after.parameters - fresh.before.parameters, 2 * 16);  // the wider norms alone
  EXPECT_NE(values(fresh.checkpoint, at + "q_proj.weight"), values(base, at + "q_proj.weight"));
  for (float x : values(fresh.checkpoint, at + "q_proj.weight")) {
    EXPECT_LE(std::abs(x), std::exp2(-2.5) * std::sqrt(6.0 / (32 + 32)));
  }
  for (float x : values(fresh.checkpoint, "model.layers.6.attn_norm.weight")) EXPECT_EQ(x, 1);
  expect_others_kept(base, fresh);
  expect_loads_back(fresh.checkpoint);

  const Growth merged = grow_statex(base, StateX::kMerge, {6}, 0, 7);
  EXPECT_EQ(values(merged.checkpoint, at + "q_proj.weight"), values(base, at + "q_proj.weight"));
  EXPECT_EQ(values(merged.checkpoint, at + "g_norm_swish_gate.weight").size(), 32u);
  expect_loads_back(merged.checkpoint);

  const Growth lora = grow_statex(base, StateX::kLora, {6}, 0, 7);
  EXPECT_EQ(lora.after.layer_state[6], 4 * lora.before.layer_state[6]);
  EXPECT_EQ(lora.checkpoint.tensors.at(at + "k_expand.weight").shape, (Shape{2, 16, 64}));
  expect_loads_back(lora.checkpoint);

  EXPECT_THROW(grow_statex(merged.checkpoint, StateX::kMerge, {6}, 0, 7), Error);
  EXPECT_THROW(grow_statex(base, StateX::kFresh, {}, 32, 7), Error);
}

// The released GLA-1.3B: four heads of 256 x 512 become one of 1024 x 2048, four times the state.
TEST(StateXGla, SizesOfTheReleasedModel) {
  const std::string text =
      R"({"model_type": "gla", "hidden_size": 2048, "num_hidden_layers": 24, "num_heads": 4})";
  const Accounting before = account(parse_config(text));
  const Accounting after = account(parse_config(patch_config(
      text, R"({"layer_overrides": {"0": {"num_heads": 1}, "6": {"num_heads": 1}, "12": {"num_heads": 1},
               "18": {"num_heads": 1}}})")));
  EXPECT_EQ(before.layer_state[0], 4 * 256 * 512);
  EXPECT_EQ(after.layer_state[0], 1024 * 2048);
  EXPECT_EQ(after.parameters - before.parameters, 4 * 3 * 512);
}

TEST(StateXMamba2, WiderState) {
  const Checkpoint base = random_checkpoint(small_config("mamba2", R"({"use_bias": true})"), 5);
  const Tensor before = logits_of(base);
  const Growth zero = grow_statex(base, StateX::kZero, {}, 64, 7);
  EXPECT_TRUE(zero.unchanged);
  EXPECT_LE(relative_rms(logits_of(zero.checkpoint), before), 1e-5);
  EXPECT_EQ(zero.after.state, 4 * zero.before.state);
  expect_loads_back(zero.checkpoint);

  for (StateX variant : {StateX::kFresh, StateX::kCopy}) {
    const Growth grown = grow_statex(base, variant, {1}, 48, 7);
    EXPECT_FALSE(grown.unchanged);
    EXPECT_GT(relative_rms(logits_of(grown.checkpoint), before), 1e-4);
    expect_others_kept(base, grown);
    // z, x and dt rows are the old ones: 64 and 64 of inner width before, 4 of dt behind 2 x 2 x 48.
    const auto in = values(grown.checkpoint, "backbone.layers.1.mixer.in_proj.weight");
    const auto old = values(base, "backbone.layers.1.mixer.in_proj.weight");
    ASSERT_EQ(in.size(), (128u + 192 + 4) * 32);
    EXPECT_EQ(std::memcmp(in.data(), old.data(), 128 * 32 * 4), 0);
    EXPECT_EQ(std::memcmp(in.data() + (128 + 192) * 32, old.data() + (128 + 64) * 32, 4 * 32 * 4), 0);
    const auto reset = values(grown.checkpoint, "backbone.layers.1.mixer.dt_bias");
    EXPECT_EQ(reset == std::vector<float>(4, 1.0f), variant == StateX::kFresh);
    expect_loads_back(grown.checkpoint);
  }
  EXPECT_THROW(grow_statex(base, StateX::kCopy, {}, 40, 7), Error);  // not a multiple of 16
  EXPECT_THROW(grow_statex(base, StateX::kZero, {}, 16, 7), Error);  // no growth
  EXPECT_THROW(grow_statex(base, StateX::kMerge, {}, 0, 7), Error);
}

// Mamba-2 1.3B with N 128 -> 512 in all 48 layers: +5.65 % parameters (papers/methods, section B).
TEST(StateXMamba2, OverheadOfTheReleasedModel) {
  const std::string text =
      R"({"model_type": "mamba2", "hidden_size": 2048, "num_hidden_layers": 48, "num_heads": 64,
    "head_dim": 64, "state_size": 128, "n_groups": 1, "vocab_size": 50288, "tie_word_embeddings": true})";
  const Accounting before = account(parse_config(text));
  const Accounting after = account(parse_config(patch_config(text, R"({"state_size": 512})")));
  EXPECT_EQ(after.state, 4 * before.state);
  EXPECT_NEAR(100.0 * static_cast<double>(after.parameters - before.parameters) /
                  static_cast<double>(before.parameters),
              5.65, 0.03);
}

}  // namespace
}  // namespace statescope
