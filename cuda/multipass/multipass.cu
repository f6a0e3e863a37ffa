// The launches and scratch memory of the chunked kernels in several passes (host side).
//
// How to read the passes
//   tiles.cuh            tiles in shared memory, products, copies; which tokens are a chunk     start here
//   prepare.cuh          pass 1: gates, scores, the inverse
//   states.cuh           pass 2: the state before each chunk
//   outputs.cuh          pass 3 of forward: o
//   state_gradients.cuh  pass 3 of backward: the gradient of the state after each chunk
//   gradients.cuh        pass 4: dq, dk, dg, dbeta
//   values.cuh           pass 5: dv
#include "cuda/multipass/kernels.h"
#include "cuda/multipass/parameters.h"

namespace statescope::cuda {
namespace {

using namespace cuda_multipass;
using multipass::Kernels;
using multipass::Scratch;

/// Lays out the scratch memory from `base`; returns its size.
std::size_t carve(const Problem& p, std::byte* base, Scratch& s) {
  std::size_t used = 0;
  const auto take = [&](auto*& pointer, std::int64_t elements) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + used);
    used += (static_cast<std::size_t>(elements) * sizeof(*pointer) + 255) / 256 * 256;
  };
  const bool delta = p.rule == Rule::kGatedDelta, backward = p.pass == Pass::kBackward;
  const std::int64_t count = chunks_of(p) * p.heads * p.expansion, square = kChunk * kChunk;
  s = {};
  take(s.gates, count * 2 * kChunk);
  take(s.scores, count * square);
  take(s.states, count * p.key_dim * p.value_dim);
  if (delta) take(s.inverse, count * square), take(s.errors, count * kChunk * p.value_dim);
  if (!backward) return used;
  if (delta) take(s.gram, count * square);
  take(s.gradients, count * p.key_dim * p.value_dim);
  take(s.dv, count * kChunk * p.value_dim);
  if (p.qk_heads < p.heads) {
    const std::int64_t keys = p.batch * p.seq_len * p.qk_heads * p.expansion * p.key_dim;
    take(s.dq, keys), take(s.dk, keys);
  }
  return used;
}

std::size_t scratch_bytes(const Problem& p, const Geometry&) {
  Scratch s;
  return carve(p, nullptr, s);
}

Kernels kernels_of(const Problem& p) {
  const bool delta = p.rule == Rule::kGatedDelta, bf16 = p.dtype == DType::kBf16;
  const int value_dim = static_cast<int>(p.value_dim);
  switch (p.key_dim) {
    case 64:
      return bf16 ? multipass::kernels_bf16_64(delta, value_dim)
                  : multipass::kernels_f16_64(delta, value_dim);
    case 128:
      return bf16 ? multipass::kernels_bf16_128(delta, value_dim)
                  : multipass::kernels_f16_128(delta, value_dim);
    default:
      return bf16 ? multipass::kernels_bf16_256(delta, value_dim)
                  : multipass::kernels_f16_256(delta, value_dim);
  }
}

KernelLaunch pass(const Problem& p, std::string name, const void* function, std::int64_t blocks, int threads,
                  std::size_t shared_bytes) {
  KernelLaunch launch;
  launch.name = std::move(name);
  launch.function = function;
  launch.grid = static_cast<unsigned>(blocks);
  launch.block = static_cast<unsigned>(threads);
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes = shared_bytes;
  bind_parameters(launch, [p](const Arguments& a) {
    multipass::Parameters parameters{a, {}};
    carve(p, a.scratch, parameters.s);
    return parameters;
  });
  return launch;
}

/// Passes 1 and 2.
std::vector<KernelLaunch> up_to_states(const Problem& p, const Kernels& kernels, const std::string& name) {
  const bool delta = p.rule == Rule::kGatedDelta;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim), tile = value_tile(v);
  const std::int64_t chains = p.sequences * p.heads * p.expansion;
  return {
      pass(p, name + ".prepare",
           p.pass == Pass::kBackward ? kernels.prepare_backward : kernels.prepare_forward,
           chunks_of(p) * p.heads * p.expansion, kPrepareThreads, prepare_bytes(k)),
      pass(p, name + ".states", kernels.states, chains * (v / tile), 2 * tile, states_bytes(k, v, delta))};
}

std::vector<KernelLaunch> forward(const Problem& p, const Geometry&) {
  const Kernels kernels = kernels_of(p);
  const int v = static_cast<int>(p.value_dim);
  std::vector<KernelLaunch> result = up_to_states(p, kernels, "multipass.forward");
  result.push_back(pass(p, "multipass.forward.outputs", kernels.outputs,
                        chunks_of(p) * p.heads * (v / output_tile(v)), kOutputThreads, outputs_bytes(v)));
  return result;
}

std::vector<KernelLaunch> backward(const Problem& p, const Geometry&) {
  const Kernels kernels = kernels_of(p);
  const bool delta = p.rule == Rule::kGatedDelta;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim), tile = value_tile(v);
  std::vector<KernelLaunch> result = up_to_states(p, kernels, "multipass.backward");
  result.push_back(pass(p, "multipass.backward.state_gradients", kernels.state_gradients,
                        p.sequences * p.heads * p.expansion * (v / tile), 2 * tile,
                        state_gradients_bytes(k, v, delta)));
  result.push_back(pass(p, "multipass.backward.gradients", kernels.gradients,
                        chunks_of(p) * p.qk_heads * p.expansion, gradient_threads(v, delta),
                        gradients_bytes(v, delta)));
  result.push_back(
      pass(p, "multipass.backward.values", kernels.values, chunks_of(p) * p.heads, kValuesThreads, 0));
  return result;
}

constexpr Implementation kImplementations[] = {
    {"cuda.multipass.forward", scratch_bytes, forward},
    {"cuda.multipass.backward", scratch_bytes, backward},
};

}  // namespace

std::span<const Implementation> multipass_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
