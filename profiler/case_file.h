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

/// The same inputs in the naive division: [.., E, K] read as [.., 1, E K], an exact reshape for linear and
/// gla. Throws Error(kUsage) for the other rules when E > 1: their gates and beta are one a subhead.
TensorSet as_naive(const TensorSet& inputs, Rule rule);

}  // namespace statescope
