// What must agree with what: the two forms, a step and a sequence's last token, the two divisions, heads that
// share keys and heads that have copies of them, one run and the next.
#include <gtest/gtest.h>

#include <cstring>

#include <statescope/error.h>

#include "profiler/case_file.h"
#include "runtime/check/cases.h"
#include "runtime/check/compare.h"
#include "runtime/cpu/reference.h"
#include "tests/printers.h"

namespace statescope {
namespace {

Problem example(Rule rule, Pass pass) {
  Problem problem;
  problem.rule = rule;
  problem.pass = pass;
  problem.batch = problem.sequences = 2;
  problem.seq_len = 70;
  problem.heads = problem.qk_heads = 4;
  problem.expansion = 3;
  problem.key_dim = 16;
  problem.value_dim = 32;
  problem.scale = default_scale(problem.key_dim);
  problem.initial_state = true;
  problem.final_state_gradient = pass == Pass::kBackward;
  return problem;
}

void expect_same_bits(const Tensor& a, const Tensor& b, Slot slot) {
  ASSERT_EQ(a.bytes.size(), b.bytes.size()) << name(slot);
  EXPECT_EQ(std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()), 0) << name(slot);
}

class Forms : public testing::TestWithParam<std::tuple<Rule, Pass>> {
 protected:
  Rule rule() const { return std::get<0>(GetParam()); }
  Pass pass() const { return std::get<1>(GetParam()); }
};

TEST_P(Forms, ChunkedEqualsRecurrentOverTheMatrix) {
  for (const Case& c : cases(rule(), pass(), Form::kChunked, DType::kF32)) {
    SCOPED_TRACE(c.name());
    const TensorSet inputs = generate_inputs(c.problem, c.seed, c.gates);
    const TensorSet recurrent = cpu::run_recurrent(c.problem, inputs);
    for (const OutputError& e : compare_outputs(c.problem, cpu::run_chunked(c.problem, inputs), recurrent)) {
      EXPECT_LE(e.error, 1e-10) << name(e.slot);
    }
  }
}

TEST_P(Forms, AnyChunkGivesTheSame) {
  const Problem problem = example(rule(), pass());
  const TensorSet inputs = generate_inputs(problem, 3, Gates::kSpike);
  const TensorSet recurrent = cpu::run_recurrent(problem, inputs);
  for (int chunk : {1, 16, 24, 33, 64, 128}) {
    for (const OutputError& e :
         compare_outputs(problem, cpu::run_chunked(problem, inputs, chunk), recurrent)) {
      EXPECT_LE(e.error, 1e-10) << name(e.slot) << " chunk " << chunk;
    }
  }
}

TEST_P(Forms, EveryGateAtItsStrongest) {
  const Problem problem = example(rule(), pass());
  TensorSet inputs = generate_inputs(problem, 4);
  // γ reaches -1280 within a chunk of 64: e^{-γ} is far beyond float64.
  if (has_gate(rule())) std::ranges::fill(inputs[Slot::kG].as<float>(), -20.0f);
  const TensorSet recurrent = cpu::run_recurrent(problem, inputs);
  for (const OutputError& e : compare_outputs(problem, cpu::run_chunked(problem, inputs), recurrent)) {
    EXPECT_LE(e.error, 1e-10) << name(e.slot);
  }
}

TEST_P(Forms, TwoRunsGiveTheSameBits) {
  const Problem problem = example(rule(), pass());
  const TensorSet inputs = generate_inputs(problem, 5);
  const TensorSet first = cpu::run_recurrent(problem, inputs), second = cpu::run_recurrent(problem, inputs);
  const TensorSet chunked = cpu::run_chunked(problem, inputs), again = cpu::run_chunked(problem, inputs);
  for (Slot slot : kSlots) {
    if (is_input(slot) || !takes_part(problem, slot)) continue;
    expect_same_bits(first[slot], second[slot], slot);
    expect_same_bits(chunked[slot], again[slot], slot);
  }
}

/// [rows, heads, inner] with every head `copies` times.
Tensor repeat_heads(const Tensor& tensor, std::int64_t heads, std::int64_t copies, Shape shape) {
  Tensor repeated(tensor.dtype, std::move(shape));
  const std::int64_t rows = tensor.shape[0] * tensor.shape[1];
  const std::size_t head_bytes = tensor.bytes.size() / (rows * heads);
  for (std::int64_t i = 0; i < rows * heads * copies; ++i) {
    std::memcpy(repeated.bytes.data() + i * head_bytes, tensor.bytes.data() + i / copies * head_bytes,
                head_bytes);
  }
  return repeated;
}

TEST_P(Forms, SharedKeysEqualRepeatedKeys) {
  Problem shared = example(rule(), pass());
  shared.qk_heads = 2;
  const TensorSet inputs = generate_inputs(shared, 6);
  Problem repeated = shared;
  repeated.qk_heads = 4;
  TensorSet copies = inputs;
  for (Slot slot : {Slot::kQ, Slot::kK})
    copies[slot] = repeat_heads(inputs[slot], 2, 2, shape_of(repeated, slot));
  const TensorSet found = cpu::run_recurrent(shared, inputs), wanted = cpu::run_recurrent(repeated, copies);
  for (Slot slot : kSlots) {
    if (is_input(slot) || !takes_part(shared, slot)) continue;
    if (slot != Slot::kDq && slot != Slot::kDk) {
      expect_same_bits(found[slot], wanted[slot], slot);
      continue;
    }
    // The gradient of what is shared is the sum over the copies, in their order.
    const std::int64_t head = shared.expansion * shared.key_dim;
    const auto sums = found[slot].as<double>(), parts = wanted[slot].as<double>();
    for (std::int64_t i = 0; i < found[slot].size(); ++i) {
      const std::int64_t first = i / head * 2 * head + i % head;
      ASSERT_EQ(sums[i], parts[first] + parts[first + head]) << name(slot) << " element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, Forms,
                         testing::Combine(testing::ValuesIn(kRules),
                                          testing::Values(Pass::kForward, Pass::kBackward)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

class Rules : public testing::TestWithParam<Rule> {};

/// Tokens [first, first + count) of every tensor of tokens.
TensorSet tokens_of(const Problem& problem, const TensorSet& inputs, std::int64_t first, std::int64_t count) {
  TensorSet part = inputs;
  for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta}) {
    if (!inputs[slot].present()) continue;
    Shape shape = inputs[slot].shape;
    shape[1] = count;
    part[slot] = Tensor(inputs[slot].dtype, shape);
    const std::size_t token_bytes = inputs[slot].bytes.size() / (problem.batch * problem.seq_len);
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      std::memcpy(part[slot].bytes.data() + b * count * token_bytes,
                  inputs[slot].bytes.data() + (b * problem.seq_len + first) * token_bytes,
                  count * token_bytes);
    }
  }
  return part;
}

TEST_P(Rules, StepIsTheLastTokenOfForward) {
  Problem all = example(GetParam(), Pass::kForward);
  const TensorSet inputs = generate_inputs(all, 8);
  const TensorSet whole = cpu::run_recurrent(all, inputs);

  Problem before = all;
  before.seq_len = all.seq_len - 1;
  TensorSet last = tokens_of(all, inputs, before.seq_len, 1);
  last[Slot::kH0] = cpu::run_recurrent(before, tokens_of(all, inputs, 0, before.seq_len))[Slot::kHt];
  Problem step = all;
  step.pass = Pass::kStep;
  step.seq_len = 1;
  const TensorSet stepped = cpu::run_recurrent(step, last);
  expect_same_bits(stepped[Slot::kHt], whole[Slot::kHt], Slot::kHt);
  TensorSet o;
  o[Slot::kQ] = whole[Slot::kO];  // any slot of tokens: cut the last one out
  expect_same_bits(stepped[Slot::kO], tokens_of(all, o, before.seq_len, 1)[Slot::kQ], Slot::kO);
}

TEST_P(Rules, StepHasNoChunkedForm) {
  Problem step = example(GetParam(), Pass::kStep);
  step.seq_len = 1;
  EXPECT_THROW(cpu::run_chunked(step, generate_inputs(step, 1)), Error);
}

TEST_P(Rules, MisshapenInputIsNamed) {
  const Problem problem = example(GetParam(), Pass::kForward);
  TensorSet inputs = generate_inputs(problem, 1);
  inputs[Slot::kV] = Tensor(DType::kF32, {2, 70, 4, 16});
  try {
    cpu::run_recurrent(problem, inputs);
    FAIL() << "ran on a v of the wrong shape";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "tensor 'v' has shape [2, 70, 4, 16], wanted [2, 70, 4, 32]");
  }
}

INSTANTIATE_TEST_SUITE_P(All, Rules, testing::ValuesIn(kRules),
                         [](const auto& test) { return std::string(name(test.param)); });

// E subheads are one long key for rules whose channels do not meet before o (methods.md A).
class Divisions : public testing::TestWithParam<Rule> {};

TEST_P(Divisions, NaiveEqualsSubheads) {
  for (Pass pass : {Pass::kForward, Pass::kBackward}) {
    const Problem subheads = example(GetParam(), pass);
    const TensorSet inputs = generate_inputs(subheads, 9, Gates::kSpike);
    const Problem naive = as_naive(subheads);
    TensorSet reshaped = cpu::run_recurrent(naive, as_naive(inputs, GetParam()));
    const TensorSet wanted = cpu::run_recurrent(subheads, inputs);
    for (Slot slot : kSlots) {
      if (is_input(slot) || !takes_part(naive, slot)) continue;
      ASSERT_EQ(reshaped[slot].shape, shape_of(naive, slot));
      reshaped[slot].shape = wanted[slot].shape;  // the same memory either way
      EXPECT_LE(relative_rms(reshaped[slot], wanted[slot]), 1e-14) << name(slot);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Reshaped, Divisions, testing::Values(Rule::kLinear, Rule::kGla),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace statescope
