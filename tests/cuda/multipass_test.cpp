// The matrix at every (K, V) that the passes are compiled for: every case of the form, moved to these sizes,
// so that T, E, states, packing, shared keys and gates are those of the matrix.
#include <tuple>

#include "runtime/check/cases.h"
#include "runtime/cuda_chunked.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

struct Sizes {
  std::int64_t key_dim, value_dim;
};
constexpr Sizes kSizes[] = {{64, 64}, {64, 128}, {128, 64}, {128, 128}, {128, 256}, {256, 128}, {256, 256}};
constexpr Rule kMultipassRules[] = {Rule::kLinear, Rule::kSsd, Rule::kGla, Rule::kGatedDelta};

using Combination = std::tuple<Rule, Pass, DType, Sizes>;

class MultipassMatrix : public CudaTest, public testing::WithParamInterface<Combination> {};

Problem moved(Problem problem, const Sizes& sizes) {
  problem.key_dim = sizes.key_dim;
  problem.value_dim = sizes.value_dim;
  problem.scale = default_scale(sizes.key_dim);
  return problem;
}

TEST_P(MultipassMatrix, AgreesWithTheReference) {
  const auto [rule, pass, dtype, sizes] = GetParam();
  double worst = 0;
  int ran = 0;
  for (const Case& one : cases(rule, pass, Form::kChunked, dtype)) {
    Problem problem = moved(one.problem, sizes);
    if (cuda_chunked::weights_of(problem.heads, problem.batch * problem.seq_len, problem.sequences) <
        cuda_chunked::kFewestWeights)
      continue;  // those run in the recurrent form
    const std::vector<Plan> plans = all_plans(problem);
    ASSERT_FALSE(plans.empty()) << describe(problem);
    worst = std::max(worst, check(plans, one.seed, one.gates));
    ++ran;
  }
  EXPECT_GE(ran, 45);
  RecordProperty("worst_error_over_tolerance", std::to_string(worst));
}

Problem example(Rule rule, Pass pass, const Sizes& sizes) {
  Problem problem;
  problem.rule = rule;
  problem.pass = pass;
  problem.form = Form::kChunked;
  problem.dtype = DType::kBf16;
  problem.initial_state = true;
  problem.final_state_gradient = pass == Pass::kBackward;
  return moved(problem, sizes);
}

/// Small enough for compute-sanitizer: three chunks, two subheads, two heads that share keys, a tail.
TEST_F(CudaTest, MultipassRunsTinySizes) {
  for (const Sizes& sizes : kSizes) {
    for (Rule rule : kMultipassRules) {
      for (Pass pass : {Pass::kForward, Pass::kBackward}) {
        Problem problem = example(rule, pass, sizes);
        problem.seq_len = 130;
        problem.heads = 2;
        problem.expansion = 2;
        check(all_plans(problem), 3, Gates::kSpike);
      }
    }
  }
}

/// More chains than multiprocessors, and heads that share keys. The plans agree as far as each must with the
/// reference.
TEST_F(CudaTest, MultipassRepeatsBitForBit) {
  for (Rule rule : {Rule::kGla, Rule::kGatedDelta}) {
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (const Sizes& sizes : {Sizes{128, 128}, Sizes{256, 256}}) {
        Problem problem = example(rule, pass, sizes);
        problem.batch = problem.sequences = 3;
        problem.seq_len = 1000;
        problem.heads = 8;
        problem.qk_heads = 4;
        problem.expansion = 8;
        const TensorSet inputs = round_inputs(problem, generate_inputs(problem, 5));
        const std::vector<Plan> plans = all_plans(problem);
        const TensorSet first = run(plans.front(), inputs);
        for (const Plan& plan : plans) {
          expect_same_bits(plan, inputs);
          for (const OutputError& e : compare_outputs(problem, run(plan, inputs), first))
            EXPECT_LE(e.error, 2 * e.tolerance) << plan.variant->name << " " << name(e.slot);
        }
      }
    }
  }
}

/// Gates far below what float32 can tell from zero, as at a document's start, among gates near one.
TEST_F(CudaTest, MultipassTakesResets) {
  for (Rule rule : {Rule::kGla, Rule::kSsd, Rule::kGatedDelta}) {
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (const Sizes& sizes : {Sizes{64, 64}, Sizes{128, 128}}) {
        Problem problem = example(rule, pass, sizes);
        problem.seq_len = 200;
        problem.heads = 2;
        problem.expansion = 2;
        TensorSet inputs = round_inputs(problem, generate_inputs(problem, 9));
        const auto gates = inputs[Slot::kG].as<float>();
        const std::size_t channels = rule == Rule::kGla ? static_cast<std::size_t>(sizes.key_dim) : 1;
        for (std::size_t i = 0; i < gates.size(); ++i)
          if (i / channels % 7 == 3) gates[i] = i % 2 ? -1e6f : -1e9f;
        const TensorSet reference = cpu::run_recurrent(problem, inputs);
        for (const Plan& plan : all_plans(problem)) {
          for (const OutputError& e : compare_outputs(problem, run(plan, inputs), reference))
            EXPECT_TRUE(e.ok()) << name(rule) << " " << plan.variant->name << " " << name(e.slot) << ": "
                                << e.error;
        }
      }
    }
  }
}

/// The table against the driver, launch by launch.
TEST_F(CudaTest, MultipassTableAgreesWithTheDriver) {
  for (const Sizes& sizes : kSizes) {
    for (Rule rule : kMultipassRules) {
      for (Pass pass : {Pass::kForward, Pass::kBackward}) {
        Problem problem = example(rule, pass, sizes);
        problem.seq_len = 200;
        SCOPED_TRACE(describe(problem));
        for (const Plan& plan : all_plans(problem)) {
          SCOPED_TRACE(plan.variant->name);
          for (const Launch& launch : plan.launches) {
            SCOPED_TRACE(launch.kernel);
            EXPECT_EQ(launch.shared_memory_bytes, launch.reported_shared_memory_bytes);
            EXPECT_LE(launch.shared_memory_bytes, plan.geometry.shared_memory_bytes());
            EXPECT_LE(launch.spill_bytes.value(), 256u);
            EXPECT_GT(launch.occupancy.value(), 0);
          }
        }
      }
    }
  }
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype, sizes] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype)) + "_K" +
         std::to_string(sizes.key_dim) + "_V" + std::to_string(sizes.value_dim);
}

INSTANTIATE_TEST_SUITE_P(Cuda, MultipassMatrix,
                         testing::Combine(testing::ValuesIn(kMultipassRules),
                                          testing::Values(Pass::kForward, Pass::kBackward),
                                          testing::Values(DType::kBf16, DType::kF16),
                                          testing::ValuesIn(kSizes)),
                         name_of);

}  // namespace
}  // namespace statescope
