#include <algorithm>
#include <cmath>

#include "models/mixers.h"

namespace statescope {
namespace {

/// Columns [first, first + width) of rows `stride` wide.
Buffer columns(const Buffer& x, std::int64_t stride, std::int64_t first, std::int64_t width) {
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / stride;
  Buffer y(static_cast<std::size_t>(rows * width));
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(x.begin() + row * stride + first, width, y.begin() + row * width);
  }
  return y;
}

}  // namespace

Buffer mix(const Mamba2Mixer& m, const MixerContext& in, const Buffer& x, LayerState& state) {
  const std::int64_t inner = m.inner(), conv = m.conv_dim(), keys = m.groups * m.state_size;
  if (state.conv.empty())
    state.conv.emplace_back(static_cast<std::size_t>(in.batch * (m.conv_size - 1) * conv));

  const Buffer projected = in.project(x, "in_proj");  // z, x B C, dt
  const std::int64_t stride = inner + conv + m.heads;
  const Buffer z = columns(projected, stride, 0, inner);
  Buffer mixed = columns(projected, stride, inner, conv);
  Buffer step = columns(projected, stride, inner + conv, m.heads);
  causal_convolution(mixed, in.batch, in.weight("conv1d.weight"), in.weight("conv1d.bias"), state.conv[0]);
  activate(Activation::kSilu, mixed);
  const Buffer value = columns(mixed, conv, 0, inner);

  const auto log_a = in.weight("A_log"), bias = in.weight("dt_bias"), skip = in.weight("D");
  Buffer g(step.size()), scaled = value;
  for (std::size_t i = 0; i < step.size(); ++i) {
    const std::size_t head = i % static_cast<std::size_t>(m.heads);
    const double raw = softplus(static_cast<double>(step[i]) + bias[head]);
    step[i] = static_cast<float>(std::clamp(raw, m.step_min, m.step_max));
    g[i] = -std::exp(log_a[head]) * step[i];
    for (std::int64_t p = 0; p < m.head_dim; ++p) scaled[i * m.head_dim + p] *= step[i];
  }

  Problem problem;
  problem.rule = Rule::kSsd;
  problem.batch = in.batch;
  problem.seq_len = in.tokens;
  problem.heads = m.heads;
  problem.qk_heads = m.groups;
  problem.key_dim = m.state_size;
  problem.value_dim = m.head_dim;
  problem.scale = 1;
  TensorSet inputs;
  inputs[Slot::kQ] = tensor_of(columns(mixed, conv, inner + keys, keys), shape_of(problem, Slot::kQ));
  inputs[Slot::kK] = tensor_of(columns(mixed, conv, inner, keys), shape_of(problem, Slot::kK));
  inputs[Slot::kV] = tensor_of(scaled, shape_of(problem, Slot::kV));
  inputs[Slot::kG] = tensor_of(g, shape_of(problem, Slot::kG));

  Buffer o = in.recur(problem, std::move(inputs), state);
  for (std::size_t i = 0; i < o.size(); ++i) {
    const std::size_t head = i / static_cast<std::size_t>(m.head_dim) % static_cast<std::size_t>(m.heads);
    o[i] += skip[head] * value[i];
  }
  gate(o, z);
  rms_norm(o, inner, in.weight("norm.weight"), in.norm_eps);
  return in.project(o, "out_proj");
}

}  // namespace statescope
