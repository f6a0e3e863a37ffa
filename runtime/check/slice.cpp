#include "runtime/check/slice.h"

#include <cstring>

#include <statescope/error.h>

namespace statescope {
namespace {

bool is_state(Slot slot) {
  return slot == Slot::kH0 || slot == Slot::kHt || slot == Slot::kDht || slot == Slot::kDh0;
}

bool is_weight(Slot slot) {
  return (slot >= Slot::kQExpand && slot <= Slot::kKConv) || slot >= Slot::kDqExpand;
}

bool is_history(Slot slot) {
  return slot == Slot::kQHistory || slot == Slot::kKHistory || slot == Slot::kQHistoryAfter ||
         slot == Slot::kKHistoryAfter;
}

bool has_qk_heads(Slot slot) {
  return slot == Slot::kQ || slot == Slot::kK || slot == Slot::kDq || slot == Slot::kDk || is_weight(slot) ||
         is_history(slot);
}

void check_index(const char* what, std::int64_t found, std::int64_t count) {
  if (found < 0 || found >= count) {
    throw Error(ErrorKind::kUsage, std::string(what) + " " + std::to_string(found) + ", wanted 0 to " +
                                       std::to_string(count - 1));
  }
}

Tensor cut(const Problem& whole, const Slice& slice, Slot slot, const Tensor& tensor) {
  if (slot == Slot::kCuSeqlens) return tensor;
  // Rows of [heads, ...]: a token's, or a sequence's state; weights are one row.
  const std::size_t head_axis = is_weight(slot) ? 0 : is_state(slot) ? 1 : 2;
  const Shape from = shape_of(whole, slot), to = shape_of(slice.problem, slot);
  std::size_t head_bytes = size_of(tensor.dtype);
  for (std::size_t axis = head_axis + 1; axis < to.size(); ++axis) head_bytes *= to[axis];
  std::int64_t rows = 1;
  for (std::size_t axis = 0; axis < head_axis; ++axis) rows *= to[axis];
  const std::int64_t heads = to[head_axis];
  const std::int64_t first_head = has_qk_heads(slot) ? slice.qk_head : slice.qk_head * heads;
  const std::int64_t first_row = is_weight(slot) ? 0 : slice.row * rows;

  Tensor part(tensor.dtype, to);
  for (std::int64_t i = 0; i < rows; ++i) {
    // B = 1 where sequences are packed, so row is 0 there.
    const std::int64_t first = ((first_row + i) * from[head_axis] + first_head) * head_bytes;
    std::memcpy(part.bytes.data() + i * heads * head_bytes, tensor.bytes.data() + first, heads * head_bytes);
  }
  return part;
}

}  // namespace

std::int64_t independent_rows(const Problem& problem) {
  return problem.front_end && problem.pass == Pass::kBackward ? 1 : problem.batch;
}

Slice slice_of(const Problem& whole, std::int64_t row, std::int64_t qk_head) {
  check_index("batch row", row, independent_rows(whole));
  check_index("head of q and k", qk_head, whole.qk_heads);
  Slice slice{whole, row, qk_head};
  slice.problem.batch = whole.batch / independent_rows(whole);
  slice.problem.sequences = whole.packed ? whole.sequences : slice.problem.batch;
  slice.problem.heads = whole.heads / whole.qk_heads;
  slice.problem.qk_heads = 1;
  return slice;
}

TensorSet cut(const Problem& whole, const Slice& slice, const TensorSet& tensors) {
  TensorSet part;
  for (Slot slot : kSlots) {
    if (tensors[slot].present() && takes_part(whole, slot))
      part[slot] = cut(whole, slice, slot, tensors[slot]);
  }
  return part;
}

}  // namespace statescope
