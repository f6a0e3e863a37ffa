#include "profiler/oracle.h"

#include <algorithm>
#include <cstring>

#include <statescope/cost.h>
#include <statescope/error.h>

#include "runtime/cpu/reference.h"

namespace statescope {
namespace {

/// Where a slot's batch and head axes are: [B, T, heads, ...] for tensors of tokens, [N, H, ...] for states.
bool is_state(Slot slot) {
  return slot == Slot::kH0 || slot == Slot::kHt || slot == Slot::kDht || slot == Slot::kDh0;
}

bool reads_qk_heads(Slot slot) {
  return slot == Slot::kQ || slot == Slot::kK || slot == Slot::kDq || slot == Slot::kDk;
}

/// The part of a whole tensor that a slice sees.
Tensor cut(const Problem& whole, const OracleSlice& slice, Slot slot, const Tensor& tensor) {
  if (slot == Slot::kCuSeqlens || slice.problem == whole) return tensor;
  const Shape from = shape_of(whole, slot);
  Tensor part(tensor.dtype, shape_of(slice.problem, slot));
  const std::size_t head_axis = is_state(slot) ? 1 : 2;
  std::int64_t inner = 1;
  for (std::size_t axis = head_axis + 1; axis < from.size(); ++axis) inner *= from[axis];
  const std::int64_t group = whole.heads / whole.qk_heads;
  const std::int64_t first_head = reads_qk_heads(slot) ? slice.head / group : slice.head;
  const std::int64_t part_heads = part.shape[head_axis];
  const std::size_t element = size_of(tensor.dtype);
  const auto copy_heads = [&](std::int64_t to_outer, std::int64_t from_outer) {
    std::memcpy(part.bytes.data() + static_cast<std::size_t>(to_outer * part_heads * inner) * element,
                tensor.bytes.data() +
                    static_cast<std::size_t>((from_outer * from[head_axis] + first_head) * inner) * element,
                static_cast<std::size_t>(part_heads * inner) * element);
  };
  if (is_state(slot)) {
    const std::int64_t first = whole.packed ? 0 : slice.row;  // a packed row holds every sequence
    for (std::int64_t n = 0; n < part.shape[0]; ++n) copy_heads(n, first + n);
  } else {
    for (std::int64_t t = 0; t < whole.seq_len; ++t) copy_heads(t, slice.row * whole.seq_len + t);
  }
  return part;
}

TensorSet cut(const Problem& whole, const OracleSlice& slice, const TensorSet& tensors, bool inputs) {
  TensorSet part;
  for (Slot slot : kSlots) {
    if (is_input(slot) == inputs && takes_part(whole, slot))
      part[slot] = cut(whole, slice, slot, tensors[slot]);
  }
  return part;
}

OracleSlice slice_of(const Problem& whole, std::int64_t row, std::int64_t qk_head) {
  OracleSlice slice;
  const std::int64_t group = whole.heads / whole.qk_heads;
  slice.problem = whole;
  slice.problem.batch = 1;
  slice.problem.sequences = whole.packed ? whole.sequences : 1;
  slice.problem.heads = group;
  slice.problem.qk_heads = 1;
  slice.row = row;
  slice.head = qk_head * group;
  return slice;
}

}  // namespace

Oracle make_oracle(const Problem& problem, std::uint64_t seed, double flop_budget) {
  check(problem);
  Oracle oracle;
  oracle.problem = problem;
  oracle.inputs = round_inputs(problem, generate_inputs(problem, seed));
  const std::int64_t count = problem.batch * problem.qk_heads;
  const double each = flop(problem, Form::kRecurrent) / static_cast<double>(count);
  const std::int64_t wanted =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(flop_budget / each), 1, count);
  oracle.whole = wanted == count;
  if (oracle.whole) {
    oracle.slices.push_back({problem, 0, 0, cpu::run_recurrent(problem, oracle.inputs)});
    return oracle;
  }
  for (std::int64_t i = 1; i <= wanted; ++i) {
    const std::int64_t pair =
        i * count / wanted - 1;  // spread over the whole range, the last pair among them
    OracleSlice slice = slice_of(problem, pair / problem.qk_heads, pair % problem.qk_heads);
    slice.reference = cpu::run_recurrent(slice.problem, cut(problem, slice, oracle.inputs, true));
    oracle.slices.push_back(std::move(slice));
  }
  return oracle;
}

std::vector<OutputError> check_outputs(const Oracle& oracle, const Problem& plan_problem,
                                       const TensorSet& outputs) {
  std::vector<OutputError> errors;
  for (const OracleSlice& slice : oracle.slices) {
    Problem judged = slice.problem;
    judged.form = plan_problem.form;
    const std::vector<OutputError> here =
        compare_outputs(judged, cut(oracle.problem, slice, outputs, false), slice.reference);
    if (errors.empty()) {
      errors = here;
      continue;
    }
    for (std::size_t i = 0; i < here.size(); ++i) {
      if (!(here[i].error <= errors[i].error)) errors[i] = here[i];
    }
  }
  return errors;
}

const OutputError& worst(const std::vector<OutputError>& errors) {
  return *std::max_element(errors.begin(), errors.end(), [](const OutputError& a, const OutputError& b) {
    return a.error / a.tolerance < b.error / b.tolerance;
  });
}

}  // namespace statescope
