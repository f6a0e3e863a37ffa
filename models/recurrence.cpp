#include "models/recurrence.h"

#include <algorithm>

#include "models/operations.h"

namespace statescope {
namespace {

constexpr std::int64_t kWidest = 256;  // of K and V in the kernels
constexpr std::size_t kKeptPlans = 8;  // prefill and step of some batch sizes and layers

/// The smallest number of parts of at most 256, a multiple of 16 each; 1 when there is none.
std::int64_t parts_of(std::int64_t width) {
  for (std::int64_t parts = (width + kWidest - 1) / kWidest; parts <= width / 16; ++parts) {
    if (width % parts == 0 && width / parts % 16 == 0) return parts;
  }
  return 1;
}

}  // namespace

Cut cut_to_fit(const Problem& problem) {
  Cut cut{problem};
  cut.value_parts = parts_of(problem.value_dim);
  if (problem.division == Division::kSubheads && !has_beta(problem.rule))
    cut.key_parts = parts_of(problem.key_dim);
  cut.problem.heads *= cut.value_parts;
  cut.problem.value_dim /= cut.value_parts;
  cut.problem.expansion *= cut.key_parts;
  cut.problem.key_dim /= cut.key_parts;
  return cut;
}

const Plan& Recurrence::plan(const Problem& problem) {
  const auto it = std::ranges::find(plans_, problem, &std::pair<Problem, Plan>::first);
  if (it != plans_.end()) {
    std::rotate(it, it + 1, plans_.end());
    return plans_.back().second;
  }
  if (plans_.size() == kKeptPlans) plans_.erase(plans_.begin());
  plans_.emplace_back(problem, device_->plan(problem));
  return plans_.back().second;
}

Array Recurrence::run(Problem problem, SlotArrays inputs, Array& state) {
  const DType dtype = inputs[Slot::kQ].dtype;
  problem.sequences = problem.batch;
  problem.initial_state = true;
  problem.history = problem.front_end;
  problem.pass = problem.seq_len == 1 ? Pass::kStep : Pass::kForward;
  problem.form = problem.pass == Pass::kStep ? Form::kRecurrent : form_;
  problem.dtype = dtype == DType::kF64 ? DType::kF32 : dtype;  // float64 is the cpu's own
  const Cut cut = cut_to_fit(problem);
  const Problem& p = cut.problem;

  // q, k and v keep their bytes. A gate a head is repeated for the parts of its value, a scalar one for those
  // of its key.
  Array& g = inputs[Slot::kG];
  if (!gate_per_channel(p.rule)) g = repeated_rows(*compute_, g, 1, cut.key_parts);
  g = repeated_rows(*compute_, g, p.expansion * (gate_per_channel(p.rule) ? p.key_dim : 1), cut.value_parts);
  inputs[Slot::kBeta] = repeated_rows(*compute_, inputs[Slot::kBeta], problem.expansion, cut.value_parts);
  if (!state.present()) state = filled(*compute_, wide_type(dtype), element_count(shape_of(p, Slot::kH0)), 0);
  inputs[Slot::kH0] = inputs[Slot::kHt] = state;
  if (p.pass == Pass::kForward) inputs[Slot::kHt] = compute_->allocate(state.dtype, state.size);
  inputs[Slot::kO] = compute_->allocate(dtype, element_count(shape_of(p, Slot::kO)));

  compute_->recur(plan(p), inputs);
  state = inputs[Slot::kHt];
  return inputs[Slot::kO];
}

}  // namespace statescope
