// Forward over segments, with as many as a test says: the matrix, gates that keep the state and gates that
// reset it, ragged packed sequences, bits.
#include <tuple>

#include "runtime/check/cases.h"
#include "runtime/cuda_chunked.h"
#include "runtime/cuda_segments.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

struct Sizes {
  std::int64_t key_dim, value_dim;
};
constexpr int kCounts[] = {2, 3, 7, 32};  ///< segments

class Segmented : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const int capability = device()->info().limits.compute_capability;
    if (capability != 90) GTEST_SKIP() << "segments need compute capability 90, found " << capability;
  }

  /// The plan that cuts every sequence into `count` segments, whatever the table would do.
  static Plan cut_plan(const Problem& problem, int count) {
    const std::string_view name =
        problem.rule == Rule::kGla ? "cuda.segmented.gla_forward" : "cuda.segmented.forward";
    const Variant& variant =
        *std::ranges::find_if(cuda_variants(), [&](const Variant& v) { return v.name == name; });
    Geometry geometry = variant.geometry(problem, device()->info().limits);
    geometry.workgroups[1] = static_cast<std::uint32_t>(count);
    return cuda::make_plan(problem, device()->info(), {&variant, geometry});
  }
  static Problem example(Rule rule, const Sizes& sizes) {
    Problem problem;
    problem.rule = rule;
    problem.form = Form::kChunked;
    problem.dtype = DType::kBf16;
    problem.heads = problem.qk_heads = 2;
    problem.key_dim = sizes.key_dim, problem.value_dim = sizes.value_dim;
    problem.scale = default_scale(sizes.key_dim);
    problem.initial_state = true;
    return problem;
  }
  static void check_against_reference(const Problem& problem, const TensorSet& inputs, int count) {
    const TensorSet reference = cpu::run_recurrent(problem, inputs);
    for (const OutputError& e : compare_outputs(problem, run(cut_plan(problem, count), inputs), reference))
      EXPECT_TRUE(e.ok()) << describe(problem) << ", " << count << " segments, " << name(e.slot) << ": "
                          << e.error;
  }
};

using Combination = std::tuple<Rule, DType, Sizes>;
class SegmentedMatrix : public Segmented, public testing::WithParamInterface<Combination> {};

TEST_P(SegmentedMatrix, AgreesWithTheReference) {
  const auto [rule, dtype, sizes] = GetParam();
  int ran = 0;
  for (const Case& one : cases(rule, Pass::kForward, Form::kChunked, dtype)) {
    Problem problem = one.problem;
    problem.key_dim = sizes.key_dim, problem.value_dim = sizes.value_dim;
    problem.scale = default_scale(sizes.key_dim);
    const int count = kCounts[ran % std::size(kCounts)];
    if (cuda_chunked::weights_of(problem.heads, problem.batch * problem.seq_len, problem.sequences * count) <
        cuda_chunked::kFewestWeights)
      continue;  // too few for the chunked form, counted as the cut problem's
    check({cut_plan(problem, count)}, one.seed, one.gates);
    ++ran;
  }
  EXPECT_GE(ran, 30);
}

/// Most of the state outlives its segment, so that all of o hangs on the joints.
TEST_F(Segmented, StatesPassThroughEverySegment) {
  for (const Rule rule : {Rule::kLinear, Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    for (const std::int64_t expansion : {1, 2}) {
      Problem problem = example(rule, {128, 128});
      problem.seq_len = 2000;
      problem.expansion = expansion;
      TensorSet inputs = generate_inputs(problem, 11);
      if (inputs[Slot::kG].present())
        for (float& g : inputs[Slot::kG].as<float>()) g *= 1e-3f;
      inputs = round_inputs(problem, inputs);
      for (const int count : kCounts) check_against_reference(problem, inputs, count);
    }
  }
}

/// A reset now and then, as where documents begin, among gates that keep nearly everything.
TEST_F(Segmented, ResetsEndWhatCameBefore) {
  for (const Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    Problem problem = example(rule, {128, 64});
    problem.seq_len = 1500;
    TensorSet inputs = generate_inputs(problem, 12);
    const auto gates = inputs[Slot::kG].as<float>();
    const std::size_t token = gates.size() / 1500;
    for (std::size_t i = 0; i < gates.size(); ++i)
      gates[i] = i / token % 300 == 299 ? (i / token == 299 ? -20.f : -80.f) : 1e-3f * gates[i];
    inputs = round_inputs(problem, inputs);
    for (const int count : kCounts) check_against_reference(problem, inputs, count);
  }
}

TEST_F(Segmented, PackedSequencesAreCutOneByOne) {
  constexpr std::int32_t kCuts[] = {0, 1, 1, 65, 600, 664, 1900, 2001};
  for (const Rule rule : {Rule::kLinear, Rule::kGla, Rule::kGatedDelta}) {
    Problem problem = example(rule, {64, 64});
    problem.heads = 4;
    problem.packed = true;
    problem.sequences = std::size(kCuts) - 1;
    problem.seq_len = kCuts[problem.sequences];
    TensorSet inputs = round_inputs(problem, generate_inputs(problem, 13, Gates::kSpike));
    std::ranges::copy(kCuts, inputs[Slot::kCuSeqlens].as<std::int32_t>().begin());
    for (const int count : kCounts) check_against_reference(problem, inputs, count);
  }
}

TEST_F(Segmented, RunsBehindAFrontEnd) {
  for (const Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    Problem problem = example(rule, {128, 128});
    problem.seq_len = 1000;
    problem.expansion = 2;
    problem = with_front_end(problem);
    const TensorSet inputs = round_inputs(problem, generate_inputs(problem, 15));
    for (const int count : {3, 7}) check_against_reference(problem, inputs, count);
  }
}

TEST_F(Segmented, RepeatsBitForBit) {
  for (const Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    for (const std::int64_t expansion : {1, 2}) {
      Problem problem = example(rule, {128, 128});
      problem.seq_len = 3000;
      problem.heads = 8;
      problem.qk_heads = 4;
      problem.expansion = expansion;
      expect_same_bits(cut_plan(problem, 8), round_inputs(problem, generate_inputs(problem, 14)));
    }
  }
}

/// The table's own choice, and that it shows: the segments are the launch's second dimension.
TEST_F(Segmented, OneLongSequenceIsCut) {
  for (const Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    Problem problem = example(rule, {128, 128});
    problem.heads = problem.qk_heads = 8;
    problem.seq_len = 65536;
    const int count = cuda_multipass::segments(problem, device()->info().limits);
    const Plan plan = device()->plan(problem);
    EXPECT_GT(count, 1);
    EXPECT_TRUE(plan.variant->name.starts_with("cuda.segmented.")) << plan.variant->name;
    EXPECT_EQ(plan.geometry.workgroups[1], static_cast<std::uint32_t>(count));
    for (const Launch& launch : plan.launches) {
      EXPECT_EQ(launch.shared_memory_bytes, launch.reported_shared_memory_bytes) << launch.kernel;
      EXPECT_LE(launch.shared_memory_bytes, plan.geometry.shared_memory_bytes()) << launch.kernel;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, dtype, sizes] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(dtype)) + "_K" + std::to_string(sizes.key_dim) +
         "_V" + std::to_string(sizes.value_dim);
}

INSTANTIATE_TEST_SUITE_P(Cuda, SegmentedMatrix,
                         testing::Combine(testing::Values(Rule::kLinear, Rule::kSsd, Rule::kGla,
                                                          Rule::kGatedDelta),
                                          testing::Values(DType::kBf16, DType::kF16),
                                          testing::Values(Sizes{64, 128}, Sizes{128, 128}, Sizes{256, 256})),
                         name_of);

}  // namespace
}  // namespace statescope
