// The comparison series: the paper's argument about kernels that keep the state in shared memory. One block a
// (sub)head holds its whole K x V float32 state there; `naive` and `subheads` run this one source, with
// K = E K or K. Token by token, forward and step:
//   S <- e^g S + k^T u,  o = scale q S
//   u = v, or beta (v - e^g k S) for gated_delta; for gla e^g is a vector over K
// Blocks of different subheads cannot sum o on chip: each writes its part, and a second kernel adds them in
// order. (The production kernels keep no such copies; this series is what they are compared with.)
// Every token reads and writes the state once: shared memory's bandwidth is the bound, so accesses to the
// state are 16 bytes wide and without bank conflicts. Shared memory: cuda_tiles::comparison_*.
#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

using cuda_tiles::kComparisonThreads;

struct ComparisonParameters {
  Arguments a;
  float* parts;  ///< [tokens][H][E][V], null when E = 1
};

__device__ inline void add_product(float4& sum, float x, float4 y) {
  sum.x += x * y.x;
  sum.y += x * y.y;
  sum.z += x * y.z;
  sum.w += x * y.w;
}

template <Kind kKind>
__global__ void __launch_bounds__(kComparisonThreads)
    whole_state(const __grid_constant__ ComparisonParameters p) {
  const Arguments& a = p.a;
  constexpr bool kChannelDecay = kKind == Kind::kChannelDecay;
  const int subhead = blockIdx.x % a.expansion, head = blockIdx.x / a.expansion % a.heads;
  const int sequence = blockIdx.x / a.expansion / a.heads;
  const int qk_head = head / (a.heads / a.qk_heads);
  const TokenRange range = token_range(a, sequence);

  const int quads = a.value_dim / 4, groups = cuda_tiles::comparison_row_groups(a.value_dim);
  const int quad = threadIdx.x % quads, group = threadIdx.x / quads;  // group == groups: an idle thread
  const bool working = group < groups;
  const int tokens = cuda_tiles::comparison_tokens(a.key_dim), channels = kChannelDecay ? a.key_dim : 1;

  extern __shared__ __align__(16) float shared[];
  SharedMemory memory(shared);
  // Two of each, for even and odd tokens: one barrier a token is enough.
  float4* key_sums = reinterpret_cast<float4*>(memory.take(2 * groups * a.value_dim));
  float4* query_sums = reinterpret_cast<float4*>(memory.take(2 * groups * a.value_dim));
  float* q = memory.take(tokens * a.key_dim);
  float* k = memory.take(tokens * a.key_dim);
  float* v = memory.take(tokens * a.value_dim);
  float* decay = memory.take(tokens * channels);
  float* beta = memory.take(tokens);
  memory.take((4 - (memory.next - shared) % 4) % 4);
  float4* state = reinterpret_cast<float4*>(memory.take(a.key_dim * a.value_dim));
  memory.expect_all_taken(shared);

  const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
  const std::int64_t matrix =
      ((static_cast<std::int64_t>(sequence) * a.heads + head) * a.expansion + subhead) * a.key_dim *
      a.value_dim;
  for (int i = threadIdx.x; i < a.key_dim * quads; i += kComparisonThreads) {
    state[i] = a.h0 ? *reinterpret_cast<const float4*>(a.h0 + matrix + i * 4) : zero;
  }

  for (int t = 0; t < range.length; t += tokens) {
    const int count = min(tokens, range.length - t);
    const std::int64_t first = range.begin + t;
    const auto row = [&](int token) { return ((first + token) * a.heads + head) * a.expansion + subhead; };
    for (int i = threadIdx.x * 4; i < count * a.key_dim; i += kComparisonThreads * 4) {
      const int token = i / a.key_dim, channel = i % a.key_dim;
      const std::int64_t index =
          (((first + token) * a.qk_heads + qk_head) * a.expansion + subhead) * a.key_dim + channel;
      *reinterpret_cast<float4*>(q + i) = scaled(load4(a.q, index, a.dtype), a.scale);
      *reinterpret_cast<float4*>(k + i) = load4(a.k, index, a.dtype);
    }
    for (int i = threadIdx.x * 4; i < count * a.value_dim; i += kComparisonThreads * 4) {
      const int token = i / a.value_dim, column = i % a.value_dim;
      *reinterpret_cast<float4*>(v + i) =
          load4(a.v, ((first + token) * a.heads + head) * a.value_dim + column, a.dtype);
    }
    for (int i = threadIdx.x; i < count * channels; i += kComparisonThreads) {
      decay[i] = a.g ? expf(__ldg(a.g + row(i / channels) * channels + i % channels)) : 1.f;
    }
    if (kKind == Kind::kDelta && threadIdx.x < count) beta[threadIdx.x] = __ldg(a.beta + row(threadIdx.x));
    __syncthreads();

    // gated_delta needs k S before it can update S. A token's pass over the state reads it for the next token
    // too; only the first staged token pays for a pass of its own.
    if constexpr (kKind == Kind::kDelta) {
      if (working) {
        float4 sum = zero;
#pragma unroll 4
        for (int r = group; r < a.key_dim; r += groups) add_product(sum, k[r], state[r * quads + quad]);
        key_sums[group * quads + quad] = sum;
      }
      __syncthreads();
    }
    for (int c = 0; c < count; ++c) {
      const float *keys = k + c * a.key_dim, *queries = q + c * a.key_dim, *decays = decay + c * channels;
      const float4* seen_parts = key_sums + c % 2 * groups * quads;
      float4* next_parts = key_sums + (c + 1) % 2 * groups * quads;
      float4* out_parts = query_sums + c % 2 * groups * quads;
      float4 u = *reinterpret_cast<const float4*>(v + c * a.value_dim + quad * 4);
      if constexpr (kKind == Kind::kDelta) {
        float4 seen = seen_parts[quad];
        for (int other = 1; other < groups; ++other) add_product(seen, 1.f, seen_parts[other * quads + quad]);
        add_product(u, -decays[0], seen);
        u = scaled(u, beta[c]);
      }
      if (working) {
        const float* next_keys = c + 1 < count ? keys + a.key_dim : keys;  // the last token's sum is not used
        float4 out = zero, next_seen = zero;
#pragma unroll 4
        for (int r = group; r < a.key_dim; r += groups) {
          float4 s = scaled(state[r * quads + quad], kChannelDecay ? decays[r] : decays[0]);
          add_product(s, keys[r], u);
          state[r * quads + quad] = s;
          add_product(out, queries[r], s);
          if constexpr (kKind == Kind::kDelta) add_product(next_seen, next_keys[r], s);
        }
        out_parts[group * quads + quad] = out;
        if constexpr (kKind == Kind::kDelta) next_parts[group * quads + quad] = next_seen;
      }
      __syncthreads();
      if (group == 0) {
        float4 o = out_parts[quad];
        for (int other = 1; other < groups; ++other) add_product(o, 1.f, out_parts[other * quads + quad]);
        if (p.parts) {
          *reinterpret_cast<float4*>(p.parts + row(c) * a.value_dim + quad * 4) = o;
        } else {
          const std::int64_t index = row(c) * a.value_dim + quad * 4;
          store1(a.o, index, a.dtype, o.x);
          store1(a.o, index + 1, a.dtype, o.y);
          store1(a.o, index + 2, a.dtype, o.z);
          store1(a.o, index + 3, a.dtype, o.w);
        }
      }
    }
    __syncthreads();  // the staged tokens are done with
  }
  for (int i = threadIdx.x; i < a.key_dim * quads; i += kComparisonThreads) {
    *reinterpret_cast<float4*>(a.ht + matrix + i * 4) = state[i];
  }
}

/// o = the sum of the subheads' parts, in the order of j.
__global__ void sum_subheads(const __grid_constant__ ComparisonParameters p) {
  const Arguments& a = p.a;
  const std::int64_t count = a.tokens * a.heads * a.value_dim;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    const float* part = p.parts + i / a.value_dim * a.expansion * a.value_dim + i % a.value_dim;
    float sum = 0.f;
    for (int j = 0; j < a.expansion; ++j) sum += part[static_cast<std::int64_t>(j) * a.value_dim];
    store1(a.o, i, a.dtype, sum);
  }
}

KernelPointer whole_state_kernel(Kind kind) {
  switch (kind) {
    case Kind::kScalarDecay:
      return reinterpret_cast<KernelPointer>(&whole_state<Kind::kScalarDecay>);
    case Kind::kChannelDecay:
      return reinterpret_cast<KernelPointer>(&whole_state<Kind::kChannelDecay>);
    default:
      return reinterpret_cast<KernelPointer>(&whole_state<Kind::kDelta>);
  }
}

std::size_t scratch_bytes(const Problem& p, const Geometry&) {
  return p.expansion == 1 ? 0 : 4 * p.batch * p.seq_len * p.heads * p.expansion * p.value_dim;
}

std::vector<KernelLaunch> launches(const Problem& p, const Geometry& g) {
  const auto parameters = [](const Arguments& a) {
    return ComparisonParameters{a, a.expansion == 1 ? nullptr : reinterpret_cast<float*>(a.scratch)};
  };
  std::vector<KernelLaunch> result(p.expansion == 1 ? 1 : 2);
  KernelLaunch& main = result[0];
  main.name = std::string("comparison.") + std::string(name(p.division));
  main.function = whole_state_kernel(kind_of(p.rule));
  main.grid = g.workgroups[0];
  main.block = g.workgroup_size;
  main.dynamic_shared_bytes = main.predicted_shared_bytes = g.shared_memory_bytes();
  if (p.expansion > 1) {
    KernelLaunch& sum = result[1];
    sum.name = "comparison.sum_subheads";
    sum.function = reinterpret_cast<KernelPointer>(&sum_subheads);
    sum.block = 256;
    sum.grid = static_cast<unsigned>(
        std::min<std::int64_t>((p.batch * p.seq_len * p.heads * p.value_dim + 255) / 256, 4096));
  }
  for (KernelLaunch& kernel : result) bind_parameters(kernel, parameters);
  return result;
}

constexpr Implementation kImplementations[] = {{"cuda.comparison", scratch_bytes, launches}};

}  // namespace

std::span<const Implementation> comparison_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
