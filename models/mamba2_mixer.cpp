#include <algorithm>
#include <limits>

#include "models/mixers.h"

namespace statescope {

void mix(const Mamba2Mixer& m, const MixerContext& in, const Array& x, LayerState& state) {
  Compute& compute = in.compute();
  const std::int64_t n = in.rows(), inner = m.inner(), conv = m.conv_dim(), keys = m.groups * m.state_size;
  if (state.conv.empty())
    state.conv.push_back(filled(compute, in.dtype, in.batch * (m.conv_size - 1) * conv, 0));

  const Array projected = in.project(x, "in_proj");  // z, x B C, dt
  const std::int64_t stride = inner + conv + m.heads;
  const Array mixed = compute.allocate(in.dtype, n * conv);
  compute.convolve({in.batch, in.tokens, conv, m.conv_size, Pointwise::kSilu}, {projected, stride, 0, inner},
                   in.weight("conv1d.weight"), in.weight("conv1d.bias"), state.conv[0], mixed);

  // The heads' steps [n, H], and what is counted a head and channel [n, H, P].
  const Extents steps{1, 1, n, m.heads}, of_head{0, 0, 0, 1};
  const Extents values{1, n, m.heads, m.head_dim}, packed{0, inner, m.head_dim, 1};
  const Array step = compute.allocate(in.wide(), n * m.heads), g = compute.allocate(in.wide(), n * m.heads);
  const auto most = static_cast<float>(
      std::min<double>(m.step_max, std::numeric_limits<float>::max()));  // infinite where there is no limit
  compute.apply(Pointwise::kStep, steps, {step, {0, 0, m.heads, 1}},
                {{projected, {0, 0, stride, 1}, inner + conv}, {in.weight("dt_bias"), of_head}},
                static_cast<float>(m.step_min), most);
  compute.apply(Pointwise::kStepDecay, steps, {g, {0, 0, m.heads, 1}},
                {{step, {0, 0, m.heads, 1}}, {in.weight("A_log"), of_head}});
  const View value{mixed, {0, conv, m.head_dim, 1}};
  const Array scaled = compute.allocate(in.dtype, n * inner);
  compute.apply(Pointwise::kMultiply, values, {scaled, packed}, {value, {step, {0, m.heads, 1, 0}}});

  Problem problem;
  problem.rule = Rule::kSsd;
  problem.batch = in.batch;
  problem.seq_len = in.tokens;
  problem.heads = m.heads;
  problem.qk_heads = m.groups;
  problem.key_dim = m.state_size;
  problem.value_dim = m.head_dim;
  problem.scale = 1;
  SlotArrays inputs;
  inputs[Slot::kQ] = columns(compute, n, mixed, conv, inner + keys, keys);
  inputs[Slot::kK] = columns(compute, n, mixed, conv, inner, keys);
  inputs[Slot::kV] = scaled;
  inputs[Slot::kG] = g;

  const Array o = in.recur(problem, inputs, state);
  compute.apply(Pointwise::kMultiplyAdd, values, {o, packed},
                {{o, packed}, {in.weight("D"), {0, 0, 1, 0}}, value}, 1);
  const Extents rows{0, 0, inner, 1};
  compute.apply(Pointwise::kGate, {1, 1, n, inner}, {o, rows}, {{o, rows}, {projected, {0, 0, stride, 1}}});
  in.add_projection(rms_norm(compute, inner, o, in.weight("norm.weight"), in.norm_eps, in.dtype), "out_proj");
}

}  // namespace statescope
