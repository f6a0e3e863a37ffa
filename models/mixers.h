// The mixers: what carries information from token to token. Each maps normed tokens x [B T, hidden] to the
// same shape and brings its layer's state forward.
#pragma once

#include "models/model.h"
#include "models/operations.h"

namespace statescope {

/// A tensor around a buffer's values.
Tensor tensor_of(const Buffer& values, Shape shape);
/// The values of an f32 tensor.
Buffer buffer_of(const Tensor& tensor);

/// What a mixer sees of its surroundings.
struct MixerContext {
  const Weights& weights;
  std::string prefix;  ///< of its tensors' names
  std::int64_t layer, batch, tokens;
  std::int64_t first;  ///< position of the first of these tokens
  double norm_eps;
  Recurrence& recurrence;
  const Mitigation& mitigation;
  const Observer& observer;

  std::int64_t rows() const { return batch * tokens; }
  std::span<const float> weight(const std::string& name) const { return weights(prefix + name); }
  /// o [B T, H, V]
  Buffer recur(const Problem& problem, TensorSet inputs, LayerState& state) const {
    if (observer) observer(layer, inputs);
    return buffer_of(run_mitigated(mitigation, recurrence, problem, std::move(inputs), state.recurrent));
  }
  Buffer project(const Buffer& x, const std::string& name) const {
    return linear(rows(), x, weight(name + ".weight"), weight(name + ".bias"));
  }
};

/// Linear attention and its descendants (papers/methods, section A): project, expand, convolve, gate, recur,
/// norm, gate.
Buffer mix(const LinearMixer& mixer, const MixerContext& context, const Buffer& x, LayerState& state);
/// Mamba-2 (Dao and Gu, 2024), as the published class orders it: the gate comes before the norm.
Buffer mix(const Mamba2Mixer& mixer, const MixerContext& context, const Buffer& x, LayerState& state);
/// Softmax attention, causal, full or over a window.
Buffer mix(const AttentionMixer& mixer, const MixerContext& context, const Buffer& x, LayerState& state);

}  // namespace statescope
