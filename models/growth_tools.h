// What the ways of growing share: chosen layers, the new configuration, tensors rewritten row by row.
#pragma once

#include "models/growth.h"
#include "models/layout.h"
#include "runtime/check/random.h"

namespace statescope {

/// Ascending, each once. Throws Error(kUsage) when one is not there.
std::vector<std::int64_t> checked_layers(const ModelConfig& config, std::vector<std::int64_t> layers);

/// The configuration with `patch` (a JSON object) in those layers only; in all of them it is no override.
ModelConfig grown_config(const ModelConfig& config, const std::vector<std::int64_t>& layers,
                         const std::string& patch);

/// Tensors of the grown model, made from the base's. Values are f32 while they are made and end in the base's
/// type.
class GrownTensors {
 public:
  GrownTensors(const Checkpoint& base, const ModelConfig& grown, std::uint64_t seed);

  const TensorSpec& spec(const std::string& name) const;
  /// Of the base, widened.
  Tensor base(const std::string& name) const;
  /// As the table of tensors says it begins.
  Tensor fresh(const std::string& name);
  void set(const std::string& name, Tensor tensor);
  Random& random() { return random_; }
  /// Shares what was not set.
  Checkpoint finish();

 private:
  const Checkpoint& base_;
  ModelConfig grown_;
  std::map<std::string, TensorSpec> specs_;
  std::map<std::string, Tensor> changed_;
  Random random_;
};

/// Rows [first, first + count) of a tensor [rows, ...].
Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count);
/// Below one another.
Tensor stack_rows(const std::vector<Tensor>& parts);
/// Each block of `block` rows `times` times: [a b] with one row a block becomes [a a b b].
Tensor repeat_blocks(const Tensor& tensor, std::int64_t block, std::int64_t times);

Growth report_growth(const Checkpoint& base, Checkpoint grown, std::vector<std::int64_t> layers,
                     bool unchanged, std::string note);

}  // namespace statescope
