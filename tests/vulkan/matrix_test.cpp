// The matrix of sizes on every device: each rule x pass x type that this backend has, each output against the
// float64 reference.
#include <algorithm>
#include <tuple>

#include <statescope/error.h>

#include "runtime/check/cases.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType, Series, Division>;

class VulkanMatrix : public VulkanTest, public testing::WithParamInterface<Combination> {};

/// Hardware runs every case of every combination. On software devices that would be a thousand kernels to
/// compile, each for a third of a second: they run every case of the float32 forward, and of each other
/// combination every n-th, from a first one that differs between combinations so that together they meet all
/// sizes.
std::vector<Case> cases_for(Device& device, const Combination& combination) {
  const auto [rule, pass, dtype, series, division] = combination;
  std::vector<Case> all = cases(rule, pass, Form::kRecurrent, dtype, series, division);
  // The comparison kernels are there to run into the limits of shared memory; any other refusal is a failure.
  if (series == Series::kComparison) {
    std::erase_if(all, [&](const Case& one) {
      try {
        device.plan(one.problem);
        return false;
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("of shared memory"), std::string::npos) << error.what();
        return true;
      }
    });
  }
  const bool whole = dtype == DType::kF32 && pass == Pass::kForward && series == Series::kProduction;
  if (whole || device.info().hardware) return all;
  const std::size_t stride = device.info().description.find("llvmpipe") != std::string::npos ? 6 : 12;
  const std::size_t first = static_cast<std::size_t>(rule) + 2 * static_cast<std::size_t>(dtype);
  std::vector<Case> some;
  for (std::size_t i = all.size() > stride ? first % stride : 0; i < all.size(); i += stride)
    some.push_back(all[i]);
  return some;
}

TEST_P(VulkanMatrix, AgreesWithTheReference) {
  double worst = 0;
  int ran = 0;
  for (const auto& device : devices()) {
    const std::vector<Case> chosen = cases_for(*device, GetParam());
    ASSERT_FALSE(chosen.empty()) << device->info().description << " refuses every case";
    for (const Case& one : chosen) {
      SCOPED_TRACE(one.name());
      worst = std::max(worst, check(*device, one.problem, one.seed, one.gates));
      ++ran;
    }
  }
  RecordProperty("cases", ran);
  RecordProperty("worst_error_over_tolerance", std::to_string(worst));
}

std::vector<Combination> combinations() {
  std::vector<Combination> result;
  for (const Variant& variant : vulkan_variants()) {
    if (variant.form != Form::kRecurrent) continue;  // chunked_test.cpp
    for (Division division : {Division::kSubheads, Division::kNaive}) {
      if (variant.series == Series::kProduction && division == Division::kNaive) continue;
      for (Pass pass : kPasses)
        for (Rule rule : kRules)
          for (DType dtype : kRunTypes)
            if (has(variant.passes, pass) && has(variant.rules, rule) && has(variant.dtypes, dtype))
              result.emplace_back(rule, pass, dtype, variant.series, division);
    }
  }
  return result;
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype, series, division] = info.param;
  std::string text;
  for (std::string_view word : {name(series), name(division), name(rule), name(pass), name(dtype)}) {
    if (!text.empty()) text += '_';
    text += word;
  }
  return text;
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanMatrix, testing::ValuesIn(combinations()), name_of);

}  // namespace
}  // namespace statescope
