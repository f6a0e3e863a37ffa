#include "profiler/case_file.h"

#include <charconv>
#include <cmath>

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {
namespace {

float parse_scale(const std::string& text, const std::filesystem::path& path) {
  float scale = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), scale);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(scale)) {
    throw Error(ErrorKind::kUsage, path.string() + ": metadata scale is '" + text + "', wanted a number");
  }
  return scale;
}

/// Merges axes E and K (of q, k, a gla gate: the last two; of a state: axes 2 and 3) into 1 and E K.
void merge(Tensor& tensor, std::size_t axis) {
  tensor.shape[axis + 1] *= tensor.shape[axis];
  tensor.shape[axis] = 1;
}

}  // namespace

CaseFile read_case_file(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  CaseFile result;
  result.path = path;
  for (Slot slot : kSlots) {
    const std::string tensor(name(slot));
    if (!file.contains(tensor)) continue;
    const TensorView view = file.view(tensor);
    result.tensors[slot].dtype = view.dtype;
    result.tensors[slot].shape = view.shape;
    result.tensors[slot].bytes.assign(view.bytes.begin(), view.bytes.end());
  }
  const auto& metadata = file.metadata();
  if (const auto rule = metadata.find("rule"); rule != metadata.end()) {
    try {
      result.rule = parse_rule(rule->second);
    } catch (const Error& e) {
      throw Error(ErrorKind::kUsage, path.string() + ": metadata " + e.what());
    }
  }
  if (const auto scale = metadata.find("scale"); scale != metadata.end()) {
    result.scale = parse_scale(scale->second, path);
  }
  return result;
}

TensorSet inputs_of(const CaseFile& file, Pass pass) {
  TensorSet inputs;
  for (Slot slot : kSlots) {
    const bool gradient = slot == Slot::kDo || slot == Slot::kDht;
    if (is_input(slot) && (!gradient || pass == Pass::kBackward)) inputs[slot] = file.tensors[slot];
  }
  return inputs;
}

TensorSet as_naive(const TensorSet& inputs, Rule rule) {
  TensorSet naive = inputs;
  const Shape& q = inputs[Slot::kQ].shape;
  if (q.size() != 5 || q[3] == 1) return naive;
  if (rule != Rule::kLinear && rule != Rule::kGla) {
    throw Error(ErrorKind::kUsage, "q: found E = " + std::to_string(q[3]) + ", wanted E = 1 for " +
                                       std::string(name(rule)) +
                                       " in the naive division (its g and beta are one a "
                                       "subhead; only linear and gla reshape exactly)");
  }
  merge(naive[Slot::kQ], 3);
  merge(naive[Slot::kK], 3);
  if (naive[Slot::kG].shape.size() == 5) merge(naive[Slot::kG], 3);
  for (Slot slot : {Slot::kH0, Slot::kDht}) {
    if (naive[slot].shape.size() == 5) merge(naive[slot], 2);
  }
  return naive;
}

CaseRun case_run(const CaseFile& file, Pass pass, const CaseChoice& choice) {
  CaseRun run;
  run.inputs = inputs_of(file, pass);
  run.problem =
      problem_of(run.inputs, choice.rule, pass, choice.scale ? choice.scale : file.scale, choice.dtype);
  if (choice.division == Division::kNaive) {
    run.inputs = as_naive(run.inputs, choice.rule);
    run.problem = as_naive(run.problem);
  }
  run.problem.form = choice.form;
  run.inputs = round_inputs(run.problem, run.inputs);
  return run;
}

Rule rule_of(const CaseFile& file, const std::string& asked) {
  if (!asked.empty()) return parse_rule(asked);
  if (file.rule) return *file.rule;
  throw Error(ErrorKind::kUsage, file.path.string() + ": no metadata rule, wanted one there or with --rule");
}

}  // namespace statescope
