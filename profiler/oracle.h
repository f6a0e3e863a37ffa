// Inputs of a problem with what the float64 reference says of them: nothing is timed or drawn that was not
// held against this.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <statescope/problem.h>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"

namespace statescope {

/// Heads [head, head + heads) of one batch row: the heads of v that read one head of q and k, so that every
/// gradient of the slice is whole.
struct OracleSlice {
  Problem problem;
  std::int64_t row = 0, head = 0;
  TensorSet reference;
};

/// Big problems are checked on sampled slices, since (row, head) pairs do not depend on each other.
struct Oracle {
  Problem problem;
  TensorSet inputs;  ///< in the types of dtype_of()
  std::vector<OracleSlice> slices;
  bool whole = true;  ///< the slices cover every row and head
};

/// Generates inputs and computes the reference, of every slice when that takes at most `flop_budget`, else of
/// as many as the budget allows (one at least), spread over rows and heads.
Oracle make_oracle(const Problem& problem, std::uint64_t seed, double flop_budget = 1e10);

/// Worst error of every output over the slices; the tolerance is that of `plan_problem` (its form decides).
std::vector<OutputError> check_outputs(const Oracle& oracle, const Problem& plan_problem,
                                       const TensorSet& outputs);

/// The output with the largest error relative to its tolerance. `errors` is not empty.
const OutputError& worst(const std::vector<OutputError>& errors);

}  // namespace statescope
