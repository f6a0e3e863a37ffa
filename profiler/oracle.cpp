#include "profiler/oracle.h"

#include <algorithm>

#include <statescope/cost.h>
#include <statescope/error.h>

#include "runtime/cpu/cpu_device.h"
#include "runtime/cpu/reference.h"

namespace statescope {
namespace {

/// Refuses inputs that this machine cannot hold: as they are drawn and in the types of dtype_of().
void check_inputs_fit(const Problem& problem) {
  std::size_t bytes = 0;
  for (Slot slot : kSlots) {
    if (!is_input(slot) || !takes_part(problem, slot)) continue;
    const auto count = static_cast<std::size_t>(element_count(shape_of(problem, slot)));
    bytes += count * (size_of(DType::kF32) + size_of(dtype_of(problem, slot)));
  }
  if (bytes > cpu::memory_bytes()) {
    throw Error(ErrorKind::kRefused, "inputs of " + std::to_string(bytes) + " B while they are drawn > " +
                                         std::to_string(cpu::memory_bytes()) + " B of memory on the host");
  }
}

}  // namespace

Oracle make_oracle(const Problem& problem, std::uint64_t seed, double flop_budget) {
  check(problem);
  check_inputs_fit(problem);
  return make_oracle(problem, round_inputs(problem, generate_inputs(problem, seed)), flop_budget);
}

Oracle make_oracle(const Problem& problem, TensorSet inputs, double flop_budget) {
  Oracle oracle;
  oracle.problem = problem;
  oracle.inputs = std::move(inputs);
  const std::int64_t count = independent_rows(problem) * problem.qk_heads;
  const double each = flop(problem, Form::kRecurrent) / static_cast<double>(count);
  const auto wanted = std::clamp<std::int64_t>(static_cast<std::int64_t>(flop_budget / each), 1, count);
  if (wanted == count) {
    oracle.whole = cpu::run_recurrent(problem, oracle.inputs);
    return oracle;
  }
  for (std::int64_t i = 1; i <= wanted; ++i) {
    const std::int64_t pair =
        i * count / wanted - 1;  // spread over the whole range, the last pair among them
    const Slice slice = slice_of(problem, pair / problem.qk_heads, pair % problem.qk_heads);
    oracle.samples.push_back({slice, cpu::run_recurrent(slice.problem, cut(problem, slice, oracle.inputs))});
  }
  return oracle;
}

std::vector<OutputError> check_outputs(const Oracle& oracle, const Problem& ran, const TensorSet& outputs) {
  if (oracle.samples.empty()) return compare_outputs(ran, outputs, oracle.whole);
  std::vector<OutputError> errors;
  for (const Oracle::Sample& sample : oracle.samples) {
    Problem judged = sample.slice.problem;
    judged.form = ran.form;
    const auto here = compare_outputs(judged, cut(oracle.problem, sample.slice, outputs), sample.reference);
    if (errors.empty()) errors = here;
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
