#include "models/key_dilution.h"

#include <numeric>

#include <gtest/gtest.h>

#include "models/model_check.h"
#include "models/operations.h"
#include "models/tokens.h"
#include "runtime/cpu/cpu_device.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::shared_ptr<Device> cpu_device() {
  BackendStatus status;
  return cpu::find_devices(status).at(0).open();
}

/// The first head of made-up keys, measured on the cpu.
HeadDilution measured(const Keys& keys, std::int64_t layer, Rule rule, std::int64_t value_dim) {
  const std::shared_ptr<Device> device = cpu_device();
  Recurrence recurrence(device, device->compute(), Form::kAuto);
  const Array array = uploaded(recurrence.compute(), keys.values, DType::kF32);
  return measure_keys(recurrence, layer, {array, {1, keys.pairs, 1, keys.expansion, keys.key_dim}}, rule,
                      keys.pairs, value_dim, 1)
      .at(0);
}

TEST(KeyDilution, OrthogonalKeysDoNotInterfere) {
  Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16)};
  for (int token = 0; token < 16; ++token) {
    for (int sub = 0; sub < 2; ++sub)
      keys.values[(token * 2 + sub) * 16 + token] = 3;  // lengths do not matter
  }
  const HeadDilution found = measured(keys, 4, Rule::kGatedDelta, 32);
  EXPECT_EQ(found.layer, 4);
  EXPECT_NEAR(found.interference, 0, 1e-12);
  EXPECT_NEAR(found.participation, 16, 1e-9);
  EXPECT_EQ(found.recall, 1);
  EXPECT_DOUBLE_EQ(found.theory, 15.0 / 32);
}

TEST(KeyDilution, EqualKeysAreOneDirection) {
  Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16, 0.5f)};
  const HeadDilution found = measured(keys, 0, Rule::kLinear, 32);
  EXPECT_NEAR(found.interference, 15, 1e-5);
  EXPECT_NEAR(found.participation, 1, 1e-6);
  EXPECT_LE(found.recall, 2.0 / 16);
  EXPECT_EQ(found.cosines.back(), 16 * 15 / 2);
}

// Independent keys come to their expectation, (n - 1) / (E K).
TEST(KeyDilution, IndependentKeysMeetTheory) {
  const Keys keys = make_keys(KeySource::kIndependent, 400, 4, 32, 9);
  const HeadDilution found = measured(keys, 0, Rule::kLinear, 64);
  EXPECT_NEAR(found.interference / found.theory, 1, 0.05);
}

TEST(KeyDilution, EveryHeadOfAModel) {
  Model model(random_checkpoint(small_config("gla", R"({"expansion": 3})"), 61), cpu_device());
  const std::vector<LayerKeys> keys = extract_keys(model, byte_tokens("THE QUICK BROWN FOX JUMPS OVER IT"));
  const auto heads =
      measure_keys(model.recurrence(), 1, keys[1], rule_of(model.config().layers[1]), 32, 32, 1);
  ASSERT_EQ(heads.size(), 2u);
  for (const HeadDilution& head : heads) {
    EXPECT_GT(head.interference, 0);
    EXPECT_GE(head.participation, 1);
    EXPECT_LE(head.participation, 32);
    EXPECT_EQ(std::accumulate(head.cosines.begin(), head.cosines.end(), std::int64_t{0}), 32 * 31 / 2);
  }
  EXPECT_THROW(measure_keys(model.recurrence(), 1, keys[1], Rule::kGla, 40, 32, 1), Error);
}

TEST(KeyDilution, RefusesKeysWithoutADirection) {
  const Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16)};
  EXPECT_THROW(measured(keys, 0, Rule::kLinear, 32), Error);
}

// What is measured on keys that lie on a device is what the draws of the dilution curves are measured by.
TEST(KeyDilution, AgreesWithTheDrawnKeys) {
  const Keys keys = make_keys(KeySource::kSiluExpansion, 60, 4, 32, 5);
  for (Rule rule : kRules) {
    const HeadDilution found = measured(keys, 0, rule, 32);
    const std::vector<double> gram = gram_matrix(keys);
    double mean = 0;
    for (double sum : interference(gram, 60)) mean += sum / 60;
    EXPECT_NEAR(found.interference, mean, 1e-4 * mean);
    EXPECT_EQ(found.recall, recall_at_1(*cpu_device(), rule, {&keys, 1}, 32, 1)) << name(rule);
    const auto counts = cosine_histogram(gram, 60);
    for (std::size_t bin = 0; bin < counts.size(); ++bin)
      EXPECT_NEAR(found.cosines[bin], counts[bin], 2) << bin;
  }
}

// A layer's heads are measured together, each as if it were alone.
TEST(KeyDilution, HeadsDoNotMix) {
  constexpr std::int64_t kPairs = 40, kExpansion = 2, kDim = 16, kWidth = kExpansion * kDim;
  const Keys sides[] = {make_keys(KeySource::kIndependent, kPairs, kExpansion, kDim, 7),
                        make_keys(KeySource::kSiluExpansion, kPairs, kExpansion, kDim, 8)};
  std::vector<float> both;
  for (std::int64_t token = 0; token < kPairs; ++token) {
    for (const Keys& keys : sides)
      both.insert(both.end(), &keys.values[token * kWidth], &keys.values[token * kWidth] + kWidth);
  }
  const std::shared_ptr<Device> device = cpu_device();
  Recurrence recurrence(device, device->compute(), Form::kAuto);
  const LayerKeys keys{uploaded(recurrence.compute(), both, DType::kF32), {1, kPairs, 2, kExpansion, kDim}};
  for (Rule rule : kRules) {
    const auto heads = measure_keys(recurrence, 3, keys, rule, kPairs, 32, 1);
    ASSERT_EQ(heads.size(), 2u);
    for (int head = 0; head < 2; ++head) {
      const HeadDilution alone = measured(sides[head], 3, rule, 32);
      EXPECT_EQ(heads[head].head, head);
      EXPECT_EQ(heads[head].interference, alone.interference);
      EXPECT_EQ(heads[head].cosines, alone.cosines);
      EXPECT_EQ(heads[head].recall, alone.recall) << name(rule);
    }
  }
}

}  // namespace
}  // namespace statescope
