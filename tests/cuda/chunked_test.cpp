// The matrix at the sizes that the chunked kernels take: every case of the form, moved to the K and V of each
// chunked variant, so that T, E, states, packing, shared keys and gates are those of the matrix. Every
// variant that takes a case runs it.
#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include <statescope/error.h>

#include "runtime/check/cases.h"
#include "runtime/cuda_chunked.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

class ChunkedMatrix : public CudaTest, public testing::WithParamInterface<Combination> {};

TEST_P(ChunkedMatrix, AgreesWithTheReference) {
  const auto [rule, pass, dtype] = GetParam();
  if (device()->info().limits.compute_capability != 90) GTEST_SKIP() << "not on this device";
  std::set<std::pair<std::int64_t, std::int64_t>> sizes;  // K and V, of every variant
  for (const Variant& variant : cuda_variants()) {
    if (variant.form == Form::kChunked && has(variant.rules, rule) && has(variant.passes, pass) &&
        has(variant.dtypes, dtype))
      sizes.emplace(variant.key_dim.max, std::min(variant.key_dim.max, variant.value_dim.max));
  }
  int ran = 0;
  for (const auto& [key_dim, value_dim] : sizes) {
    for (const Case& one : cases(rule, pass, Form::kChunked, dtype)) {
      Problem problem = one.problem;
      problem.key_dim = key_dim;
      problem.value_dim = value_dim;
      problem.scale = default_scale(problem.key_dim);
      if (cuda_chunked::weights_of(problem.heads, problem.batch * problem.seq_len, problem.sequences) >=
          cuda_chunked::kFewestWeights) {
        const std::vector<Plan> plans = all_plans(problem);
        ASSERT_FALSE(plans.empty()) << describe(problem);
        check(plans, one.seed, one.gates);
      } else {
        EXPECT_THROW(device()->plan(problem), Error) << describe(problem);
        problem.form = Form::kAuto;  // the dispatcher's own choice then
        EXPECT_EQ(device()->plan(problem).problem.form, Form::kRecurrent);
        problem.form = Form::kRecurrent;
        check(problem, one.seed, one.gates);
      }
      ++ran;
    }
  }
  EXPECT_GE(ran, 60);
}

/// Lengths below a sixteenth of what the kernels are made for, alone and packed, from the fewest weights that
/// are taken.
TEST_F(CudaTest, ChunkedTakesShortSequences) {
  int ran = 0;
  for (Rule rule : kRules) {
    for (std::int64_t length = 1; length <= 14; ++length) {
      for (bool packed : {false, true}) {
        Problem problem;
        problem.rule = rule;
        problem.form = Form::kChunked;
        problem.dtype = DType::kBf16;
        problem.heads = problem.qk_heads = 8;
        problem.expansion = 8;
        problem.key_dim = problem.value_dim = 128;
        problem.scale = default_scale(128);
        problem.packed = packed;
        problem.sequences =
            (cuda_chunked::kFewestWeights + 4 * length * (length + 1) - 1) / (4 * length * (length + 1));
        problem.batch = packed ? 1 : problem.sequences;
        problem.seq_len = packed ? length * problem.sequences : length;
        if (!is_implemented(problem, device()->info().limits)) continue;
        check(all_plans(problem), 100 + length, Gates::kModel);
        ++ran;
        if (problem.sequences > 1) {
          problem.heads = problem.qk_heads = 1;
          EXPECT_THROW(device()->plan(problem), Error) << describe(problem);
        }
      }
    }
  }
  if (ran == 0) GTEST_SKIP() << "not on this device";
}

/// Small enough for compute-sanitizer: three chunks, two subheads, a tail.
TEST_F(CudaTest, ChunkedRunsTinySizes) {
  for (Rule rule : kRules) {
    Problem problem;
    problem.rule = rule;
    problem.form = Form::kChunked;
    problem.dtype = DType::kBf16;
    problem.seq_len = 130;
    problem.expansion = 2;
    problem.key_dim = problem.value_dim = 128;
    problem.initial_state = true;
    problem.scale = default_scale(128);
    if (is_implemented(problem, device()->info().limits)) check(all_plans(problem), 3, Gates::kSpike);
  }
}

TEST_F(CudaTest, ChunkedRepeatsBitForBit) {
  Problem problem;
  problem.form = Form::kChunked;
  problem.dtype = DType::kBf16;
  problem.batch = problem.sequences = 3;
  problem.seq_len = 1000;
  problem.heads = problem.qk_heads = 8;
  problem.expansion = 8;
  problem.key_dim = problem.value_dim = 128;
  problem.initial_state = true;
  problem.scale = default_scale(128);
  if (!is_implemented(problem, device()->info().limits)) GTEST_SKIP() << "not on this device";
  const TensorSet inputs = round_inputs(problem, generate_inputs(problem, 5));
  const TensorSet first = run(problem, inputs);
  for (int again = 0; again < 20; ++again) {
    const TensorSet next = run(problem, inputs);
    ASSERT_EQ(next[Slot::kO].bytes, first[Slot::kO].bytes) << "run " << again;
    ASSERT_EQ(next[Slot::kHt].bytes, first[Slot::kHt].bytes) << "run " << again;
  }
}

std::vector<Combination> combinations() {
  std::vector<Combination> result;
  for (Pass pass : kPasses) {
    for (Rule rule : kRules) {
      for (DType dtype : kRunTypes) {
        for (const Variant& v : cuda_variants()) {
          if (v.form == Form::kChunked && has(v.rules, rule) && has(v.passes, pass) && has(v.dtypes, dtype)) {
            result.emplace_back(rule, pass, dtype);
            break;
          }
        }
      }
    }
  }
  return result;
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype));
}

INSTANTIATE_TEST_SUITE_P(Cuda, ChunkedMatrix, testing::ValuesIn(combinations()), name_of);

}  // namespace
}  // namespace statescope
