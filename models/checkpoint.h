// Checkpoints in the published layout: config.json beside model.safetensors, or beside shards that
// model.safetensors.index.json lists. Files are mapped, not copied.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/config.h"

#include <statescope/safetensors.h>
#include <statescope/tensor.h>

namespace statescope {

struct Checkpoint {
  ModelConfig config;
  std::map<std::string, TensorView> tensors;    ///< f32, bf16 or f16
  std::map<std::string, std::string> metadata;  ///< of the first file

  // What the views look into; copies share it.
  std::vector<SafetensorsFile> files;
  std::vector<std::shared_ptr<const std::map<std::string, Tensor>>> owned;
};

/// Throws Error(kUsage), one line, for: a missing file, an unknown model type, a tensor that is missing,
/// unknown, of a wrong shape or no floating-point type, and an index that disagrees with its shards.
Checkpoint load_checkpoint(const std::filesystem::path& directory);

/// Writes config.json as it was read and the tensors as they are. Above `shard_bytes` of tensors a file, the
/// tensors go to model-0000i-of-0000n.safetensors with an index. Creates the directory; each file is written
/// under a temporary name and renamed. Throws Error(kDevice) when it cannot be written.
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& directory,
                     std::int64_t shard_bytes = INT64_MAX);

/// Names, shapes and types against the configuration's table (layout.h). Throws Error(kUsage).
void check_tensors(const Checkpoint& checkpoint);

/// A model of random weights, the same for the same seed on every machine; what each tensor begins with is in
/// its table. `dtype` is f32, bf16 or f16.
Checkpoint random_checkpoint(const ModelConfig& config, std::uint64_t seed, DType dtype = DType::kF32);

/// A checkpoint that owns its tensors.
Checkpoint make_checkpoint(ModelConfig config, std::map<std::string, Tensor> tensors);

/// `base` under another configuration with some tensors replaced or added; the others are shared. A tensor
/// that the new configuration does not have is dropped. Throws what check_tensors() throws.
Checkpoint derive_checkpoint(const Checkpoint& base, ModelConfig config,
                             std::map<std::string, Tensor> changed);

}  // namespace statescope
