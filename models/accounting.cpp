#include "models/accounting.h"

#include <algorithm>

#include <statescope/cost.h>

namespace statescope {
namespace {

struct MixerState {
  std::int64_t recurrent = 0, conv = 0;
  double context = 0;
};

double equivalent_context(std::int64_t expansion, std::int64_t key_dim, std::int64_t value_dim) {
  return transformer_equivalent_context(static_cast<double>(expansion), static_cast<double>(key_dim),
                                        static_cast<double>(value_dim));
}

MixerState state_of(const LinearMixer& m, std::int64_t) {
  const std::int64_t factor = m.expansion.factor;
  const std::int64_t channels = 2 * m.qk_heads * m.key_dim * factor + m.heads * m.value_dim;
  return {factor * m.heads * m.key_dim * m.value_dim, m.short_conv ? channels * (m.conv_size - 1) : 0,
          equivalent_context(factor, m.key_dim, m.value_dim)};
}

MixerState state_of(const Mamba2Mixer& m, std::int64_t) {
  return {m.heads * m.head_dim * m.state_size, m.conv_dim() * (m.conv_size - 1),
          equivalent_context(1, m.state_size, m.head_dim)};
}

MixerState state_of(const AttentionMixer& m, std::int64_t context) {
  const std::int64_t seen = std::min(context, m.window.value_or(context));
  return {2 * seen * m.kv_heads * m.head_dim, 0, static_cast<double>(seen)};
}

}  // namespace

Accounting account(const ModelConfig& config, std::int64_t context) {
  Accounting result;
  result.layer_parameters.resize(config.layers.size());
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.optional) continue;
    const std::int64_t count = element_count(spec.shape);
    result.parameters += count;
    result.parts[spec.part] += count;
    if (spec.layer >= 0) result.layer_parameters[spec.layer] += count;
  }
  std::int64_t unexpanded = 0;
  for (const Mixer& mixer : config.layers) {
    const MixerState state = std::visit([&](const auto& m) { return state_of(m, context); }, mixer);
    result.layer_state.push_back(state.recurrent);
    result.state += state.recurrent;
    result.conv_state += state.conv;
    result.equivalent_context += state.context;
    if (const auto* m = std::get_if<LinearMixer>(&mixer))
      unexpanded += 2 * config.hidden * m->qk_heads * m->key_dim;
  }
  result.equivalent_context /= static_cast<double>(config.layers.size());
  if (unexpanded > 0) {
    result.query_key_ratio =
        static_cast<double>(result.parts[Part::kQueryKey] + result.parts[Part::kExpansion]) /
        static_cast<double>(unexpanded);
  }
  return result;
}

}  // namespace statescope
