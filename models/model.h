// A language model that runs: forward over tokens, and its state between calls, so that generation is a
// prefill followed by steps. Weights, activations and states stay on the device.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "models/checkpoint.h"
#include "models/mitigation.h"
#include "models/weights.h"

namespace statescope {

/// Softmax attention's keys and values, [B, capacity, kv heads, head dim], of which `kept` tokens a row are
/// there.
struct KeyValueCache {
  Array keys, values;
  std::int64_t kept = 0, capacity = 0;
};

/// What one layer keeps of the tokens so far.
struct LayerState {
  RecurrentState recurrent;
  std::vector<Array> conv;  ///< last inputs of each convolution, [B, size - 1, C]
  KeyValueCache cache;
};

struct ModelState {
  std::int64_t batch = 1;
  std::int64_t tokens = 0;  ///< seen so far
  std::vector<LayerState> layers;
};

struct ModelOptions {
  /// Of weights in products and of activations; the residual stream, gates, states and logits are float32.
  /// f64 runs on the cpu alone, and everything is of it.
  DType dtype = DType::kF32;
  Form form = Form::kAuto;     ///< of a prefill
  Mitigation mitigation = {};  ///< of state collapse
};

/// A layer's recurrence: its sizes and inputs (softmax attention: q, k after positions and v, with E = 1).
struct LayerInputs {
  Problem problem;  ///< shape_of() its slots
  SlotArrays arrays;
};
using Observer = std::function<void(std::int64_t layer, const LayerInputs& inputs)>;

class Model {
 public:
  /// Puts the weights on the device; the cpu reads float32 ones where the checkpoint is mapped.
  Model(Checkpoint checkpoint, std::shared_ptr<Device> device, ModelOptions options = {});
  /// The same with operations that somebody else has made for that device.
  Model(Checkpoint checkpoint, std::shared_ptr<Device> device, std::shared_ptr<Compute> compute,
        ModelOptions options = {});

  const ModelConfig& config() const { return checkpoint_.config; }
  const Device& device() const { return recurrence_.device(); }
  Compute& compute() const { return recurrence_.compute(); }
  Recurrence& recurrence() { return recurrence_; }
  const Weights& weights() const { return weights_; }

  /// The state before the first token.
  ModelState start(std::int64_t batch = 1) const;

  /// `ids` [B, T] continue the state's tokens. Logits [B, T, vocabulary] wide, or of the last token [B, 1,
  /// vocabulary]. Throws Error(kUsage) on an id outside of the vocabulary and when B does not divide the ids.
  Tensor forward(ModelState& state, std::span<const std::int32_t> ids, bool last_only = false,
                 const Observer& observer = {});
  /// The same with the logits left on the device.
  Array run(ModelState& state, std::span<const std::int32_t> ids, bool last_only = false,
            const Observer& observer = {});
  /// The same from ids on the device, which are taken to be in the vocabulary.
  Array run(ModelState& state, const Array& ids, bool last_only = false, const Observer& observer = {});

  /// Whether every step is the same operations on the same arrays, so that one can be recorded.
  bool steps_alike() const;

 private:
  Checkpoint checkpoint_;
  Weights weights_;
  Recurrence recurrence_;
  ModelOptions options_;
};

/// Greedy: `count` tokens after `prompt`, which continues the state; batch 1. The state ends after the last
/// but one. `on_token` is told each as it comes and may stop it by throwing.
std::vector<std::int32_t> generate(Model& model, ModelState& state, std::span<const std::int32_t> prompt,
                                   std::int64_t count,
                                   const std::function<void(std::int32_t)>& on_token = {});

}  // namespace statescope
