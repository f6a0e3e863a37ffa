// The float64 reference: what every other backend is held against. Both forms of each rule, forward and
// backward.
//
// Inputs are any floating-point type (widened exactly to float64); outputs are f64 tensors of the slots that
// take part. Sequences and (head, subhead) pairs run on std::thread workers; sums over subheads go in the
// order j = 0 .. E-1.
#pragma once

#include <statescope/problem.h>

namespace statescope::cpu {

/// Token by token, one clear loop a rule. Form, series, division and dtype of the problem do not matter.
TensorSet run_recurrent(const Problem& problem, const TensorSet& inputs);

/// Chunks of `chunk` tokens (DESIGN section 1), forward and backward: the text that GPU kernels are ported
/// from. Equal to run_recurrent() to 1e-10. Pass::kStep is not chunked: Error(kUsage).
TensorSet run_chunked(const Problem& problem, const TensorSet& inputs, int chunk = 64);

}  // namespace statescope::cpu
