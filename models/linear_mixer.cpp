#include <algorithm>
#include <cmath>
#include <limits>

#include "models/mixers.h"
#include "models/state_expansion.h"

#include <statescope/variants.h>

namespace statescope {
namespace {

/// Convolved where the mixer convolves, and activated: y [B T, channels].
Array convolved(const LinearMixer& m, const MixerContext& in, const Array& x, const std::string& which,
                Activation activation, const Array& history) {
  if (!m.short_conv && activation == Activation::kIdentity) return x;
  Array y = in.compute().allocate(x.dtype, x.size);
  if (!m.short_conv) {
    in.compute().apply(pointwise_of(activation), y, {x});
    return y;
  }
  const std::int64_t channels = x.size / in.rows();
  in.compute().convolve({in.batch, in.tokens, channels, m.conv_size, pointwise_of(activation)}, {x, channels},
                        in.weight(which + "_conv1d.weight"), in.weight(which + "_conv1d.bias"), history, y);
  return y;
}

/// q or k [B T, Hq, E, K]: projected, expanded, convolved, activated, placed, normed.
Array query_or_key(const LinearMixer& m, const MixerContext& in, const Array& x, const std::string& which,
                   const Array& history) {
  Compute& compute = in.compute();
  Array y = in.project(x, which + "_proj");
  y = expand_heads(compute, m.expansion, m.qk_heads, m.key_dim, y,
                   [&](const std::string& end) { return in.weight(which + "_expand." + end); });
  y = convolved(m, in, y, which, m.qk_activation, history);
  const std::int64_t width = m.state_key_dim();
  if (m.rotary) y = rotated(compute, y, in.batch, in.tokens, width, in.first, 10000);
  constexpr float kEps = 1e-6f;
  if (m.l2_norm) compute.normalise(RowNorm::kLength, kEps, y.size / width, width, y, {}, y);
  return y;
}

/// g [B T, H, E] (a vector over K for Decay::kChannel), natural logarithm.
Array decays(const LinearMixer& m, const MixerContext& in, const Array& x) {
  Compute& compute = in.compute();
  const std::int64_t width = m.heads * m.states();
  if (m.decay == Decay::kScalar) {
    const Array g = in.project(x, "a_proj", in.wide());
    const Extents rows{0, 0, width, 1}, gates{0, 0, 0, 1};
    compute.apply(Pointwise::kDecay, {1, 1, in.rows(), width}, {g, rows},
                  {{g, rows}, {in.weight("A_log"), gates}, {in.weight("dt_bias"), gates}});
    return g;
  }
  if (m.decay == Decay::kChannel) {
    constexpr float kNormaliser = 16;
    const Array g = in.project(in.project(x, "gk_proj.0"), "gk_proj.1", in.wide());
    const float floor =
        m.gate_floor ? static_cast<float>(*m.gate_floor) : std::numeric_limits<float>::lowest();
    compute.apply(Pointwise::kChannelDecay, g, {g}, kNormaliser, floor);
    return g;
  }
  // A key of zero decay takes part in the gated delta rule and in ssd only.
  if (m.decay == Decay::kNone) return filled(compute, in.wide(), in.rows() * width, 0);
  std::vector<float> retentions;
  for (std::int64_t head = 0; head < m.heads; ++head)
    retentions.push_back(static_cast<float>(std::log1p(-std::exp2(-5.0 - static_cast<double>(head)))));
  Array g = compute.allocate(in.wide(), in.rows() * width);
  compute.apply(Pointwise::kCopy, {1, in.rows(), m.heads, m.states()}, {g, {0, width, m.states(), 1}},
                {{uploaded(compute, retentions, in.wide()), {0, 0, 1, 0}}});
  return g;
}

Array write_strengths(const LinearMixer& m, const MixerContext& in, const Array& x) {
  const float most = m.double_beta ? 2.0f : 1.0f;
  if (!m.learned_beta) return filled(in.compute(), in.wide(), in.rows() * m.heads * m.states(), most);
  const Array beta = in.project(x, "b_proj", in.wide());
  in.compute().apply(Pointwise::kSigmoid, beta, {beta}, most);
  return beta;
}

/// Whether a problem's front end is what this layer does to q and k, and the device has it. Observers and
/// mitigations want q and k expanded.
bool runs_front_end(const LinearMixer& m, const MixerContext& in) {
  const Expansion& e = m.expansion;
  const bool expands = e.factor > 1 && e.method == ExpansionMethod::kHeadwise &&
                       e.activation == Activation::kSilu && e.division == Division::kSubheads;
  const bool convolves = m.short_conv && !m.conv_bias && m.conv_size == kConvolutionWidth &&
                         m.qk_activation == Activation::kSilu;
  const bool norms = !m.rotary && m.l2_norm == (m.rule() == Rule::kGatedDelta);
  const Api api = in.recurrence.device().info().api;
  const bool there = has(front_end_passes(api), Pass::kForward) && has(front_end_passes(api), Pass::kStep);
  return there && expands && convolves && norms && m.key_dim % 16 == 0 && m.key_dim <= 256 && !in.observer &&
         in.mitigation.kind == MitigationKind::kNone;
}

/// Unexpanded q and k with the weights of the front end, and its histories, which are those of the
/// convolutions: of one token in place.
void add_front_end(const MixerContext& in, const Array& x, LayerState& state, SlotArrays& inputs) {
  struct Side {
    std::string name;
    Slot x, weight, taps, history, after;
  };
  const Side sides[] = {{"q", Slot::kQ, Slot::kQExpand, Slot::kQConv, Slot::kQHistory, Slot::kQHistoryAfter},
                        {"k", Slot::kK, Slot::kKExpand, Slot::kKConv, Slot::kKHistory, Slot::kKHistoryAfter}};
  for (std::size_t i = 0; i < 2; ++i) {
    const Side& side = sides[i];
    inputs[side.x] = in.project(x, side.name + "_proj");
    inputs[side.weight] = in.weight(side.name + "_expand.weight");
    inputs[side.taps] = in.weights.convolution(in.prefix + side.name + "_conv1d.weight");
    Array& history = state.conv[i];
    inputs[side.history] = history;
    if (in.tokens > 1) history = in.compute().allocate(history.dtype, history.size);
    inputs[side.after] = history;
  }
}

/// What the normed output is multiplied by: the norm's weight, gated where the mixer gates, which does not
/// have to wait for the recurrence.
Array output_weights(const LinearMixer& m, const MixerContext& in, const Array& x) {
  const Array weight = in.weight(m.norm_name + ".weight");
  if (!m.output_gate) return weight;
  const Array gate = in.project(x, "g_proj");
  if (!weight.present()) {
    in.compute().apply(Pointwise::kSilu, gate, {gate});
    return gate;
  }
  const Extents rows{0, 0, m.value_dim, 1}, same{0, 0, 0, 1};
  in.compute().apply(Pointwise::kGate, {1, 1, gate.size / m.value_dim, m.value_dim}, {gate, rows},
                     {{weight, same}, {gate, rows}});
  return gate;
}

/// Inputs of the convolutions of q, k and v before the first token: zeros.
void start_histories(const LinearMixer& m, const MixerContext& in, LayerState& state) {
  if (!state.conv.empty()) return;
  state.conv.resize(3);
  if (!m.short_conv) return;
  const std::int64_t key = m.qk_heads * m.key_dim * m.expansion.factor, value = m.heads * m.value_dim;
  const std::int64_t channels[] = {key, key, value};
  for (int i = 0; i < 3; ++i)
    state.conv[i] = filled(in.compute(), in.dtype, in.batch * (m.conv_size - 1) * channels[i], 0);
}

}  // namespace

void mix(const LinearMixer& m, const MixerContext& in, const Array& x, LayerState& state) {
  start_histories(m, in, state);
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

  SlotArrays inputs;
  problem.front_end = runs_front_end(m, in);
  if (problem.front_end) {
    add_front_end(in, x, state, inputs);
  } else {
    inputs[Slot::kQ] = query_or_key(m, in, x, "q", state.conv[0]);
    inputs[Slot::kK] = query_or_key(m, in, x, "k", state.conv[1]);
  }
  inputs[Slot::kV] = convolved(m, in, in.project(x, "v_proj"), "v", m.v_activation, state.conv[2]);
  if (has_gate(problem.rule)) inputs[Slot::kG] = decays(m, in, x);
  if (has_beta(problem.rule)) inputs[Slot::kBeta] = write_strengths(m, in, x);

  const Array read = in.recur(problem, inputs, state);
  const Array o = rms_norm(in.compute(), m.value_dim, read, output_weights(m, in, x), in.norm_eps, in.dtype);
  in.add_projection(o, "o_proj");
}

}  // namespace statescope
