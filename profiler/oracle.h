// Inputs of a problem with what the float64 reference says of them: nothing is timed or drawn that was not
// held against this.
#pragma once

#include <cstdint>
#include <vector>

#include <statescope/problem.h>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/check/slice.h"

namespace statescope {

struct Oracle {
  Problem problem;
  TensorSet inputs;  ///< in the types of dtype_of()
  TensorSet whole;   ///< the reference, unless the problem was too big: then of sampled slices
  struct Sample {
    Slice slice;
    TensorSet reference;
  };
  std::vector<Sample> samples;  ///< empty: `whole` is there
};

/// Generates inputs and computes the reference, whole when that takes at most `flop_budget`, else of as many
/// slices as the budget allows (one at least), spread over rows and heads.
Oracle make_oracle(const Problem& problem, std::uint64_t seed, double flop_budget = 1e10);

/// The same of inputs that are there, in the types of dtype_of().
Oracle make_oracle(const Problem& problem, TensorSet inputs, double flop_budget = 1e10);

/// Every output's error, the worst over the slices. `ran` is the plan's problem: its form decides the
/// tolerance.
std::vector<OutputError> check_outputs(const Oracle& oracle, const Problem& ran, const TensorSet& outputs);

/// The output with the largest error relative to its tolerance. `errors` is not empty.
const OutputError& worst(const std::vector<OutputError>& errors);

}  // namespace statescope
