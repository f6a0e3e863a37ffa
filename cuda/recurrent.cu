// The recurrent kernels' launches and scratch memory (host side).
#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

using cuda_tiles::padded_key_dim;

std::int64_t chunks_of(const Problem& p) {
  Arguments a{};
  a.cu_seqlens = p.packed ? reinterpret_cast<const std::int32_t*>(1) : nullptr;  // only its presence is asked
  a.seq_len = static_cast<int>(p.seq_len);
  a.sequences = static_cast<int>(p.sequences);
  a.tokens = p.batch * p.seq_len;
  return chunk_count(a);
}

/// Carves the scratch memory; with a null base it only measures.
struct Carver {
  std::byte* base;
  std::size_t used = 0;
  float* take(std::int64_t floats) {
    float* piece = base ? reinterpret_cast<float*>(base + used) : nullptr;
    used += (static_cast<std::size_t>(floats) * sizeof(float) + 255) / 256 * 256;
    return piece;
  }
};

BackwardScratch carve(const Problem& p, Carver& carver) {
  BackwardScratch scratch{};
  const std::int64_t subheads = p.heads * p.expansion, tokens = p.batch * p.seq_len;
  if (p.pass == Pass::kBackward) {
    scratch.states = carver.take(chunks_of(p) * subheads * p.key_dim * p.value_dim);
    scratch.gradients = carver.take(chunks_of(p) * subheads * p.key_dim * p.value_dim);
    if (p.rule == Rule::kGatedDelta) {
      scratch.w = carver.take(tokens * subheads * p.value_dim);
      scratch.du = carver.take(tokens * subheads * p.value_dim);
    }
  }
  if (p.expansion > cuda_tiles::kMaxScanWarps) scratch.sums = carver.take(tokens * p.heads * p.value_dim);
  return scratch;
}

std::size_t scratch_bytes(const Problem& p, const Geometry&) {
  Carver carver{nullptr};
  carve(p, carver);
  return carver.used;
}

KernelLaunch scan(const Problem& p, const Geometry& g, std::string kernel, KernelPointer function) {
  KernelLaunch launch;
  launch.name = std::move(kernel);
  launch.function = function;
  launch.grid = dim3(g.workgroups[0], g.workgroups[1], g.workgroups[2]);
  launch.block = g.workgroup_size;
  const int padded = padded_key_dim(p.key_dim);
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes =
      cuda_tiles::scan_bytes(padded, gate_per_channel(p.rule) ? padded : 1, static_cast<int>(g.subheads),
                             static_cast<int>(g.value_tile), static_cast<int>(g.chunk), size_of(p.dtype));
  bind_parameters(launch, [p, g, padded](const Arguments& a) {
    Carver carver{a.scratch};
    ScanParameters parameters{};
    parameters.a = a;
    parameters.scratch = carve(p, carver);
    parameters.subheads = static_cast<int>(g.subheads);
    parameters.groups = static_cast<int>((p.expansion + g.subheads - 1) / g.subheads);
    parameters.tiles = static_cast<int>(g.value_tile) / cuda_tiles::warp_columns(padded);
    parameters.tokens = static_cast<int>(g.chunk);
    return parameters;
  });
  return launch;
}

std::vector<KernelLaunch> forward(const Problem& p, const Geometry& g) {
  return {
      scan(p, g, "recurrent.forward", forward_scan_kernel(kind_of(p.rule), padded_key_dim(p.key_dim), true))};
}

std::vector<KernelLaunch> backward(const Problem& p, const Geometry& g) {
  const Kind kind = kind_of(p.rule);
  const int padded = padded_key_dim(p.key_dim);
  std::vector<KernelLaunch> result;
  result.push_back(scan(p, g, "recurrent.backward.states", forward_scan_kernel(kind, padded, false)));
  result.push_back(scan(p, g, "recurrent.backward.reverse", reverse_scan_kernel(kind, padded)));
  KernelLaunch& gradients = result.emplace_back();
  gradients.name = "recurrent.backward.gradients";
  gradients.function = gradient_kernel(kind);
  gradients.grid = static_cast<unsigned>(chunks_of(p) * p.qk_heads * p.expansion);
  gradients.block = static_cast<unsigned>(cuda_tiles::gradient_threads(p.key_dim));
  gradients.dynamic_shared_bytes = gradients.predicted_shared_bytes =
      4 * cuda_tiles::gradient_floats(p.key_dim, gate_per_channel(p.rule));
  bind_parameters(gradients, [p](const Arguments& a) {
    Carver carver{a.scratch};
    return GradientParameters{a, carve(p, carver)};
  });
  return result;
}

std::vector<KernelLaunch> step(const Problem& p, const Geometry& g) {
  KernelLaunch launch;
  launch.name = "recurrent.step";
  launch.function = step_kernel(kind_of(p.rule), padded_key_dim(p.key_dim));
  launch.grid = g.workgroups[0];
  launch.block = g.workgroup_size;
  launch.cluster = static_cast<unsigned>(
      g.workgroups[0] / (p.batch * p.heads * ((p.value_dim + g.value_tile - 1) / g.value_tile)));
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes = g.shared_memory_bytes();
  bind_parameters(launch, [](const Arguments& a) { return a; });
  return {launch};
}

constexpr Implementation kImplementations[] = {
    {"cuda.recurrent.forward", scratch_bytes, forward},
    {"cuda.recurrent.backward", scratch_bytes, backward},
    {"cuda.recurrent.step", scratch_bytes, step},
};

}  // namespace

std::span<const Implementation> recurrent_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
