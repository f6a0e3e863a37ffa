// A language model that runs: forward over tokens, and its state between calls, so that generation is a
// prefill followed by steps. The recurrence runs on the device; everything around it on the host in float32.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "models/checkpoint.h"
#include "models/mitigation.h"
#include "models/weights.h"

namespace statescope {

/// What one layer keeps of the tokens so far.
struct LayerState {
  RecurrentState recurrent;
  std::vector<std::vector<float>> conv;  ///< last inputs of each convolution, [B, size - 1, C]
  std::vector<std::vector<float>>
      keys;  ///< softmax attention, a batch row: [tokens kept, kv heads, head dim]
  std::vector<std::vector<float>> values;
};

struct ModelState {
  std::int64_t batch = 1;
  std::int64_t tokens = 0;  ///< seen so far
  std::vector<LayerState> layers;
};

struct ModelOptions {
  DType dtype = DType::kF32;   ///< of the recurrence's q, k, v and o
  Form form = Form::kAuto;     ///< of a prefill
  Mitigation mitigation = {};  ///< of state collapse
};

/// Called for each layer with the recurrence's inputs as they go to the device, before rounding (softmax
/// attention: q, k after positions [B, T, heads, 1, head dim] in Slot::kQ and kK, and v).
using Observer = std::function<void(std::int64_t layer, const TensorSet& inputs)>;

class Model {
 public:
  /// Maps the checkpoint's float32 weights and widens 16-bit ones once.
  Model(Checkpoint checkpoint, std::shared_ptr<Device> device, ModelOptions options = {});

  const ModelConfig& config() const { return checkpoint_.config; }
  const Device& device() const { return recurrence_.device(); }

  /// The state before the first token.
  ModelState start(std::int64_t batch = 1) const;

  /// `ids` [B, T] continue the state's tokens. Logits [B, T, vocabulary] in f32, or of the last token [B, 1,
  /// vocabulary]. Throws Error(kUsage) on an id outside of the vocabulary and when B does not divide the ids.
  Tensor forward(ModelState& state, std::span<const std::int32_t> ids, bool last_only = false,
                 const Observer& observer = {});

 private:
  Checkpoint checkpoint_;
  Weights weights_;
  Recurrence recurrence_;
  Mitigation mitigation_;
};

/// Greedy: `count` tokens after `prompt`, which continues the state. The state ends after the last but one.
std::vector<std::int32_t> generate(Model& model, ModelState& state, std::span<const std::int32_t> prompt,
                                   std::int64_t count);

/// Text byte by byte.
std::vector<std::int32_t> byte_tokens(std::string_view text);

}  // namespace statescope
