// Models that run: the published goldens, prefill then steps, and what expansions must keep.
#include "models/model.h"

#include <gtest/gtest.h>

#include "models/layout.h"
#include "models/model_check.h"
#include "models/tokens.h"
#include "runtime/check/compare.h"
#include "runtime/check/random.h"
#include "runtime/cpu/cpu_device.h"
#include "tests/golden_files.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::shared_ptr<Device> cpu_device() {
  BackendStatus status;
  return cpu::find_devices(status).at(0).open();
}

std::vector<std::int32_t> some_ids(std::int64_t count, std::uint64_t seed = 5) {
  Random random(seed);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(random.bits() % 96));
  return ids;
}

Tensor logits_of(const Checkpoint& checkpoint, std::span<const std::int32_t> ids, std::int64_t batch = 1) {
  Model model(checkpoint, cpu_device());
  ModelState state = model.start(batch);
  return model.forward(state, ids);
}

TEST(Golden, LogitsOfThePublishedClasses) {
  for (const auto& directory : golden_models()) {
    for (Form form : {Form::kRecurrent, Form::kChunked}) {
      const ModelCheck check = check_model(directory, cpu_device(), {DType::kF32, form});
      EXPECT_TRUE(check.ok()) << directory << ": " << check.error;
      EXPECT_LE(check.error, 1e-5) << directory;  // what float32 weights and float32 sums leave
    }
  }
}

class EveryModel : public testing::TestWithParam<const char*> {};

TEST_P(EveryModel, PrefillThenStepsIsTheWholeSequence) {
  for (const char* patch : {"{}", R"({"expansion": 3, "window_size": 5})"}) {
    constexpr std::int64_t kTokens = 23, kBatch = 2, kPrefill = 9;
    const Checkpoint checkpoint = random_checkpoint(small_config(GetParam(), patch), 11);
    const std::vector<std::int32_t> ids = some_ids(kBatch * kTokens);
    const Tensor whole = logits_of(checkpoint, ids, kBatch);

    Model model(checkpoint, cpu_device());
    ModelState state = model.start(kBatch);
    for (std::int64_t t = 0; t < kTokens; t = t == 0 ? kPrefill : t + 1) {
      const std::int64_t count = t == 0 ? kPrefill : 1;
      std::vector<std::int32_t> part;
      for (std::int64_t row = 0; row < kBatch; ++row) {
        part.insert(part.end(), ids.begin() + row * kTokens + t, ids.begin() + row * kTokens + t + count);
      }
      const Tensor logits = model.forward(state, part, true);
      for (std::int64_t row = 0; row < kBatch; ++row) {
        Tensor wanted(DType::kF32, {96}), found(DType::kF32, {96});
        std::copy_n(whole.as<float>().begin() + (row * kTokens + t + count - 1) * 96, 96,
                    wanted.as<float>().begin());
        std::copy_n(logits.as<float>().begin() + row * 96, 96, found.as<float>().begin());
        EXPECT_LE(relative_rms(found, wanted), 1e-5) << "token " << t << " row " << row << " " << patch;
      }
    }
    EXPECT_EQ(state.tokens, kTokens);
  }
}

TEST_P(EveryModel, SixteenBitWeightsAreTheRoundedOnes) {
  const ModelConfig config = small_config(GetParam());
  const Checkpoint half = random_checkpoint(config, 4, DType::kBf16);
  std::map<std::string, Tensor> widened;
  for (const auto& [name, view] : half.tensors) widened[name] = convert(view, DType::kF32);
  const auto ids = some_ids(20);
  EXPECT_EQ(relative_rms(logits_of(half, ids), logits_of(make_checkpoint(config, widened), ids)), 0);
  EXPECT_GT(relative_rms(logits_of(half, ids), logits_of(random_checkpoint(config, 4), ids)), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModel, testing::ValuesIn(kSmallModels),
                         [](const auto& model) { return std::string(model.param); });

// For GLA, E subheads are one long key with the same gates, exactly (papers/methods, section A): only the
// division differs, since the weights have the same shapes.
TEST(Expansion, GlaSubheadsAreOneLongKey) {
  for (const char* method : {"headwise", "low_rank", "dpfp", "lfm", "naive"}) {
    const std::string patch = R"({"expansion": 4, "expansion_method": ")" + std::string(method) + "\"";
    const Checkpoint subheads = random_checkpoint(small_config("gla", patch + "}"), 21);
    Checkpoint whole = subheads;
    whole.config = small_config("gla", patch + R"(, "subhead_division": false})");
    check_tensors(whole);
    const auto ids = some_ids(40);
    EXPECT_LE(relative_rms(logits_of(whole, ids), logits_of(subheads, ids)), 1e-5) << method;
  }
}

// For GDN they are not: fewer gates, and one residual in place of E.
TEST(Expansion, GatedDeltaSubheadsHaveTheirOwnGates) {
  const auto shape = [](const char* patch) {
    for (const TensorSpec& spec : tensor_specs(small_config("gated_deltanet", patch))) {
      if (spec.name == "model.layers.0.attn.a_proj.weight") return spec.shape;
    }
    return Shape{};
  };
  EXPECT_EQ(shape(R"({"expansion": 4})"), (Shape{8, 32}));
  EXPECT_EQ(shape(R"({"expansion": 4, "subhead_division": false})"), (Shape{2, 32}));
}

// Every expansion and activation changes the function, and the naive division of GDN runs.
TEST(Expansion, EachMethodIsItsOwnFunction) {
  const auto ids = some_ids(30);
  std::vector<Tensor> seen = {logits_of(random_checkpoint(small_config("gated_deltanet"), 31), ids)};
  for (const char* patch :
       {R"({"expansion": 2})", R"({"expansion": 2, "expansion_activation": "relu"})",
        R"({"expansion": 2, "expansion_activation": "1+elu"})",
        R"({"expansion": 2, "expansion_activation": "identity"})",
        R"({"expansion": 2, "expansion_method": "low_rank", "expansion_rank": 5})",
        R"({"expansion": 2, "expansion_method": "dpfp"})", R"({"expansion": 2, "expansion_method": "lfm"})",
        R"({"expansion": 2, "expansion_method": "naive"})",
        R"({"expansion": 2, "subhead_division": false})"}) {
    const Tensor logits = logits_of(random_checkpoint(small_config("gated_deltanet", patch), 31), ids);
    for (const Tensor& other : seen) EXPECT_GT(relative_rms(logits, other), 1e-3) << patch;
    seen.push_back(logits);
  }
}

// LFM equals repeating heads with different weights: with weights of 1, and gates that agree, E subheads of
// linear attention return E times the output; the output norm takes the factor away.
TEST(Expansion, LfmWithEqualWeightsRepeatsTheHead) {
  const ModelConfig plain = small_config("linear_attn");
  const ModelConfig repeated = small_config("linear_attn", R"({"expansion": 3, "expansion_method": "lfm"})");
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, view] : random_checkpoint(plain, 41).tensors)
    tensors[name] = convert(view, DType::kF32);
  const Checkpoint base = make_checkpoint(plain, tensors);
  for (const TensorSpec& spec : tensor_specs(repeated)) {
    if (spec.part != Part::kExpansion) continue;
    std::ranges::fill((tensors[spec.name] = Tensor(DType::kF32, spec.shape)).as<float>(), 1.0f);
  }
  const auto ids = some_ids(25);
  EXPECT_LE(relative_rms(logits_of(make_checkpoint(repeated, tensors), ids), logits_of(base, ids)), 1e-4);
}

// A head-wise expansion by [I I ... I] without activation repeats the head, gates and all.
TEST(Expansion, HeadwiseIdentityRepeatsTheHead) {
  const ModelConfig plain = small_config("linear_attn");
  const ModelConfig wide =
      small_config("linear_attn", R"({"expansion": 2, "expansion_activation": "identity"})");
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, view] : random_checkpoint(plain, 43).tensors)
    tensors[name] = convert(view, DType::kF32);
  const Checkpoint base = make_checkpoint(plain, tensors);
  for (const TensorSpec& spec : tensor_specs(wide)) {
    if (spec.part != Part::kExpansion) continue;
    Tensor& w = tensors[spec.name] = Tensor(DType::kF32, spec.shape);  // [2, 16, 32]
    for (int head = 0; head < 2; ++head) {
      for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 2; ++j) w.as<float>()[(head * 16 + i) * 32 + j * 16 + i] = 1;
      }
    }
  }
  const auto ids = some_ids(25);
  EXPECT_LE(relative_rms(logits_of(make_checkpoint(wide, tensors), ids), logits_of(base, ids)), 1e-4);
}

// A window that holds every token is full attention; a shorter one is not.
TEST(Attention, WindowSeesItsLastTokens) {
  const auto logits = [](const char* patch) {
    return logits_of(random_checkpoint(small_config("transformer", patch), 51), some_ids(100));
  };
  const Tensor full = logits("{}");
  EXPECT_LE(relative_rms(logits(R"({"window_size": 100})"), full), 1e-6);
  EXPECT_GT(relative_rms(logits(R"({"window_size": 99})"), full), 1e-6);
}

// Heads beyond the kernels' sizes are cut into heads and subheads within them: K = 512, V = 320.
TEST(Recurrence, CutsWideHeadsExactly) {
  for (Rule rule : {Rule::kGla, Rule::kSsd, Rule::kLinear, Rule::kGatedDelta}) {
    Problem problem;
    problem.rule = rule;
    problem.heads = problem.qk_heads = 2;
    problem.expansion = 2;
    problem.key_dim = rule == Rule::kGatedDelta ? 64 : 512;
    problem.value_dim = 320;
    const Cut cut = cut_to_fit(problem);
    EXPECT_EQ(cut.problem.key_dim, rule == Rule::kGatedDelta ? 64 : 256);
    EXPECT_EQ(cut.problem.value_dim, 160);

    Random random(3);
    problem.seq_len = 12;
    TensorSet inputs;
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta}) {
      if (!takes_part(problem, slot)) continue;
      inputs[slot] = Tensor(DType::kF32, shape_of(problem, slot));
      for (float& x : inputs[slot].as<float>()) {
        const double sign = slot == Slot::kG ? -1 : 1;
        x = static_cast<float>(slot < Slot::kG ? 0.1 * random.normal() : sign * random.uniform());
      }
    }
    const std::shared_ptr<Device> device = cpu_device();
    const std::shared_ptr<Compute> compute = device->compute();
    SlotArrays arrays;
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta}) {
      if (inputs[slot].present()) arrays[slot] = compute->constant(inputs[slot].view(), DType::kF32);
    }
    Array state;
    const Array run = Recurrence(device, compute, Form::kRecurrent).run(problem, arrays, state);
    const Tensor o = compute->download(run, shape_of(problem, Slot::kO));

    // Token by token, S <- diag(e^g) S + k^T u in float64, u the rule's own.
    const auto [h, e, k, v] = std::tuple(2, 2, problem.key_dim, problem.value_dim);
    Tensor wanted(DType::kF32, shape_of(problem, Slot::kO));
    for (int head = 0; head < h; ++head) {
      for (int sub = 0; sub < e; ++sub) {
        std::vector<double> s(k * v);
        for (std::int64_t t = 0; t < 12; ++t) {
          const std::int64_t gate = (t * h + head) * e + sub;
          const float* key = inputs[Slot::kK].as<float>().data() + gate * k;
          const float* query = inputs[Slot::kQ].as<float>().data() + gate * k;
          const float* value = inputs[Slot::kV].as<float>().data() + (t * h + head) * v;
          float* out = wanted.as<float>().data() + (t * h + head) * v;
          for (std::int64_t c = 0; c < v; ++c) {
            double read = 0;
            for (std::int64_t i = 0; i < k; ++i) {
              double g = 0;
              if (rule == Rule::kGla) g = inputs[Slot::kG].as<float>()[gate * k + i];
              if (rule == Rule::kSsd || rule == Rule::kGatedDelta) g = inputs[Slot::kG].as<float>()[gate];
              read += key[i] * (s[i * v + c] *= std::exp(g));
            }
            double write = value[c];
            if (rule == Rule::kGatedDelta) write = inputs[Slot::kBeta].as<float>()[gate] * (value[c] - read);
            double sum = 0;
            for (std::int64_t i = 0; i < k; ++i) sum += query[i] * (s[i * v + c] += key[i] * write);
            out[c] += static_cast<float>(sum * problem.scale);
          }
        }
      }
    }
    EXPECT_LE(relative_rms(o, wanted), 1e-5) << name(rule);
  }
}

TEST(Keys, AreWhatTheRecurrenceSees) {
  Model model(random_checkpoint(small_config("gated_deltanet", R"({"expansion": 3})"), 61), cpu_device());
  const std::vector<LayerKeys> keys = extract_keys(model, byte_tokens("A STATE SCALED"));
  ASSERT_EQ(keys.size(), 2u);
  for (const LayerKeys& layer : keys) {
    const Tensor k = model.compute().download(layer.array, layer.shape);
    ASSERT_EQ(k.shape, (Shape{1, 14, 2, 3, 16}));
    for (std::int64_t row = 0; row < k.size() / 16; ++row) {
      double squares = 0;
      for (int i = 0; i < 16; ++i) squares += std::pow(k.as<float>()[row * 16 + i], 2);
      EXPECT_NEAR(squares, 1, 1e-3);
    }
  }
}

TEST(Generate, IsDeterministicAndContinuesItsState) {
  Model model(random_checkpoint(small_config("gla"), 71), cpu_device());
  ModelState state = model.start(), again = model.start();
  const auto prompt = some_ids(8);
  const auto text = generate(model, state, prompt, 6);
  EXPECT_EQ(text.size(), 6u);
  EXPECT_EQ(state.tokens, 8 + 5);
  auto first = generate(model, again, prompt, 3);
  const auto rest = generate(model, again, std::span(first).last(1), 3);
  first.insert(first.end(), rest.begin(), rest.end());
  EXPECT_EQ(first, text);
}

TEST(Model, RefusesTokensOutsideOfTheVocabulary) {
  Model model(random_checkpoint(small_config("gla"), 71), cpu_device());
  ModelState state = model.start();
  const std::int32_t bad[] = {1, 96};
  EXPECT_THROW(model.forward(state, bad), Error);
  EXPECT_THROW(model.forward(state, {}), Error);
  EXPECT_THROW(model.start(0), Error);
}

}  // namespace
}  // namespace statescope
