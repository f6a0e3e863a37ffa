// A case in a safetensors file: inputs, perhaps outputs, and the rule and scale in the metadata (DESIGN
// sections 1 and 3).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <statescope/problem.h>

namespace statescope {

struct CaseFile {
  std::filesystem::path path;
  TensorSet tensors;           ///< whatever of the slots is in the file, in the file's types
  std::optional<Rule> rule;    ///< metadata "rule"
  std::optional<float> scale;  ///< metadata "scale"
};

/// Throws Error(kUsage) on a missing or malformed file, or metadata that cannot be read.
CaseFile read_case_file(const std::filesystem::path& path);

/// The inputs alone, those of `pass`: a forward run does not take do and dht.
TensorSet inputs_of(const CaseFile& file, Pass pass);

/// How a case is run.
struct CaseChoice {
  Rule rule;
  std::optional<float> scale;
  DType dtype = DType::kF32;
  Division division = Division::kSubheads;
  Form form = Form::kAuto;
};
struct CaseRun {
  Problem problem;
  TensorSet inputs;  ///< in the types of dtype_of()
};
/// One pass of the case. Throws Error(kUsage) that names the tensor where inputs are missing or do not fit.
CaseRun case_run(const CaseFile& file, Pass pass, const CaseChoice& choice);

/// `asked` if it names a rule, else the file's. Throws Error(kUsage) when there is neither.
Rule rule_of(const CaseFile& file, const std::string& asked);

/// The same inputs in the naive division: [.., E, K] read as [.., 1, E K], an exact reshape for linear and
/// gla. Throws Error(kUsage) for the other rules when E > 1: their gates and beta are one a subhead.
TensorSet as_naive(const TensorSet& inputs, Rule rule);

}  // namespace statescope
