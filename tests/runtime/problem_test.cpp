// Every malformed input gets one line that names the tensor, the found and the wanted.
#include <gtest/gtest.h>

#include <limits>

#include "runtime/check/generate.h"

#include <statescope/error.h>
#include <statescope/problem.h>

namespace statescope {
namespace {

Problem small(Rule rule, Pass pass = Pass::kForward) {
  Problem p;
  p.rule = rule;
  p.pass = pass;
  p.batch = p.sequences = 2;
  p.seq_len = 5;
  p.heads = 4;
  p.qk_heads = 2;
  p.expansion = 3;
  p.key_dim = 32;
  p.value_dim = 16;
  p.initial_state = true;
  p.final_state_gradient = pass == Pass::kBackward;
  p.scale = default_scale(32);
  return p;
}

template <typename Call>
std::string message(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "nothing was thrown";
}

std::string derive(TensorSet inputs, Rule rule, Pass pass = Pass::kForward) {
  return message([&] { problem_of(inputs, rule, pass, std::nullopt, DType::kF32); });
}

TEST(Problem, IsDerivedFromItsInputs) {
  for (Rule rule : kRules) {
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      const Problem wanted = small(rule, pass);
      const TensorSet inputs = generate_inputs(wanted, 1);
      EXPECT_EQ(problem_of(inputs, rule, pass, std::nullopt, DType::kF32), wanted) << describe(wanted);
      for (Slot slot : kSlots) {
        EXPECT_EQ(inputs[slot].present(), is_input(slot) && takes_part(wanted, slot)) << name(slot);
      }
    }
  }
}

TEST(Problem, WithAFrontEndIsDerivedFromItsWeights) {
  for (Pass pass : {Pass::kForward, Pass::kBackward}) {
    Problem wanted = small(Rule::kGatedDelta, pass);
    wanted.front_end = true;
    const TensorSet good = generate_inputs(wanted, 1);
    EXPECT_EQ(good[Slot::kQ].shape, (Shape{2, 5, 2, 32}));
    EXPECT_EQ(good[Slot::kQExpand].shape, (Shape{2, 32, 3, 32}));
    EXPECT_EQ(good[Slot::kKConv].shape, (Shape{2, 3, 32, 4}));
    EXPECT_EQ(problem_of(good, wanted.rule, pass, std::nullopt, DType::kF32), wanted);
    TensorSet bad = good;
    bad[Slot::kKConv] = Tensor();
    EXPECT_EQ(derive(bad, wanted.rule, pass), "tensor 'k_conv' is missing: q_expand is there");
    bad = good;
    bad[Slot::kKExpand] = Tensor(DType::kF32, {2, 32, 2, 32});
    EXPECT_EQ(derive(bad, wanted.rule, pass),
              "tensor 'k_expand' has shape [2, 32, 2, 32], wanted [2, 32, 3, 32]");
    bad = good;
    bad[Slot::kQ] = Tensor(DType::kF32, {2, 5, 2, 3, 32});
    EXPECT_EQ(derive(bad, wanted.rule, pass), "tensor 'q' has shape [2, 5, 2, 3, 32], wanted [B, T, Hq, K]");
  }
}

TEST(Problem, AHistoryGoesOnWithAFrontEnd) {
  Problem wanted = small(Rule::kSsd);
  wanted.front_end = wanted.history = true;
  const TensorSet good = generate_inputs(wanted, 1);
  EXPECT_EQ(good[Slot::kQHistory].shape, (Shape{2, 3, 2, 3, 32}));
  EXPECT_EQ(problem_of(good, wanted.rule, wanted.pass, std::nullopt, DType::kF32), wanted);
  EXPECT_EQ(derive(good, wanted.rule, Pass::kBackward),
            "tensor 'do' is missing: backward starts from the gradient of o");
  TensorSet bad = good;
  bad[Slot::kKHistory] = Tensor();
  EXPECT_EQ(derive(bad, wanted.rule), "tensor 'k_history' is missing: q_history is there");
  bad[Slot::kKHistory] = Tensor(DType::kF32, {2, 4, 2, 3, 32});
  EXPECT_EQ(derive(bad, wanted.rule),
            "tensor 'k_history' has shape [2, 4, 2, 3, 32], wanted [2, 3, 2, 3, 32]");

  wanted.pass = Pass::kStep;
  wanted.seq_len = 1;
  const TensorSet step = generate_inputs(wanted, 1);
  EXPECT_EQ(problem_of(step, wanted.rule, wanted.pass, std::nullopt, DType::kF32), wanted);
  bad = step;
  bad[Slot::kQHistory] = Tensor();
  EXPECT_EQ(derive(bad, wanted.rule, Pass::kStep),
            "tensor 'q_history' is missing: step goes on with the convolution");
  EXPECT_EQ(in_place_of(wanted, Slot::kQHistoryAfter), Slot::kQHistory);
  EXPECT_EQ(in_place_of(wanted, Slot::kHt), Slot::kH0);
  EXPECT_EQ(in_place_of(wanted, Slot::kO), std::nullopt);
  wanted.pass = Pass::kForward;
  EXPECT_EQ(in_place_of(wanted, Slot::kHt), std::nullopt);
}

TEST(Problem, NamesWrongShapes) {
  const TensorSet good = generate_inputs(small(Rule::kGatedDelta), 1);
  TensorSet bad = good;
  bad[Slot::kK] = Tensor(DType::kF32, {2, 5, 2, 3, 16});
  EXPECT_EQ(derive(bad, Rule::kGatedDelta), "tensor 'k' has shape [2, 5, 2, 3, 16], wanted [2, 5, 2, 3, 32]");
  bad = good;
  bad[Slot::kG] = Tensor(DType::kF32, {2, 5, 2, 3});
  EXPECT_EQ(derive(bad, Rule::kGatedDelta), "tensor 'g' has shape [2, 5, 2, 3], wanted [2, 5, 4, 3]");
  bad = good;
  bad[Slot::kBeta] = Tensor();
  EXPECT_EQ(derive(bad, Rule::kGatedDelta), "tensor 'beta' is missing: rule gated_delta has a learning rate");
  bad = good;
  bad[Slot::kQ].shape = {2, 5, 96, 32};
  EXPECT_EQ(derive(bad, Rule::kGatedDelta), "tensor 'q' has shape [2, 5, 96, 32], wanted [B, T, Hq, E, K]");
  EXPECT_EQ(derive(good, Rule::kGatedDelta, Pass::kBackward),
            "tensor 'do' is missing: backward starts from the gradient of o");
  EXPECT_EQ(derive(good, Rule::kGatedDelta, Pass::kStep), "step takes one token, found sequence length 5");
}

TEST(Problem, NamesWrongValues) {
  const TensorSet good = generate_inputs(small(Rule::kSsd), 1);
  TensorSet bad = good;
  bad[Slot::kG].as<float>()[7] = 0.25f;
  EXPECT_EQ(derive(bad, Rule::kSsd),
            "tensor 'g' has 0.250000 at element 7, wanted logarithms of decays, at most 0");
  bad = good;
  bad[Slot::kV].as<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(derive(bad, Rule::kSsd), "tensor 'v' has NaN at element 3, wanted finite values");
  bad = good;
  bad[Slot::kH0].as<float>()[0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(derive(bad, Rule::kSsd), "tensor 'h0' has infinity at element 0, wanted finite values");
}

TEST(Problem, NamesWrongCuts) {
  Problem p = small(Rule::kLinear);
  p.batch = 1;
  p.packed = true;
  p.sequences = 3;
  const TensorSet good = generate_inputs(p, 1);
  EXPECT_EQ(problem_of(good, p.rule, p.pass, std::nullopt, DType::kF32), p);
  const auto with_cuts = [&](std::vector<std::int32_t> cuts) {
    TensorSet bad = good;
    std::copy(cuts.begin(), cuts.end(), bad[Slot::kCuSeqlens].as<std::int32_t>().begin());
    return derive(bad, Rule::kLinear);
  };
  EXPECT_EQ(with_cuts({1, 2, 3, 5}), "tensor 'cu_seqlens' starts at 1, wanted 0");
  EXPECT_EQ(with_cuts({0, 3, 2, 5}), "tensor 'cu_seqlens' goes back from 3 to 2 at element 2");
  EXPECT_EQ(with_cuts({0, 2, 3, 6}), "tensor 'cu_seqlens' ends at 6, wanted T = 5");
}

TEST(Problem, RefusesSizesThatMakeNoSense) {
  const auto why = [](auto change) {
    Problem p = small(Rule::kGatedDelta);
    change(p);
    return message([&] { check(p); });
  };
  EXPECT_EQ(why([](Problem& p) { p.key_dim = 40; }),
            "key dim K is 40, wanted a multiple of 16 from 16 to 256");
  EXPECT_EQ(why([](Problem& p) { p.value_dim = 512; }),
            "value dim V is 512, wanted a multiple of 16 from 16 to 256");
  EXPECT_EQ(why([](Problem& p) { p.qk_heads = 3; }), "heads of q and k Hq is 3, wanted a divisor of H = 4");
  EXPECT_EQ(why([](Problem& p) { p.expansion = 0; }), "expansion E is 0, wanted at least 1");
  EXPECT_EQ(why([](Problem& p) { p.packed = true; }), "packed sequences need batch B = 1, found 2");
  EXPECT_EQ(why([](Problem& p) {
              p.front_end = true;
              p.pass = Pass::kStep;
              p.seq_len = 1;
            }),
            "step behind a front end needs its history: q_history and k_history");
  EXPECT_EQ(why([](Problem& p) { p = with_front_end(as_naive(p)); }),
            "a front end makes subheads, found division naive");
  EXPECT_EQ(why([](Problem& p) { p.history = true; }), "a history is of a front end, found none");
  EXPECT_EQ(why([](Problem& p) {
              p.front_end = p.history = true;
              p.pass = Pass::kBackward;
            }),
            "backward takes no history: its sequences begin with their first token");
  EXPECT_NE(why([](Problem& p) { p.seq_len = 1ll << 40; }).find("over 2^40 bytes"), std::string::npos);
  EXPECT_NE(why([](Problem& p) { p.heads = p.qk_heads = 1ll << 60; }).find("63 bits"), std::string::npos);
}

TEST(Problem, NaiveIsOneLongKey) {
  const Problem naive = as_naive(small(Rule::kGla));
  EXPECT_EQ(naive.key_dim, 96);
  EXPECT_EQ(naive.expansion, 1);
  EXPECT_NO_THROW(check(naive));
  EXPECT_EQ(shape_of(naive, Slot::kG), (Shape{2, 5, 4, 1, 96}));
}

}  // namespace
}  // namespace statescope
