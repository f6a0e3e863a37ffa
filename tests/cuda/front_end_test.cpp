// The front end before the recurrence: the matrix of sizes from unexpanded q and k, and the same at the sizes
// of the tensor-core kernels.
#include <algorithm>
#include <tuple>

#include "cuda/front_end/expand.h"
#include "runtime/check/cases.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

class FrontEnd : public CudaTest, public testing::WithParamInterface<Combination> {};

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype));
}

TEST_P(FrontEnd, AgreesWithTheReference) {
  const auto [rule, pass, dtype] = GetParam();
  for (const Case& one : front_end_cases(rule, pass, dtype)) {
    SCOPED_TRACE(one.name());
    check(one.problem, one.seed, one.gates);
  }
}

TEST_P(FrontEnd, AgreesOnTensorCores) {
  const auto [rule, pass, dtype] = GetParam();
  for (const Case& one : front_end_cases(rule, pass, dtype)) {
    SCOPED_TRACE(one.name());
    Problem problem = one.problem;
    problem.form = Form::kAuto;  // chunked where that is there
    problem.key_dim = problem.value_dim = 128;
    problem.scale = default_scale(128);
    check(problem, one.seed, one.gates);
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, FrontEnd,
                         testing::Combine(testing::ValuesIn(kRules), testing::ValuesIn(kPasses),
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

/// More rows than a block of a step takes.
TEST_F(CudaTest, FrontEndStepsManyRows) {
  for (DType dtype : kRunTypes) {
    for (std::int64_t key_dim : {48, 64, 128, 256}) {
      Problem problem;
      problem.pass = Pass::kStep;
      problem.dtype = dtype;
      problem.batch = problem.sequences = 67;
      problem.expansion = 3;
      problem.key_dim = key_dim;
      problem.value_dim = 32;
      problem.initial_state = true;
      problem.scale = default_scale(key_dim);
      check(with_front_end(problem), 21, Gates::kModel);
    }
  }
}

/// The state and the histories that a forward pass leaves are what steps go on from.
TEST_F(CudaTest, FrontEndStepsBehindAPrefill) {
  constexpr std::int64_t kTokens = 71;
  for (DType dtype : kRunTypes) {
    for (std::int64_t prefill : {66, 2}) {
      SCOPED_TRACE(std::string(name(dtype)) + " " + std::to_string(prefill));
      Problem whole;
      whole.dtype = dtype;
      whole.form = Form::kRecurrent;
      whole.seq_len = kTokens;
      whole.heads = 2;
      whole.expansion = 2;
      whole.key_dim = whole.value_dim = 128;
      whole.initial_state = whole.front_end = whole.history = true;
      whole.scale = default_scale(128);
      const TensorSet inputs = round_inputs(whole, generate_inputs(whole, 31));
      const TensorSet wanted = cpu::run_recurrent(whole, inputs);
      // B = 1: the rows of a token lie side by side.
      const auto tokens = [&](const Tensor& all, std::int64_t first, std::int64_t count) {
        Shape shape = all.shape;
        shape[1] = count;
        Tensor part(all.dtype, shape);
        const std::size_t token = all.bytes.size() / kTokens;
        std::copy_n(all.bytes.begin() + static_cast<std::ptrdiff_t>(first * token), count * token,
                    part.bytes.begin());
        return part;
      };
      TensorSet now = inputs, outputs;
      for (std::int64_t first = 0; first < kTokens;) {
        Problem piece = whole;
        piece.seq_len = first == 0 ? prefill : 1;
        piece.pass = first == 0 ? Pass::kForward : Pass::kStep;
        for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta})
          now[slot] = tokens(inputs[slot], first, piece.seq_len);
        outputs = run(piece, now);
        if (first >= 15 || dtype == DType::kF32) {
          EXPECT_LE(relative_rms(outputs[Slot::kO], tokens(wanted[Slot::kO], first, piece.seq_len)),
                    2 * tolerance(piece, Slot::kO))
              << "token " << first;
        }
        now[Slot::kH0] = outputs[Slot::kHt];
        now[Slot::kQHistory] = outputs[Slot::kQHistoryAfter];
        now[Slot::kKHistory] = outputs[Slot::kKHistoryAfter];
        first += piece.seq_len;
      }
      for (Slot slot : {Slot::kHt, Slot::kQHistoryAfter, Slot::kKHistoryAfter})
        EXPECT_LE(relative_rms(outputs[slot], wanted[slot]), 2 * tolerance(whole, slot)) << name(slot);
    }
  }
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
    problem.history = true;
    check(problem, 14, Gates::kModel);
    problem.dtype = DType::kBf16;
    check(problem, 15, Gates::kModel);
    problem.history = false;
    problem.dtype = DType::kF32;
    problem.pass = Pass::kBackward;
    check(problem, 13, Gates::kModel);
  }
}

}  // namespace
}  // namespace statescope
