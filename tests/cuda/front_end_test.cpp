// The front end before the recurrence: the matrix of sizes from unexpanded q and k, and the same at the sizes
// of the tensor-core kernels.
#include <tuple>

#include "cuda/front_end/expand.h"
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

/// Ranges cover every token with whole tiles, and take no longer than one range a row.
TEST(FrontEndRanges, CoverARowAndFillTheDevice) {
  using cuda::front_end::best_ranges;
  const auto tiles_in_turn = [](std::int64_t per_row, std::int64_t tokens, std::int64_t blocks) {
    return (per_row * blocks + 395) / 396 * (tokens / 64 + (per_row > 1));
  };
  for (std::int64_t seq_len : {1, 63, 64, 65, 1000, 4096, 100000}) {
    for (std::int64_t blocks : {1, 16, 128, 512, 5000}) {
      const auto ranges = best_ranges(seq_len, 1, blocks, 64, 396);
      EXPECT_EQ(ranges.tokens % 64, 0);
      EXPECT_GE(std::int64_t{ranges.tokens} * ranges.per_row, seq_len);
      EXPECT_LT(std::int64_t{ranges.tokens} * (ranges.per_row - 1), seq_len);
      EXPECT_LE(tiles_in_turn(ranges.per_row, ranges.tokens, blocks),
                tiles_in_turn(1, (seq_len + 63) / 64 * 64, blocks));
    }
  }
  // 512 blocks on 396 places are two rounds, the second a third full; three ranges a row are four, all full.
  EXPECT_EQ(best_ranges(4096, 4, 128, 64, 396).per_row, 3);
}

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
