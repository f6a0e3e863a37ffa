// The launches and scratch memory of the chunked kernels of gla in several passes (host side).
//
// How to read the passes
//   gla_tiles.cuh      how a warp gets queries, keys and gates; how states lie in memory     start here
//   gla_prepare.cuh    pass 1: decayed queries and keys, scores
//   gla_states.cuh     pass 2: the state before each chunk, and its gradient after each
//   gla_gradients.cuh  pass 3 of backward: dq, dk, dg     gla_spans.cuh what comes from pairs of tokens
//   gla_outputs.cuh    the last pass: o, or dv
#include "cuda/multipass/gla_kernels.h"
#include "cuda/multipass/passes.h"

namespace statescope::cuda {
namespace {

using namespace cuda_multipass;
using multipass::GlaKernels;
using multipass::GlaScratch;

std::int64_t parts_of(const Problem& p) {
  return chunks_of(p) * p.heads * p.expansion;
}

/// Lays out the scratch memory from `base`; returns its size.
std::size_t carve(const Problem& p, std::byte* base, GlaScratch& s) {
  std::size_t used = 0;
  const auto take = [&](auto*& pointer, std::int64_t elements) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + used);
    used += (static_cast<std::size_t>(elements) * sizeof(*pointer) + 255) / 256 * 256;
  };
  const std::int64_t parts = parts_of(p), rows = parts * kChunk * p.key_dim;
  const bool backward = p.pass == Pass::kBackward;
  s = {};
  take(s.decays, parts * p.key_dim);
  take(s.queries, rows);
  take(s.keys, rows);
  take(s.scores, parts * kChunk * kChunk);
  take(s.states, parts * p.key_dim * p.value_dim);
  if (backward) take(s.gradients, parts * p.key_dim * p.value_dim);
  if (backward && p.qk_heads < p.heads) {
    const std::int64_t keys = p.batch * p.seq_len * p.qk_heads * p.expansion * p.key_dim;
    take(s.dq, keys), take(s.dk, keys);
  }
  return used;
}

}  // namespace

GlaScratch multipass::gla_scratch_at(const Problem& p, std::byte* base) {
  GlaScratch s;
  carve(p, base, s);
  return s;
}

namespace {

std::size_t scratch_bytes(const Problem& p, const Geometry&) {
  GlaScratch s;
  return carve(p, nullptr, s);
}

GlaKernels kernels_of(const Problem& p) {
  const bool bf16 = p.dtype == DType::kBf16;
  const int v = static_cast<int>(p.value_dim);
  switch (p.key_dim) {
    case 64:
      return bf16 ? multipass::gla_kernels_bf16_64(v) : multipass::gla_kernels_f16_64(v);
    case 128:
      return bf16 ? multipass::gla_kernels_bf16_128(v) : multipass::gla_kernels_f16_128(v);
    default:
      return bf16 ? multipass::gla_kernels_bf16_256(v) : multipass::gla_kernels_f16_256(v);
  }
}

std::vector<KernelLaunch> launches(const Problem& p, const Geometry&) {
  const GlaKernels kernels = kernels_of(p);
  const bool backward = p.pass == Pass::kBackward;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim), tile = value_tile(v);
  const std::int64_t chains = p.sequences * p.heads * p.expansion * (v / tile), chunks = chunks_of(p);
  std::vector<KernelLaunch> result;
  const auto pass = [&](std::string_view name, const void* function, std::int64_t blocks, int threads,
                        std::size_t shared_bytes) {
    KernelLaunch launch;
    launch.name =
        std::string(backward ? "multipass.gla_backward." : "multipass.gla_forward.") + std::string(name);
    launch.function = function;
    launch.grid = static_cast<unsigned>(blocks);
    launch.block = static_cast<unsigned>(threads);
    launch.dynamic_shared_bytes = launch.predicted_shared_bytes = shared_bytes;
    bind_parameters(launch, [p](const Arguments& a) {
      multipass::GlaParameters parameters{a, {}};
      carve(p, a.scratch, parameters.s);
      return parameters;
    });
    result.push_back(std::move(launch));
  };
  pass("prepare", kernels.prepare, parts_of(p), kGlaPrepareThreads, kGlaPrepareBytes);
  pass("states", kernels.states, backward ? 2 * chains : chains, gla_state_threads(k, v),
       gla_states_bytes(k, v));
  if (backward)
    pass("gradients", kernels.gradients, chunks * p.qk_heads * (k / kGlaGradientChannels),
         kGlaGradientThreads, gla_gradients_bytes(v));
  pass(backward ? "values" : "outputs", backward ? kernels.values : kernels.outputs,
       chunks * p.heads * (v / tile), gla_output_threads(v), gla_outputs_bytes(k, v));
  return result;
}

constexpr Implementation kImplementations[] = {
    {"cuda.multipass.gla_forward", scratch_bytes, launches},
    {"cuda.multipass.gla_backward", scratch_bytes, launches},
};

}  // namespace

std::span<const Implementation> gla_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
