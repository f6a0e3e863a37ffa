// The front end before the recurrence: the matrix of sizes from unexpanded q and k.
#include <tuple>

#include "runtime/check/cases.h"
#include "runtime/vulkan/kernels.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

/// In 16 bits the outputs of a few tokens are single products q k, which rounding q and k may change by any
/// factor where they nearly cancel; float32 runs every length.
bool well_conditioned(const Problem& problem) {
  return problem.dtype == DType::kF32 || problem.seq_len >= 15;
}

class VulkanFrontEnd : public VulkanTest, public testing::WithParamInterface<Combination> {};

/// Hardware runs every case; software devices, which compile the kernels anew for each K, every n-th.
TEST_P(VulkanFrontEnd, AgreesWithTheReference) {
  const auto [rule, pass, dtype] = GetParam();
  int ran = 0;
  for (const auto& device : devices()) {
    const std::vector<Case> all = cases(rule, pass, Form::kRecurrent, dtype);
    const std::size_t stride = device->info().hardware ? 1 : pass == Pass::kBackward ? 16 : 8;
    for (std::size_t i = (static_cast<std::size_t>(rule) + 3 * static_cast<std::size_t>(dtype)) % stride;
         i < all.size(); i += stride) {
      SCOPED_TRACE(all[i].name());
      Problem problem = all[i].problem;
      problem.front_end = true;
      problem.form = Form::kAuto;
      if (!well_conditioned(problem)) continue;
      check(*device, problem, all[i].seed, all[i].gates);
      ++ran;
    }
  }
  EXPECT_GT(ran, 2);
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype));
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanFrontEnd,
                         testing::Combine(testing::ValuesIn(kRules),
                                          testing::Values(Pass::kForward, Pass::kBackward),
                                          testing::ValuesIn(kRunTypes)),
                         name_of);

class VulkanFrontEndRanges : public VulkanTest {};

/// Sequences long enough that ranges begin inside them.
TEST_F(VulkanFrontEndRanges, BeginInsideSequences) {
  for (const auto& device : devices()) {
    for (bool packed : {false, true}) {
      Problem problem;
      problem.front_end = true;
      problem.seq_len = 1700;
      problem.expansion = 2;
      problem.key_dim = problem.value_dim = 32;
      problem.packed = packed;
      problem.sequences = packed ? 5 : 1;
      problem.scale = default_scale(32);
      for (Pass pass : {Pass::kForward, Pass::kBackward}) {
        problem.pass = pass;
        EXPECT_GT(device->plan(problem).launches.size(), 2u);
        check(*device, problem, 12, Gates::kModel);
      }
    }
  }
}

}  // namespace
}  // namespace statescope
