// The layer's part in front of the recurrence (see problem.h), in float64: from unexpanded q and k to
// subkeys, and the gradients back through it.
#pragma once

#include <functional>

#include <statescope/problem.h>

namespace statescope::cpu {

struct Expanded {
  TensorSet inputs;  ///< of the recurrence: q and k expanded, [B, T, Hq, E, K] in f64; the others as they are
  TensorSet histories;  ///< after the pass, where there are any
};
Expanded expand_front_end(const Problem& problem, const TensorSet& inputs);

/// Runs `recurrence` on the expanded problem; backward adds the gradients of the front end's own tensors.
TensorSet run_behind_front_end(const Problem& problem, const TensorSet& inputs,
                               const std::function<TensorSet(const Problem&, const TensorSet&)>& recurrence);

}  // namespace statescope::cpu
