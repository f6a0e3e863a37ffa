// The mixers: what carries information from token to token. Each maps normed tokens x [B T, hidden] to the
// same shape, adds that to the residual stream and brings its layer's state forward.
#pragma once

#include "models/model.h"
#include "models/operations.h"

namespace statescope {

/// What a mixer sees of its surroundings.
struct MixerContext {
  const Weights& weights;
  std::string prefix;  ///< of its tensors' names
  std::int64_t layer, batch, tokens;
  std::int64_t first;  ///< position of the first of these tokens
  double norm_eps;
  DType dtype;  ///< of activations
  Recurrence& recurrence;
  const Mitigation& mitigation;
  const Observer& observer;
  const Array& residual;  ///< [B T, hidden], wide

  Compute& compute() const { return recurrence.compute(); }
  std::int64_t rows() const { return batch * tokens; }
  DType wide() const { return wide_type(dtype); }
  Array weight(const std::string& name) const { return weights(prefix + name); }
  void observe(const Problem& problem, const SlotArrays& inputs) const {
    if (observer) observer(layer, {problem, inputs});
  }
  /// o [B, T, H, V]
  Array recur(const Problem& problem, const SlotArrays& inputs, LayerState& state) const {
    observe(problem, inputs);
    return run_mitigated(mitigation, recurrence, problem, inputs, state.recurrent);
  }
  Array project(const Array& x, const std::string& name, DType type) const {
    return linear(compute(), rows(), x, weight(name + ".weight"), weight(name + ".bias"), type);
  }
  Array project(const Array& x, const std::string& name) const { return project(x, name, dtype); }
  void add_projection(const Array& x, const std::string& name) const {
    add_linear(compute(), rows(), x, weight(name + ".weight"), weight(name + ".bias"), residual);
  }
};

/// Linear attention and its descendants (papers/methods, section A): project, expand, convolve, gate, recur,
/// norm, gate.
void mix(const LinearMixer& mixer, const MixerContext& context, const Array& x, LayerState& state);
/// Mamba-2 (Dao and Gu, 2024), as the published class orders it: the gate comes before the norm.
void mix(const Mamba2Mixer& mixer, const MixerContext& context, const Array& x, LayerState& state);
/// Softmax attention, causal, full or over a window.
void mix(const AttentionMixer& mixer, const MixerContext& context, const Array& x, LayerState& state);

}  // namespace statescope
