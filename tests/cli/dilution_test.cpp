// Dilution: theory against measurement where the theory holds, and its limits where it does not.
#include "models/dilution.h"

#include <cmath>
#include <numeric>

#include "tests/cli/program.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::shared_ptr<Device> cpu() {
  return open_device(discover(), "cpu");
}

DilutionPoint measure(KeySource source, std::int64_t pairs, std::int64_t expansion, std::int64_t key_dim,
                      int trials) {
  DilutionOptions options;
  options.pairs = pairs;
  options.expansion = expansion;
  options.key_dim = key_dim;
  options.value_dim = 32;
  options.trials = trials;
  return measure_dilution(*cpu(), source, options);
}

TEST(Dilution, IndependentKeysMeetTheExpectation) {
  for (const auto& [n, e, k] : {std::tuple(60, 8, 32), std::tuple(100, 1, 64), std::tuple(40, 4, 16)}) {
    const DilutionPoint p = measure(KeySource::kIndependent, n, e, k, 16);
    EXPECT_DOUBLE_EQ(p.theory, (n - 1.0) / (e * k));
    EXPECT_NEAR(p.interference, p.theory, 0.05 * p.theory) << "n " << n << " E " << e << " K " << k;
  }
}

TEST(Dilution, ExpandingARandomKeyGainsLittle) {
  const DilutionPoint independent = measure(KeySource::kIndependent, 60, 8, 32, 16);
  const DilutionPoint linear = measure(KeySource::kLinearExpansion, 60, 8, 32, 16);
  const DilutionPoint silu = measure(KeySource::kSiluExpansion, 60, 8, 32, 16);
  EXPECT_NEAR(independent.interference, 0.23, 0.02);
  EXPECT_NEAR(linear.interference, 2.05, 0.15);
  EXPECT_GT(silu.interference, linear.interference);
  EXPECT_LT(silu.interference, 3.1);
}

TEST(Dilution, GramMatrixOfKnownKeys) {
  // Two subkeys of two dimensions each: equal in the first, orthogonal in the second.
  const Keys keys{2, 2, 2, {1, 0, 1, 0, 1, 0, 0, 1}};
  const auto gram = gram_matrix(keys);
  EXPECT_EQ(gram, (std::vector<double>{1, 0.5, 0.5, 1}));
  EXPECT_EQ(interference(gram, 2), (std::vector<double>{0.25, 0.25}));
  const auto counts = cosine_histogram(gram, 2);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), 1);
  EXPECT_EQ(counts[static_cast<std::size_t>(0.75 * kCosineBins)], 1);
}

TEST(Dilution, OrthogonalKeysAreRecalledUnderEveryRule) {
  Keys keys{16, 2, 16, std::vector<float>(16 * 2 * 16, 0)};
  for (std::int64_t token = 0; token < 16; ++token) {
    for (std::int64_t e = 0; e < 2; ++e) keys.values[(token * 2 + e) * 16 + token] = 1;
  }
  for (Rule rule : kRules) EXPECT_EQ(recall_at_1(*cpu(), rule, {&keys, 1}, 32, 1), 1.0) << name(rule);
}

TEST(Dilution, EqualKeysAreNotRecalled) {
  Keys keys{16, 1, 16, std::vector<float>(16 * 16, 0.25f)};
  EXPECT_LE(recall_at_1(*cpu(), Rule::kLinear, {&keys, 1}, 32, 1), 1.0 / 16);
}

TEST(Dilution, KeysOfAFile) {
  Tensor k(DType::kF32, {1, 3, 2, 1, 2});
  const float values[] = {3, 4, 9, 9, 0, 2, 9, 9, 1, 0, 9, 9};
  std::copy(std::begin(values), std::end(values), k.as<float>().begin());
  const Keys keys = keys_from_tensor(k.view(), 0, 0, 3);
  EXPECT_EQ(keys.values, (std::vector<float>{0.6f, 0.8f, 0, 1, 1, 0}));
  EXPECT_THROW(keys_from_tensor(k.view(), 0, 2, 3), Error);
  EXPECT_THROW(keys_from_tensor(k.view(), 0, 0, 4), Error);
  k.as<float>()[4] = k.as<float>()[5] = 0;
  EXPECT_THROW(keys_from_tensor(k.view(), 0, 0, 3), Error);
}

TEST(Dilution, Command) {
  const ProcessResult result =
      statescope_program({"dilution", "--device", "cpu", "--key-dim", "32", "--value-dim", "32", "--pairs",
                          "8,64", "--expansion", "1,8", "--trials", "4", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out);
  EXPECT_EQ(json["schema"], "statescope.dilution/1");
  ASSERT_EQ(json["points"].size(), 3u * 2 * 2);
  for (const auto& p : json["points"]) {
    EXPECT_DOUBLE_EQ(p["independent_expectation"].get<double>(),
                     (p["pairs"].get<double>() - 1) / (p["expansion"].get<double>() * 32));
    if (p["keys"] == "independent" && p["pairs"] == 64) {
      EXPECT_NEAR(p["interference"].get<double>(), p["independent_expectation"].get<double>(),
                  0.1 * p["independent_expectation"].get<double>());
    }
    if (p["pairs"] == 8 && p["expansion"] == 8 && p["keys"] == "independent") {
      EXPECT_EQ(p["recall_at_1"], 1.0);
    }
  }
}

}  // namespace
}  // namespace statescope
