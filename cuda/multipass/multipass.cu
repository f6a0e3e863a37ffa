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
//   *_hopper.cuh         passes 2, 3 and 4 for compute capability 9.0
#include <algorithm>

#include "cuda/multipass/gradients_hopper.h"
#include "cuda/multipass/hopper.h"
#include "cuda/multipass/kernels.h"
#include "cuda/multipass/passes.h"
#include "cuda/tensor_map.h"
#include "runtime/cuda_gradients.h"

namespace statescope::cuda {
namespace {

using namespace cuda_multipass;
using multipass::Kernels;
using multipass::Scratch;

/// Lays out the scratch memory from `base`; returns its size. First what pass 1 leaves, for not all forward
/// passes need more, and in backward its scores and the gram last: not all gradients need those.
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
  if (!backward) take(s.scores, count * square);
  if (delta) take(s.inverse, count * square);
  take(s.states, count * p.key_dim * p.value_dim);
  if (delta) take(s.errors, count * kChunk * p.value_dim);
  if (!backward) return used;
  take(s.gradients, count * p.key_dim * p.value_dim);
  take(s.dv, count * kChunk * p.value_dim);
  if (p.qk_heads < p.heads) {
    const std::int64_t keys = p.batch * p.seq_len * p.qk_heads * p.expansion * p.key_dim;
    take(s.dq, keys), take(s.dk, keys);
  }
  take(s.scores, count * square);
  if (delta) take(s.gram, count * square);
  return used;
}

}  // namespace

namespace multipass {

Scratch scratch_at(const Problem& p, std::byte* base) {
  Scratch s;
  carve(p, base, s);
  return s;
}

}  // namespace multipass

namespace {

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
std::size_t single_scratch_bytes(const Problem& p, const Geometry&) {
  Scratch s;
  carve(p, nullptr, s);
  return reinterpret_cast<std::size_t>(s.states);
}

/// A launch without its parameters.
KernelLaunch pass(std::string name, const void* function, std::int64_t blocks, int threads,
                  std::size_t shared_bytes) {
  KernelLaunch launch;
  launch.name = std::move(name);
  launch.function = function;
  launch.grid = static_cast<unsigned>(blocks);
  launch.block = static_cast<unsigned>(threads);
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes = shared_bytes;
  return launch;
}
KernelLaunch pass(const Problem& p, std::string name, const void* function, std::int64_t blocks, int threads,
                  std::size_t shared_bytes) {
  KernelLaunch launch = pass(std::move(name), function, blocks, threads, shared_bytes);
  bind_parameters(launch, [p](const Arguments& a) {
    multipass::Parameters parameters{a, {}};
    carve(p, a.scratch, parameters.s);
    return parameters;
  });
  return launch;
}

KernelLaunch prepare_pass(const Problem& p, const std::string& name, const void* function,
                          bool scores = true) {
  return pass(p, name + ".prepare", function, chunks_of(p) * p.heads * p.expansion, kPrepareThreads,
              prepare_bytes(static_cast<int>(p.key_dim), scores));
}

}  // namespace

namespace multipass {

KernelLaunch inverse_pass(const Problem& p, const std::string& name) {
  return prepare_pass(p, name, kernels_of(p).prepare_inverse, false);
}

int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "asking for the multiprocessors");
  return count;
}

}  // namespace multipass

namespace {

using multipass::multiprocessors;

/// Backward on compute capability 9.0: whether the scores are made where the gradients of the state are.
bool late_scores(const Problem& p) {
  return scores_made_late(p.sequences * p.heads * p.expansion, p.key_dim, p.value_dim, multiprocessors());
}
std::size_t hopper_scratch_bytes(const Problem& p, const Geometry&) {
  Scratch s;
  const std::size_t all = carve(p, nullptr, s);
  if (!has_hopper_gradients(p.key_dim, p.value_dim)) return all;
  return late_scores(p) ? reinterpret_cast<std::size_t>(s.scores)
         : s.gram       ? reinterpret_cast<std::size_t>(s.gram)
                        : all;
}

/// One of the two serial passes.
KernelLaunch serial_pass(const Problem& p, const std::string& name, const Kernels& kernels, bool gradients) {
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim), tile = value_tile(v);
  const bool delta = p.rule == Rule::kGatedDelta;
  const std::int64_t blocks = p.sequences * p.heads * p.expansion * (v / tile);
  if (gradients)
    return pass(p, name + ".state_gradients", kernels.state_gradients, blocks, 2 * tile,
                state_gradients_bytes(k, v, delta));
  return pass(p, name + ".states", kernels.states, blocks, 2 * tile, states_bytes(k, v, delta));
}

enum class Serial { kStates, kGradients, kGradientsAndScores, kSingle };

/// The same on compute capability 9.0, with tiles of at most `tile` columns of V; or states and outputs in
/// one.
KernelLaunch hopper_serial_pass(const Problem& p, int tile, const std::string& name, Serial serial) {
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  const bool delta = p.rule == Rule::kGatedDelta, scores = serial == Serial::kGradientsAndScores,
             gradients = scores || serial == Serial::kGradients, single = serial == Serial::kSingle;
  tile = std::min(tile, widest_serial_tile(k, v, gradients));
  const SerialMap map = single      ? single_map(k, delta)
                        : scores    ? state_gradients_scores_map(k, tile, delta)
                        : gradients ? state_gradients_map(k, tile, delta)
                                    : states_map(k, tile, delta);
  const multipass::SerialKernels kernels = p.dtype == DType::kBf16 ? multipass::serial_kernels_bf16(delta, k)
                                                                   : multipass::serial_kernels_f16(delta, k);
  const void* const function = single      ? kernels.single
                               : scores    ? kernels.state_gradients_scores
                               : gradients ? kernels.state_gradients
                                           : kernels.states;
  KernelLaunch launch =
      pass(name + (single      ? ".single"
                   : gradients ? ".state_gradients"
                               : ".states"),
           function, p.sequences * p.heads * p.expansion * (v / tile), serial_threads(tile), map.bytes);
  bind_parameters(launch, [=](const Arguments& a) {
    multipass::SerialParameters x{};
    x.p.a = a;
    carve(p, a.scratch, x.p.s);
    x.map = map, x.tile = tile;
    const Scratch& s = x.p.s;
    const std::int64_t rows = a.cu_seqlens ? 1 : p.batch, tokens = a.tokens / rows,
                       subkeys = p.qk_heads * p.expansion, chunks = chunks_of(p) * p.heads * p.expansion;
    const auto of_tokens = [&](const void* data, std::int64_t heads, int dim, int columns) {
      return tensor_map(data, a.dtype, rows, tokens, heads, dim, {kChunk, columns});
    };
    const auto of_chunks = [&](const void* data, std::int64_t height, int width, int columns) {
      return tensor_map(data, a.dtype, 1, chunks * height, 1, width, {64, columns});
    };
    x.key = of_tokens(a.k, subkeys, k, k);
    x.value = of_tokens(gradients ? a.d_o : a.v, p.heads, v, tile);
    if (delta) x.inverse = of_chunks(s.inverse, kChunk, kChunk, kChunk);
    if (gradients || single) {
      x.query = of_tokens(a.q, subkeys, k, k);
      if (!scores) x.score = of_chunks(s.scores, kChunk, kChunk, kChunk);
    }
    if (single) {
      x.result = of_tokens(a.o, p.heads, v, 64);
      return x;
    }
    x.state = of_chunks(gradients ? s.gradients : s.states, v, k, k);
    if (gradients || delta) x.result = of_chunks(gradients ? s.dv : s.errors, kChunk, v, 64);
    return x;
  });
  return launch;
}

/// Pass 4 on compute capability 9.0, a block a multiprocessor.
KernelLaunch hopper_gradient_pass(const Problem& p, const std::string& name) {
  const bool delta = p.rule == Rule::kGatedDelta;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  const std::int64_t items = chunks_of(p) * p.qk_heads * p.expansion;
  KernelLaunch launch = pass(name + ".gradients",
                             p.dtype == DType::kBf16 ? multipass::gradients_hopper_bf16(delta, k, v)
                                                     : multipass::gradients_hopper_f16(delta, k, v),
                             std::min<std::int64_t>(items, multiprocessors()), kHopperThreads,
                             hopper_gradient_map(k, v, delta).bytes);
  bind_parameters(launch, [=](const Arguments& a) {
    multipass::GradientParameters x{};
    x.p.a = a, x.items = static_cast<int>(items);
    carve(p, a.scratch, x.p.s);
    const Scratch& s = x.p.s;
    const std::int64_t rows = a.cu_seqlens ? 1 : p.batch, tokens = a.tokens / rows,
                       subkeys = p.qk_heads * p.expansion, chunks = chunks_of(p) * p.heads * p.expansion;
    const auto of_tokens = [&](const void* data, std::int64_t heads, int dim) {
      return tensor_map(data, a.dtype, rows, tokens, heads, dim, {kChunk, dim});
    };
    const auto of_chunks = [&](const void* data, int height, int width, int columns) {
      return tensor_map(data, a.dtype, 1, chunks * height, 1, width, {height, columns});
    };
    x.query = of_tokens(a.q, subkeys, k), x.key = of_tokens(a.k, subkeys, k);
    x.query_gradient = of_tokens(a.dq, subkeys, k), x.key_gradient = of_tokens(a.dk, subkeys, k);
    x.output = of_tokens(a.d_o, p.heads, v);
    x.error = delta ? of_chunks(s.errors, kChunk, v, v) : of_tokens(a.v, p.heads, v);
    if (delta) x.correction = of_chunks(s.dv, kChunk, v, v);
    x.state = of_chunks(s.states, v, k, 64), x.gradient = of_chunks(s.gradients, v, k, 64);
    return x;
  });
  return launch;
}

/// `hopper`: with the passes for compute capability 9.0.
std::vector<KernelLaunch> passes(const Problem& p, const Geometry& g, bool hopper) {
  const Kernels kernels = kernels_of(p);
  const bool delta = p.rule == Rule::kGatedDelta, backward = p.pass == Pass::kBackward;
  const int v = static_cast<int>(p.value_dim);
  const std::string name = backward ? "multipass.backward" : "multipass.forward";
  const bool hopper_gradients = hopper && backward && has_hopper_gradients(p.key_dim, p.value_dim),
             late = hopper_gradients && late_scores(p);
  const auto serial = [&](bool gradients) {
    return hopper ? hopper_serial_pass(p, static_cast<int>(g.value_tile), name,
                                       late && gradients ? Serial::kGradientsAndScores
                                       : gradients       ? Serial::kGradients
                                                         : Serial::kStates)
                  : serial_pass(p, name, kernels, gradients);
  };
  std::vector<KernelLaunch> result;
  result.push_back(late                            ? prepare_pass(p, name, kernels.prepare_inverse, false)
                   : backward && !hopper_gradients ? prepare_pass(p, name, kernels.prepare_gram)
                                                   : prepare_pass(p, name, kernels.prepare));
  result.push_back(serial(false));
  if (!backward) {
    result.push_back(pass(p, name + ".outputs", kernels.outputs,
                          chunks_of(p) * p.heads * (v / output_tile(v)), kOutputThreads, outputs_bytes(v)));
    return result;
  }
  result.push_back(serial(true));
  result.push_back(hopper_gradients ? hopper_gradient_pass(p, name)
                                    : pass(p, name + ".gradients", kernels.gradients,
                                           chunks_of(p) * p.qk_heads * p.expansion,
                                           gradient_threads(v, delta), gradients_bytes(v, delta)));
  result.push_back(pass(p, name + ".values", kernels.values, chunks_of(p) * p.heads, kValuesThreads, 0));
  return result;
}
std::vector<KernelLaunch> general(const Problem& p, const Geometry& g) {
  return passes(p, g, false);
}
std::vector<KernelLaunch> hopper(const Problem& p, const Geometry& g) {
  return passes(p, g, true);
}

std::vector<KernelLaunch> single(const Problem& p, const Geometry&) {
  const std::string name = "multipass.forward";
  return {prepare_pass(p, name, kernels_of(p).prepare), hopper_serial_pass(p, 64, name, Serial::kSingle)};
}

constexpr Implementation kImplementations[] = {
    {"cuda.multipass.single_forward", single_scratch_bytes, single},
    {"cuda.multipass.forward", scratch_bytes, general},
    {"cuda.multipass.backward", scratch_bytes, general},
    {"cuda.multipass.hopper_forward", scratch_bytes, hopper},
    {"cuda.multipass.hopper_backward", hopper_scratch_bytes, hopper},
};

}  // namespace

std::span<const Implementation> multipass_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
