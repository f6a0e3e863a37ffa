// The front end before the recurrence: the matrix of sizes from unexpanded q and k.
#include <algorithm>
#include <tuple>

#include "runtime/check/cases.h"
#include "runtime/vulkan/kernels.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

class VulkanFrontEnd : public VulkanTest, public testing::WithParamInterface<Combination> {};

/// Hardware runs every case; software devices, which compile the kernels anew for each K, every n-th.
TEST_P(VulkanFrontEnd, AgreesWithTheReference) {
  const auto [rule, pass, dtype] = GetParam();
  int ran = 0;
  for (const auto& device : devices()) {
    const std::vector<Case> all = front_end_cases(rule, pass, dtype);
    const std::size_t stride = device->info().hardware ? 1 : pass == Pass::kBackward ? 16 : 8;
    for (std::size_t i = (static_cast<std::size_t>(rule) + 3 * static_cast<std::size_t>(dtype)) % stride;
         i < all.size(); i += stride) {
      SCOPED_TRACE(all[i].name());
      Problem problem = all[i].problem;
      problem.form = Form::kAuto;
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
                         testing::Combine(testing::ValuesIn(kRules), testing::ValuesIn(kPasses),
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
      problem.pass = Pass::kForward;
      problem.history = true;
      check(*device, problem, 14, Gates::kModel);
    }
  }
}

/// Sequences without a token, and of fewer than a history has, keep what they had of it.
TEST_F(VulkanFrontEndRanges, KeepHistoriesOfShortSequences) {
  for (const auto& device : devices()) {
    Problem problem;
    problem.front_end = problem.history = problem.packed = true;
    problem.seq_len = 50;
    problem.expansion = 2;
    problem.key_dim = problem.value_dim = 32;
    problem.sequences = 7;
    problem.scale = default_scale(32);
    TensorSet inputs = generate_inputs(problem, 6);
    const std::int32_t ends[] = {0, 0, 1, 3, 3, 6, 48, 50};
    std::ranges::copy(ends, inputs[Slot::kCuSeqlens].as<std::int32_t>().begin());
    for (const OutputError& e :
         compare_outputs(problem, run(*device, problem, inputs), cpu::run_recurrent(problem, inputs)))
      EXPECT_TRUE(e.ok()) << name(e.slot) << " " << e.error;
  }
}

/// More rows than a tile has, which share a tile though each is a sequence of its own.
TEST_F(VulkanFrontEndRanges, StepManyRows) {
  for (const auto& device : devices()) {
    for (DType dtype : device->info().hardware
                           ? std::vector<DType>(std::begin(kRunTypes), std::end(kRunTypes))
                           : std::vector<DType>{DType::kF32}) {
      Problem problem;
      problem.pass = Pass::kStep;
      problem.dtype = dtype;
      problem.batch = problem.sequences = 67;
      problem.expansion = 3;
      problem.key_dim = 48;
      problem.value_dim = 32;
      problem.initial_state = true;
      problem.scale = default_scale(48);
      check(*device, with_front_end(problem), 21, Gates::kModel);
    }
  }
}

}  // namespace
}  // namespace statescope
