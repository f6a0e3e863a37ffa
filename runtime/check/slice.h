// One slice of a large problem as a problem of its own: batch rows and heads do not depend on each other, so
// that a reference for a few of them judges a run that is too large for the reference as a whole. (The
// gradients of a front end's weights are sums over the rows: such a slice has all of them.)
#pragma once

#include <statescope/problem.h>

namespace statescope {

/// The H / Hq heads that read one head of q and k, in one batch row (with all its packed sequences): every
/// output and every gradient of the slice is whole.
struct Slice {
  Problem problem;       ///< B / independent_rows(), Hq = 1
  std::int64_t row = 0;  ///< of the batch
  std::int64_t qk_head = 0;
};

/// Rows of the batch that can be cut apart.
std::int64_t independent_rows(const Problem& problem);

/// Throws Error(kUsage) when there is no such row or head.
Slice slice_of(const Problem& whole, std::int64_t row, std::int64_t qk_head);

/// The slice's part of every tensor that is there, inputs and outputs alike. Shapes are those of
/// shape_of(whole).
TensorSet cut(const Problem& whole, const Slice& slice, const TensorSet& tensors);

}  // namespace statescope
