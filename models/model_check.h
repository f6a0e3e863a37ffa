// A checkpoint against logits that its own library computed.
#pragma once

#include "models/model.h"

namespace statescope {

/// Largest RMS(logits - expected) / RMS(expected) that passes in float32; 16-bit activations are held to
/// 2e-2, the rounding of a dozen layers.
double model_tolerance(DType dtype);

struct ModelCheck {
  std::string model_type, device;
  std::int64_t batch = 0, tokens = 0;
  double error = 0;
  double tolerance = 0;
  bool ok() const { return error <= tolerance; }  // false for NaN
};

/// Runs input_ids [B, T] of `directory`/expected.safetensors and compares with its logits [B, T, vocabulary].
/// Throws Error(kUsage) when a file is missing or malformed.
ModelCheck check_model(const std::filesystem::path& directory, std::shared_ptr<Device> device,
                       ModelOptions options = {});

/// The keys of a layer on the model's device, [B, T, Hq, E, K].
struct LayerKeys {
  Array array;
  Shape shape;
};
/// Those of every layer as the recurrence sees them, after expansion, convolution and norm (softmax
/// attention: after positions, E = 1).
std::vector<LayerKeys> extract_keys(Model& model, std::span<const std::int32_t> ids);

}  // namespace statescope
