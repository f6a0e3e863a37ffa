#include "runtime/check/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/check/cases.h"
#include "runtime/check/random.h"

namespace statescope {
namespace {

Problem example(Rule rule) {
  Problem problem;
  problem.rule = rule;
  problem.pass = Pass::kBackward;
  problem.seq_len = 50;
  problem.heads = 4;
  problem.qk_heads = 2;
  problem.expansion = 3;
  problem.packed = true;
  problem.sequences = 5;
  problem.initial_state = true;
  problem.final_state_gradient = true;
  return problem;
}

TEST(Random, IsSplitmix64) {
  Random random(1234567);  // the generator's published test vector
  EXPECT_EQ(random.bits(), 6457827717110365317ull);
  EXPECT_EQ(random.bits(), 3203168211198807973ull);
  EXPECT_EQ(random.bits(), 9817491932198370423ull);
}

TEST(Random, NormalHasMeanZeroAndVarianceOne) {
  Random random(1);
  constexpr int kCount = 100'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
}

TEST(Generate, IsTheSameForTheSameSeedOnly) {
  const Problem problem = example(Rule::kGatedDelta);
  const TensorSet a = generate_inputs(problem, 1), b = generate_inputs(problem, 1),
                  c = generate_inputs(problem, 2);
  for (Slot slot : kSlots) {
    if (!is_input(slot) || !takes_part(problem, slot)) continue;
    EXPECT_EQ(a[slot].bytes, b[slot].bytes) << name(slot);
    EXPECT_NE(a[slot].bytes, c[slot].bytes) << name(slot);
  }
  EXPECT_NE(a[Slot::kQ].bytes, a[Slot::kK].bytes);
}

TEST(Generate, AddingAStateLeavesTheRest) {
  Problem with = example(Rule::kSsd), without = with;
  without.initial_state = false;
  EXPECT_EQ(generate_inputs(with, 1)[Slot::kV].bytes, generate_inputs(without, 1)[Slot::kV].bytes);
  EXPECT_FALSE(generate_inputs(without, 1)[Slot::kH0].present());
}

TEST(Generate, EveryCaseIsAValidProblem) {
  for (Rule rule : kRules) {
    for (Pass pass : kPasses) {
      for (const Case& c : cases(rule, pass, Form::kRecurrent, DType::kF32)) {
        SCOPED_TRACE(c.name());
        const TensorSet inputs = generate_inputs(c.problem, c.seed, c.gates);
        Problem found = problem_of(inputs, rule, pass, c.problem.scale, DType::kF32);  // checks every value
        found.form = c.problem.form;
        EXPECT_EQ(found, c.problem);
      }
      for (const Case& c : front_end_cases(rule, pass, DType::kF32)) {
        SCOPED_TRACE(c.name());
        const TensorSet inputs = generate_inputs(c.problem, c.seed, c.gates);
        Problem found = problem_of(inputs, rule, pass, c.problem.scale, DType::kF32);
        found.form = c.problem.form;
        EXPECT_EQ(found, c.problem);
      }
    }
  }
}

TEST(Generate, KeysAreUnitRowsWithoutZeros) {
  const Problem subheads = example(Rule::kLinear);
  for (const Problem& problem : {subheads, as_naive(subheads)}) {
    const TensorSet inputs = generate_inputs(problem, 1);
    const auto q = inputs[Slot::kQ].as<float>();
    for (std::size_t first = 0; first < q.size(); first += problem.key_dim) {
      double squares = 0;
      for (std::int64_t i = 0; i < problem.key_dim; ++i) squares += double{q[first + i]} * q[first + i];
      ASSERT_NEAR(squares, 1, 1e-6);
    }
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kDo, Slot::kH0, Slot::kDht}) {
      const auto values = inputs[slot].as<float>();
      EXPECT_EQ(std::ranges::count(values, 0.0f), 0) << name(slot);
    }
  }
}

TEST(Generate, GatesAreAsStrongAsSaid) {
  const Problem problem = example(Rule::kGla);
  const auto gates = [&](Gates kind) {
    const Tensor g = generate_inputs(problem, 1, kind)[Slot::kG];
    const auto values = g.as<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  const auto model = gates(Gates::kModel), spike = gates(Gates::kSpike), none = gates(Gates::kNone);
  const auto share = [](const std::vector<float>& g, float below) {
    return static_cast<double>(std::ranges::count_if(g, [&](float x) { return x < below; })) /
           static_cast<double>(g.size());
  };
  EXPECT_LT(*std::ranges::max_element(model), 0);
  EXPECT_LT(share(model, -0.5f), 0.1);
  EXPECT_GT(share(model, -0.01f), 0.9);
  EXPECT_EQ(*std::ranges::min_element(spike), -20);
  EXPECT_NEAR(share(spike, -2.5f), 1 / 16.0 + 1 / 16.0 * 7 / 8,
              0.02);  // half of the spikes at -20, half spread
  EXPECT_EQ(share(none, 0), 0);
}

TEST(Generate, CutsCoverTheTokensAndLeaveOneSequenceEmpty) {
  const Problem problem = example(Rule::kSsd);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Tensor tensor = generate_inputs(problem, seed)[Slot::kCuSeqlens];
    const auto cuts = tensor.as<std::int32_t>();
    ASSERT_EQ(cuts.size(), 6u);
    EXPECT_EQ(cuts.front(), 0);
    EXPECT_EQ(cuts.back(), 50);
    EXPECT_TRUE(std::ranges::is_sorted(cuts));
    EXPECT_EQ(cuts[1], cuts[2]);
  }
}

}  // namespace
}  // namespace statescope
