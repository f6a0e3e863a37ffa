#include "models/recurrence.h"

#include <algorithm>

namespace statescope {
namespace {

constexpr std::int64_t kWidest = 256;       // of K and V in the kernels
constexpr std::size_t kKeptExecutions = 4;  // prefill and step of two batch sizes

/// x [rows, heads, width], each head `times` times.
Tensor repeat_heads(const Tensor& x, std::int64_t width, std::int64_t times, Shape shape) {
  if (times == 1 || !x.present()) return x;
  Tensor repeated(DType::kF32, std::move(shape));
  const float* from = x.as<float>().data();
  float* to = repeated.as<float>().data();
  for (std::int64_t row = 0; row < x.size() / width; ++row, from += width) {
    for (std::int64_t i = 0; i < times; ++i, to += width) std::copy_n(from, width, to);
  }
  return repeated;
}

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

Execution& Recurrence::execution(const Problem& problem) {
  const auto it = std::find_if(executions_.begin(), executions_.end(), [&](const auto& held) {
    Problem of_plan = held->plan().problem;
    of_plan.form = problem.form;  // the plan's is resolved
    return of_plan == problem;
  });
  if (it != executions_.end()) {
    std::rotate(it, it + 1, executions_.end());
    return *executions_.back();
  }
  if (executions_.size() == kKeptExecutions) executions_.erase(executions_.begin());
  executions_.push_back(device_->prepare(device_->plan(problem)));
  return *executions_.back();
}

Tensor Recurrence::run(Problem problem, TensorSet inputs, Tensor& state) {
  problem.sequences = problem.batch;
  problem.initial_state = true;
  problem.pass = problem.seq_len == 1 ? Pass::kStep : Pass::kForward;
  problem.form = problem.pass == Pass::kStep ? Form::kRecurrent : form_;
  problem.dtype = dtype_;
  const Cut cut = cut_to_fit(problem);
  const Problem& p = cut.problem;

  // q, k and v keep their bytes. A gate a head is repeated for the parts of its value, a scalar one for those
  // of its key.
  inputs[Slot::kQ].shape = shape_of(p, Slot::kQ);
  inputs[Slot::kK].shape = shape_of(p, Slot::kK);
  inputs[Slot::kV].shape = shape_of(p, Slot::kV);
  Tensor& g = inputs[Slot::kG];
  const std::int64_t gate_width = problem.expansion * (gate_per_channel(p.rule) ? problem.key_dim : 1);
  if (!gate_per_channel(p.rule)) {
    g = repeat_heads(g, 1, cut.key_parts, {g.size() * cut.key_parts});
    g = repeat_heads(g, gate_width * cut.key_parts, cut.value_parts, {g.size() * cut.value_parts});
  } else {
    g = repeat_heads(g, gate_width, cut.value_parts, {g.size() * cut.value_parts});
  }
  if (has_gate(p.rule)) g.shape = shape_of(p, Slot::kG);
  Tensor& beta = inputs[Slot::kBeta];
  beta = repeat_heads(beta, problem.expansion, cut.value_parts, {beta.size() * cut.value_parts});
  if (has_beta(p.rule)) beta.shape = shape_of(p, Slot::kBeta);
  inputs[Slot::kH0] = state.present() ? std::move(state) : Tensor(DType::kF32, shape_of(p, Slot::kH0));

  Execution& prepared = execution(p);
  prepared.upload(round_inputs(p, inputs));
  prepared.run();
  TensorSet outputs = prepared.download();
  state = std::move(outputs[Slot::kHt]);
  Tensor o = convert(outputs[Slot::kO].view(), DType::kF32);
  o.shape = shape_of(problem, Slot::kO);
  return o;
}

}  // namespace statescope
