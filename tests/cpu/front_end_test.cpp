// A front end's history: a sequence in pieces is the sequence at once.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/reference.h"
#include "tests/printers.h"

namespace statescope {
namespace {

class FrontEnd : public testing::TestWithParam<Rule> {};

Problem example(Rule rule) {
  Problem problem;
  problem.rule = rule;
  problem.seq_len = 12;
  problem.batch = problem.sequences = 2;
  problem.heads = 4;
  problem.qk_heads = 2;
  problem.expansion = 3;
  problem.key_dim = 16;
  problem.value_dim = 32;
  problem.initial_state = true;
  problem.front_end = problem.history = true;
  return problem;
}

TensorSet wide_inputs(const Problem& problem) {
  TensorSet inputs = generate_inputs(problem, 3);
  for (Slot slot : kSlots) {
    if (inputs[slot].present() && slot != Slot::kCuSeqlens)
      inputs[slot] = convert(inputs[slot].view(), DType::kF64);
  }
  return inputs;
}

/// Tensors that have a row a token.
bool of_tokens(Slot slot) {
  return slot == Slot::kQ || slot == Slot::kK || slot == Slot::kV || slot == Slot::kG ||
         slot == Slot::kBeta || slot == Slot::kO;
}

/// Tokens [first, first + count) of every batch row, as bytes of [B, T, ...].
Tensor tokens_of(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  Shape shape = tensor.shape;
  const std::int64_t rows = shape[0], tokens = shape[1];
  shape[1] = count;
  Tensor part(tensor.dtype, shape);
  const std::size_t token = tensor.bytes.size() / static_cast<std::size_t>(rows * tokens);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(tensor.bytes.begin() + static_cast<std::ptrdiff_t>((row * tokens + first) * token),
                count * token, part.bytes.begin() + static_cast<std::ptrdiff_t>(row * count * token));
  }
  return part;
}

/// Runs the tokens in pieces, each from the state and the histories that the one before left.
void expect_same_in_pieces(const Problem& whole, std::vector<std::int64_t> pieces) {
  const TensorSet inputs = wide_inputs(whole);
  const TensorSet wanted = cpu::run_recurrent(whole, inputs);
  TensorSet now = inputs, found;
  std::int64_t first = 0;
  for (std::int64_t count : pieces) {
    Problem piece = whole;
    piece.seq_len = count;
    piece.pass = count == 1 ? Pass::kStep : Pass::kForward;
    check(piece);
    for (Slot slot : kSlots) {
      if (is_input(slot) && of_tokens(slot) && takes_part(whole, slot))
        now[slot] = tokens_of(inputs[slot], first, count);
    }
    found = cpu::run_recurrent(piece, now);
    EXPECT_LE(relative_rms(found[Slot::kO], tokens_of(wanted[Slot::kO], first, count)), 1e-12) << first;
    now[Slot::kH0] = found[Slot::kHt];
    now[Slot::kQHistory] = found[Slot::kQHistoryAfter];
    now[Slot::kKHistory] = found[Slot::kKHistoryAfter];
    first += count;
  }
  ASSERT_EQ(first, whole.seq_len);
  for (Slot slot : {Slot::kHt, Slot::kQHistoryAfter, Slot::kKHistoryAfter})
    EXPECT_LE(relative_rms(found[slot], wanted[slot]), 1e-12) << name(slot);
}

TEST_P(FrontEnd, PrefillAndStepsAreTheWholeSequence) {
  expect_same_in_pieces(example(GetParam()), {7, 1, 1, 1, 1, 1});
}

TEST_P(FrontEnd, PiecesShorterThanTheConvolutionAreTheWholeSequence) {
  expect_same_in_pieces(example(GetParam()), {2, 1, 2, 3, 4});
}

/// Sequences of 2, 0, 6 and 4 tokens, each behind a history of its own, are four problems.
TEST_P(FrontEnd, PackedSequencesGoOnEachByItself) {
  Problem packed = example(GetParam());
  packed.batch = 1;
  packed.sequences = 4;
  packed.packed = true;
  TensorSet inputs = wide_inputs(packed);
  const std::int32_t cuts[] = {0, 2, 2, 8, 12};
  std::ranges::copy(cuts, inputs[Slot::kCuSeqlens].as<std::int32_t>().begin());
  const TensorSet wanted = cpu::run_recurrent(packed, inputs);
  const auto sequence_of = [](const Tensor& tensor, std::int64_t n) {
    Shape shape = tensor.shape;
    const std::size_t bytes = tensor.bytes.size() / static_cast<std::size_t>(shape[0]);
    shape[0] = 1;
    Tensor part(tensor.dtype, shape);
    std::copy_n(tensor.bytes.begin() + static_cast<std::ptrdiff_t>(n * bytes), bytes, part.bytes.begin());
    return part;
  };
  for (std::int64_t n = 0; n < 4; ++n) {
    SCOPED_TRACE(n);
    const std::int64_t count = cuts[n + 1] - cuts[n];
    TensorSet now = inputs;
    for (Slot slot : {Slot::kH0, Slot::kQHistory, Slot::kKHistory}) now[slot] = sequence_of(inputs[slot], n);
    if (count == 0) {  // nothing comes, nothing changes
      EXPECT_EQ(sequence_of(wanted[Slot::kQHistoryAfter], n).bytes, now[Slot::kQHistory].bytes);
      EXPECT_EQ(sequence_of(wanted[Slot::kKHistoryAfter], n).bytes, now[Slot::kKHistory].bytes);
      continue;
    }
    Problem one = packed;
    one.packed = false;
    one.sequences = 1;
    one.seq_len = count;
    now[Slot::kCuSeqlens] = Tensor();
    for (Slot slot : kSlots) {
      if (is_input(slot) && of_tokens(slot) && takes_part(one, slot))
        now[slot] = tokens_of(inputs[slot], cuts[n], count);
    }
    const TensorSet found = cpu::run_recurrent(one, now);
    EXPECT_LE(relative_rms(found[Slot::kO], tokens_of(wanted[Slot::kO], cuts[n], count)), 1e-12);
    for (Slot slot : {Slot::kHt, Slot::kQHistoryAfter, Slot::kKHistoryAfter})
      EXPECT_LE(relative_rms(found[slot], sequence_of(wanted[slot], n)), 1e-12) << name(slot);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, FrontEnd, testing::ValuesIn(kRules),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace statescope
