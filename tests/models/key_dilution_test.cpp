#include "models/key_dilution.h"

#include <numeric>

#include <gtest/gtest.h>

#include "models/model_check.h"
#include "runtime/cpu/cpu_device.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::shared_ptr<Device> cpu_device() {
  BackendStatus status;
  return cpu::find_devices(status).at(0).open();
}

Tensor keys_of(const Keys& keys) {
  Tensor tensor(DType::kF32, {1, keys.pairs, 1, keys.expansion, keys.key_dim});
  std::ranges::copy(keys.values, tensor.as<float>().begin());
  return tensor;
}

TEST(KeyDilution, OrthogonalKeysDoNotInterfere) {
  Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16)};
  for (int token = 0; token < 16; ++token) {
    for (int sub = 0; sub < 2; ++sub)
      keys.values[(token * 2 + sub) * 16 + token] = 3;  // lengths do not matter
  }
  const HeadDilution found =
      measure_keys(*cpu_device(), 4, keys_of(keys), Rule::kGatedDelta, 16, 32, 1).at(0);
  EXPECT_EQ(found.layer, 4);
  EXPECT_NEAR(found.interference, 0, 1e-12);
  EXPECT_NEAR(found.participation, 16, 1e-9);
  EXPECT_EQ(found.recall, 1);
  EXPECT_DOUBLE_EQ(found.theory, 15.0 / 32);
}

TEST(KeyDilution, EqualKeysAreOneDirection) {
  Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16, 0.5f)};
  const HeadDilution found = measure_keys(*cpu_device(), 0, keys_of(keys), Rule::kLinear, 16, 32, 1).at(0);
  EXPECT_NEAR(found.interference, 15, 1e-5);
  EXPECT_NEAR(found.participation, 1, 1e-6);
  EXPECT_LE(found.recall, 2.0 / 16);
  EXPECT_EQ(found.cosines.back(), 16 * 15 / 2);
}

// Independent keys come to their expectation, (n - 1) / (E K).
TEST(KeyDilution, IndependentKeysMeetTheory) {
  const Keys keys = make_keys(KeySource::kIndependent, 400, 4, 32, 9);
  const HeadDilution found = measure_keys(*cpu_device(), 0, keys_of(keys), Rule::kLinear, 400, 64, 1).at(0);
  EXPECT_NEAR(found.interference / found.theory, 1, 0.05);
}

TEST(KeyDilution, EveryHeadOfAModel) {
  Model model(random_checkpoint(small_config("gla", R"({"expansion": 3})"), 61), cpu_device());
  const std::vector<Tensor> keys = extract_keys(model, byte_tokens("THE QUICK BROWN FOX JUMPS OVER IT"));
  const auto heads = measure_keys(*cpu_device(), 1, keys[1], rule_of(model.config().layers[1]), 32, 32, 1);
  ASSERT_EQ(heads.size(), 2u);
  for (const HeadDilution& head : heads) {
    EXPECT_GT(head.interference, 0);
    EXPECT_GE(head.participation, 1);
    EXPECT_LE(head.participation, 32);
    EXPECT_EQ(std::accumulate(head.cosines.begin(), head.cosines.end(), std::int64_t{0}), 32 * 31 / 2);
  }
  EXPECT_THROW(measure_keys(*cpu_device(), 1, keys[1], Rule::kGla, 40, 32, 1), Error);
}

}  // namespace
}  // namespace statescope
