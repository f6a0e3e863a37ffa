// The backward pass against central finite differences of the forward pass, in float64, for every element of
// every input.
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/reference.h"
#include "tests/printers.h"

namespace statescope {
namespace {

/// Sizes that no device takes: the reference has no limits, and a finite difference costs two runs an
/// element.
Problem tiny(Rule rule) {
  Problem problem;
  problem.rule = rule;
  problem.pass = Pass::kBackward;
  problem.key_dim = 4;
  problem.value_dim = 3;
  problem.seq_len = 5;
  problem.scale = 0.7f;
  problem.final_state_gradient = true;
  return problem;
}

TensorSet wide_inputs(const Problem& problem, Gates gates) {
  TensorSet inputs = generate_inputs(problem, 7, gates);
  for (Slot slot : kSlots) {
    if (inputs[slot].present() && slot != Slot::kCuSeqlens)
      inputs[slot] = convert(inputs[slot].view(), DType::kF64);
  }
  return inputs;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += a.as<double>()[i] * b.as<double>()[i];
  return sum;
}

/// <o, do> + <ht, dht>
double loss(Problem problem, const TensorSet& inputs) {
  problem.pass = Pass::kForward;
  const TensorSet outputs = cpu::run_recurrent(problem, inputs);
  return dot(outputs[Slot::kO], inputs[Slot::kDo]) +
         (problem.final_state_gradient ? dot(outputs[Slot::kHt], inputs[Slot::kDht]) : 0);
}

Tensor finite_difference(const Problem& problem, TensorSet inputs, Slot slot) {
  // The error is about step^2 from the third derivative and 1e-16 / step from rounding: least near 1e-5.
  constexpr double kStep = 1e-5;
  Tensor gradient(DType::kF64, inputs[slot].shape);
  for (std::int64_t i = 0; i < gradient.size(); ++i) {
    double& element = inputs[slot].as<double>()[i];
    const double at = element;
    element = at + kStep;
    const double above = loss(problem, inputs);
    element = at - kStep;
    const double below = loss(problem, inputs);
    element = at;
    gradient.as<double>()[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

void check_gradients(const Problem& problem, const TensorSet& inputs) {
  const TensorSet gradients = cpu::run_recurrent(problem, inputs);
  const std::pair<Slot, Slot> pairs[] = {{Slot::kQ, Slot::kDq},
                                         {Slot::kK, Slot::kDk},
                                         {Slot::kV, Slot::kDv},
                                         {Slot::kG, Slot::kDg},
                                         {Slot::kH0, Slot::kDh0},
                                         {Slot::kBeta, Slot::kDbeta},
                                         {Slot::kQExpand, Slot::kDqExpand},
                                         {Slot::kKExpand, Slot::kDkExpand},
                                         {Slot::kQConv, Slot::kDqConv},
                                         {Slot::kKConv, Slot::kDkConv}};
  for (const auto& [input, gradient] : pairs) {
    if (!takes_part(problem, gradient)) continue;
    EXPECT_LE(relative_rms(gradients[gradient], finite_difference(problem, inputs, input)), 1e-8)
        << name(gradient);
  }
}

class Gradient : public testing::TestWithParam<Rule> {};

TEST_P(Gradient, OfOneHeadFromZeroState) {
  Problem problem = tiny(GetParam());
  problem.batch = problem.sequences = 2;
  check_gradients(problem, wide_inputs(problem, Gates::kModel));
}

TEST_P(Gradient, OfSubheadsWithInitialState) {
  Problem problem = tiny(GetParam());
  problem.expansion = 3;
  problem.initial_state = true;
  check_gradients(problem, wide_inputs(problem, Gates::kSpike));
}

TEST_P(Gradient, OfPackedSequencesWithSharedKeys) {
  Problem problem = tiny(GetParam());
  problem.heads = 4;
  problem.qk_heads = 2;
  problem.expansion = 2;
  problem.packed = true;
  problem.sequences = 3;
  problem.initial_state = true;
  TensorSet inputs = wide_inputs(problem, Gates::kModel);
  inputs[Slot::kCuSeqlens].as<std::int32_t>()[1] = 2;  // sequences of 2, 0 and 3 tokens
  inputs[Slot::kCuSeqlens].as<std::int32_t>()[2] = 2;
  check_gradients(problem, inputs);
}

TEST_P(Gradient, ThroughTheFrontEnd) {
  Problem problem = tiny(GetParam());
  problem.front_end = true;
  problem.seq_len = 9;
  problem.heads = 4;
  problem.qk_heads = 2;
  problem.expansion = 2;
  problem.packed = true;
  problem.sequences = 3;
  TensorSet inputs = wide_inputs(problem, Gates::kModel);
  inputs[Slot::kCuSeqlens].as<std::int32_t>()[1] =
      2;  // sequences of 2, 6 and 1 tokens: the convolution restarts
  inputs[Slot::kCuSeqlens].as<std::int32_t>()[2] = 8;
  check_gradients(problem, inputs);
}

TEST_P(Gradient, OfOutputsAlone) {
  Problem problem = tiny(GetParam());
  problem.final_state_gradient = false;
  problem.initial_state = true;
  check_gradients(problem, wide_inputs(problem, Gates::kModel));
}

INSTANTIATE_TEST_SUITE_P(Rules, Gradient, testing::ValuesIn(kRules),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace statescope
