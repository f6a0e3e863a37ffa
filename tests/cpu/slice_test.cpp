#include "runtime/check/slice.h"

#include <gtest/gtest.h>

#include <tuple>

#include <statescope/error.h>

#include "runtime/check/generate.h"
#include "runtime/cpu/reference.h"

namespace statescope {
namespace {

Problem example(Rule rule, bool packed, std::int64_t qk_heads) {
  Problem problem;
  problem.rule = rule;
  problem.pass = Pass::kBackward;
  problem.seq_len = 30;
  problem.heads = 4;
  problem.qk_heads = qk_heads;
  problem.expansion = 2;
  problem.key_dim = 16;
  problem.value_dim = 32;
  problem.packed = packed;
  problem.batch = packed ? 1 : 3;
  problem.sequences = packed ? 5 : 3;
  problem.initial_state = true;
  problem.final_state_gradient = true;
  return problem;
}

TEST(Slice, RunsAsThePartOfTheWhole) {
  for (Rule rule : kRules) {
    for (bool packed : {false, true}) {
      for (std::int64_t qk_heads : {2, 4}) {
        for (const auto& [pass, front_end, history] :
             {std::tuple(Pass::kForward, false, false), std::tuple(Pass::kBackward, false, false),
              std::tuple(Pass::kForward, true, false), std::tuple(Pass::kForward, true, true),
              std::tuple(Pass::kBackward, true, false)}) {
          Problem whole = example(rule, packed, qk_heads);
          whole.pass = pass;
          whole.front_end = front_end;
          whole.history = history;
          whole.final_state_gradient = pass == Pass::kBackward;
          const TensorSet inputs = generate_inputs(whole, 1);
          const TensorSet outputs = cpu::run_recurrent(whole, inputs);
          const Slice slice = slice_of(whole, independent_rows(whole) - 1, 1);
          EXPECT_NO_THROW(check(slice.problem));
          const TensorSet found = cpu::run_recurrent(slice.problem, cut(whole, slice, inputs));
          const TensorSet wanted = cut(whole, slice, outputs);
          for (Slot slot : kSlots) {
            if (is_input(slot) || !takes_part(whole, slot)) continue;
            EXPECT_EQ(found[slot].shape, wanted[slot].shape) << name(slot);
            EXPECT_EQ(found[slot].bytes, wanted[slot].bytes)
                << name(rule) << " " << name(slot) << " packed " << packed << " Hq " << qk_heads;
          }
        }
      }
    }
  }
}

TEST(Slice, RefusesRowsAndHeadsThatAreNotThere) {
  const Problem whole = example(Rule::kSsd, false, 2);
  EXPECT_THROW(slice_of(whole, 3, 0), Error);
  EXPECT_THROW(slice_of(whole, -1, 0), Error);
  EXPECT_THROW(slice_of(whole, 0, 2), Error);
}

}  // namespace
}  // namespace statescope
