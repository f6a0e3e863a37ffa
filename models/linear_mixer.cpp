#include <algorithm>
#include <cmath>

#include "models/mixers.h"
#include "models/state_expansion.h"

namespace statescope {
namespace {

/// q or k [B T, Hq, E, K]: projected, expanded, convolved, activated, placed, normed.
Buffer query_or_key(const LinearMixer& m, const MixerContext& in, const Buffer& x, const std::string& which,
                    std::vector<float>* history) {
  Buffer y = in.project(x, which + "_proj");
  y = expand_heads(m.expansion, m.qk_heads, m.key_dim, std::move(y),
                   [&](const std::string& end) { return in.weight(which + "_expand." + end); });
  if (m.short_conv) {
    causal_convolution(y, in.batch, in.weight(which + "_conv1d.weight"), in.weight(which + "_conv1d.bias"),
                       *history);
  }
  activate(m.qk_activation, y);
  if (m.rotary) rotate(y, in.batch, in.tokens, m.state_key_dim(), in.first, 10000);
  if (m.l2_norm) l2_norm(y, m.state_key_dim());
  return y;
}

/// g [B T, H, E] (a vector over K for Decay::kChannel), natural logarithm.
Buffer decays(const LinearMixer& m, const MixerContext& in, const Buffer& x) {
  const std::int64_t width = m.heads * m.states();
  if (m.decay == Decay::kScalar) {
    Buffer g = in.project(x, "a_proj");
    const auto log_a = in.weight("A_log"), bias = in.weight("dt_bias");
    for (std::size_t i = 0; i < g.size(); ++i) {
      const auto gate = static_cast<std::int64_t>(i) % width;
      g[i] = -std::exp(log_a[gate]) * softplus(g[i] + bias[gate]);
    }
    return g;
  }
  if (m.decay == Decay::kChannel) {
    constexpr float kNormaliser = 16;
    Buffer g = in.project(in.project(x, "gk_proj.0"), "gk_proj.1");
    const float floor = m.gate_floor ? static_cast<float>(*m.gate_floor) : -INFINITY;
    for (float& value : g) value = std::max(floor, -softplus(-value) / kNormaliser);
    return g;
  }
  // A key of zero decay takes part in the gated delta rule and in ssd only.
  Buffer g(static_cast<std::size_t>(in.rows() * width));
  if (m.decay == Decay::kNone) return g;
  for (std::int64_t head = 0; head < m.heads; ++head) {
    const auto retention = static_cast<float>(std::log1p(-std::exp2(-5.0 - static_cast<double>(head))));
    for (std::int64_t row = 0; row < in.rows(); ++row) {
      std::fill_n(g.begin() + row * width + head * m.states(), m.states(), retention);
    }
  }
  return g;
}

Buffer write_strengths(const LinearMixer& m, const MixerContext& in, const Buffer& x) {
  const float most = m.double_beta ? 2.0f : 1.0f;
  if (!m.learned_beta) return Buffer(static_cast<std::size_t>(in.rows() * m.heads * m.states()), most);
  Buffer beta = in.project(x, "b_proj");
  for (float& value : beta) value = most * sigmoid(value);
  return beta;
}

/// Inputs of the convolutions of q, k and v before the first token: zeros.
void start_histories(const LinearMixer& m, std::int64_t batch, LayerState& state) {
  if (!m.short_conv || !state.conv.empty()) return;
  const std::int64_t key = m.qk_heads * m.key_dim * m.expansion.factor, value = m.heads * m.value_dim;
  for (std::int64_t channels : {key, key, value}) {
    state.conv.emplace_back(static_cast<std::size_t>(batch * (m.conv_size - 1) * channels));
  }
}

}  // namespace

Buffer mix(const LinearMixer& m, const MixerContext& in, const Buffer& x, LayerState& state) {
  start_histories(m, in.batch, state);
  const auto history = [&](int i) { return m.short_conv ? &state.conv[i] : nullptr; };

  Problem problem;
  problem.rule = m.rule();
  problem.division = m.expansion.factor > 1 ? m.expansion.division : Division::kSubheads;
  problem.batch = in.batch;
  problem.seq_len = in.tokens;
  problem.heads = m.heads;
  problem.qk_heads = m.qk_heads;
  problem.expansion = m.states();
  problem.key_dim = m.state_key_dim();
  problem.value_dim = m.value_dim;
  problem.scale = default_scale(m.key_dim);

  Buffer v = in.project(x, "v_proj");
  if (m.short_conv)
    causal_convolution(v, in.batch, in.weight("v_conv1d.weight"), in.weight("v_conv1d.bias"), *history(2));
  activate(m.v_activation, v);

  TensorSet inputs;
  inputs[Slot::kQ] = tensor_of(query_or_key(m, in, x, "q", history(0)), shape_of(problem, Slot::kQ));
  inputs[Slot::kK] = tensor_of(query_or_key(m, in, x, "k", history(1)), shape_of(problem, Slot::kK));
  inputs[Slot::kV] = tensor_of(v, shape_of(problem, Slot::kV));
  if (has_gate(problem.rule)) inputs[Slot::kG] = tensor_of(decays(m, in, x), shape_of(problem, Slot::kG));
  if (has_beta(problem.rule))
    inputs[Slot::kBeta] = tensor_of(write_strengths(m, in, x), shape_of(problem, Slot::kBeta));

  Buffer o = in.recur(problem, std::move(inputs), state);
  rms_norm(o, m.value_dim, in.weight(m.norm_name + ".weight"), in.norm_eps);
  if (m.output_gate) gate(o, in.project(x, "g_proj"));
  return in.project(o, "o_proj");
}

}  // namespace statescope
