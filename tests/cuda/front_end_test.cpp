// The front end before the recurrence: the matrix of sizes from unexpanded q and k, and the same at the sizes
// of the tensor-core kernels.
#include <tuple>

#include "runtime/check/cases.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

/// In 16 bits the outputs of a few tokens are single products q k, which rounding q and k may change by any
/// factor where they nearly cancel; float32 runs every length.
bool well_conditioned(const Problem& problem) {
  return problem.dtype == DType::kF32 || problem.seq_len >= 15;
}

class FrontEnd : public CudaTest, public testing::WithParamInterface<Combination> {};

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype));
}

TEST_P(FrontEnd, AgreesWithTheReference) {
  const auto [rule, pass, dtype] = GetParam();
  for (const Case& one : cases(rule, pass, Form::kRecurrent, dtype)) {
    SCOPED_TRACE(one.name());
    Problem problem = one.problem;
    problem.front_end = true;
    if (well_conditioned(problem)) check(problem, one.seed, one.gates);
  }
}

TEST_P(FrontEnd, AgreesOnTensorCores) {
  const auto [rule, pass, dtype] = GetParam();
  for (const Case& one : cases(rule, pass, Form::kRecurrent, dtype)) {
    SCOPED_TRACE(one.name());
    Problem problem = one.problem;
    problem.front_end = true;
    problem.form = Form::kAuto;  // chunked where that is there
    problem.key_dim = problem.value_dim = 128;
    problem.scale = default_scale(128);
    if (well_conditioned(problem)) check(problem, one.seed, one.gates);
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, FrontEnd,
                         testing::Combine(testing::ValuesIn(kRules),
                                          testing::Values(Pass::kForward, Pass::kBackward),
                                          testing::ValuesIn(kRunTypes)),
                         name_of);

/// A sequence long enough that blocks begin inside it.
TEST_F(CudaTest, FrontEndCrossesRangesOfTokens) {
  for (bool packed : {false, true}) {
    Problem problem;
    problem.dtype = DType::kBf16;
    problem.front_end = true;
    problem.seq_len = 1700;
    problem.expansion = 2;
    problem.key_dim = problem.value_dim = 128;
    problem.packed = packed;
    problem.sequences = packed ? 5 : 1;
    problem.scale = default_scale(128);
    check(problem, 11, Gates::kModel);
    problem.dtype = DType::kF32;
    problem.form = Form::kRecurrent;
    check(problem, 12, Gates::kModel);
    problem.pass = Pass::kBackward;
    check(problem, 13, Gates::kModel);
  }
}

}  // namespace
}  // namespace statescope
