// Step (decoding): one token, the state in place. Nothing but the state matters: E K V floats a head, read
// once and written once.
//   S <- e^g S + k^T u,  o = scale sum_j q_j S_j      (u = v, or beta (v - e^g k S) for gated_delta)
// A block owns some columns of a head, walks its subheads in order and keeps o in registers, so o needs no
// second pass. A thread holds K / 16 float4 of the state; the next subhead's are in flight while it works on
// these. Few heads leave multiprocessors idle: then a cluster shares a head's subheads out and the first
// block adds up o, in their order, from the others' shared memory. Shared memory: cuda_tiles::step_floats.
#include <cooperative_groups.h>

#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

constexpr int kWarps = cuda_tiles::kStepSlabWarps;
constexpr int kRowsAtOnce = kWarps * 4;  // a warp reads 4 rows of 8 float4
constexpr int kSlots = kWarps * cuda_tiles::kStepColumns;

__device__ inline void add_product(float4& sum, float x, float4 y) {
  sum.x += x * y.x;
  sum.y += x * y.y;
  sum.z += x * y.z;
  sum.w += x * y.w;
}

/// Sums over a slab's rows; every thread gets its columns' sum. One barrier; `slots` must not be reused
/// before the next barrier but one.
__device__ inline float4 sum_rows(float4 x, float* slots) {
#pragma unroll
  for (int step = 8; step < 32; step *= 2) {
    x.x += __shfl_xor_sync(0xffffffffu, x.x, step);
    x.y += __shfl_xor_sync(0xffffffffu, x.y, step);
    x.z += __shfl_xor_sync(0xffffffffu, x.z, step);
    x.w += __shfl_xor_sync(0xffffffffu, x.w, step);
  }
  const int lane = threadIdx.x % 32, quad = lane % 8;
  const int warp = threadIdx.x / 32;
  float4* all = reinterpret_cast<float4*>(slots);
  if (lane < 8) all[warp * 8 + quad] = x;
  __syncthreads();
  const float4* rows = all + warp / kWarps * kWarps * 8 + quad;
  float4 sum = rows[0];
#pragma unroll
  for (int other = 1; other < kWarps; ++other) add_product(sum, 1.f, rows[other * 8]);
  return sum;
}

/// Blocks that share a head's subheads, and which of them this is.
struct Part {
  int index = 0, count = 1;
};
__device__ inline Part part_of_cluster() {
#if __CUDA_ARCH__ >= 900
  const auto cluster = cooperative_groups::this_cluster();
  return {static_cast<int>(cluster.block_rank()), static_cast<int>(cluster.num_blocks())};
#else
  return {};
#endif
}
/// The sum over the cluster's blocks for those threads of the first that ask, in the order of the blocks; the
/// others' is undefined. `place` is the thread's own in every block. Every thread must call.
__device__ inline float4 sum_over_cluster(float4 x, float4* place, bool asks, const Part& part) {
#if __CUDA_ARCH__ >= 900
  if (part.count == 1) return x;
  const auto cluster = cooperative_groups::this_cluster();
  if (asks) *place = x;
  cluster.sync();
  if (asks && part.index == 0) {
    for (int other = 1; other < part.count; ++other)
      add_product(x, 1.f, *cluster.map_shared_rank(place, static_cast<unsigned>(other)));
  }
  cluster.sync();  // nobody leaves while its memory is read
#endif
  return x;
}

/// Two subheads' states in registers, one at work and one on its way, decide how many blocks fit.
constexpr int blocks_a_multiprocessor(int padded_key) {
  return (padded_key == 256 ? 2 : padded_key == 128 ? 4 : 6) / cuda_tiles::kStepSlabs;
}

template <Kind kKind, int kPaddedKey>
__global__ void __launch_bounds__(cuda_tiles::kStepThreads, blocks_a_multiprocessor(kPaddedKey))
    step(const __grid_constant__ Arguments a) {
  constexpr int kRows = kPaddedKey / kRowsAtOnce;
  constexpr int kChannels = kKind == Kind::kChannelDecay ? kPaddedKey : 1;
  const Part part = part_of_cluster();
  const int first = a.expansion * part.index / part.count, last = a.expansion * (part.index + 1) / part.count;
  const int staged = cuda_tiles::step_subheads(a.expansion, part.count);

  extern __shared__ __align__(16) float shared[];
  SharedMemory memory(shared);
  float* slots = memory.take(2 * kSlots);
  float* q = memory.take(staged * kPaddedKey);
  float* k = memory.take(staged * kPaddedKey);
  float* decay = memory.take(staged * kChannels);
  float* beta = memory.take(staged);
  memory.expect_all_taken(shared);

  const int value_blocks = (a.value_dim + cuda_tiles::kStepColumns - 1) / cuda_tiles::kStepColumns;
  const int slab = threadIdx.x / 32 / kWarps;
  const int block = blockIdx.x / part.count;
  const int column =
      block % value_blocks * cuda_tiles::kStepColumns + slab * cuda_tiles::kStepSlab + threadIdx.x % 8 * 4;
  const std::int64_t head_row = block / value_blocks;  // (b, head)
  const int head = head_row % a.heads;
  const std::int64_t batch = head_row / a.heads;
  const int qk_head = head / (a.heads / a.qk_heads);
  const bool inside = column < a.value_dim;
  const int first_row = threadIdx.x / 8 % kRowsAtOnce;
  const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);

  const float4 v = inside ? load4(a.v, head_row * a.value_dim + column, a.dtype) : zero;
  float4 o = zero;
  const int pitch = a.value_dim / 4;
  const auto state_of = [&](int j) {
    return reinterpret_cast<float4*>(a.ht + (head_row * a.expansion + j) * a.key_dim * a.value_dim + column);
  };
  const auto load = [&](float4(&to)[kRows], const float4* from) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = i * kRowsAtOnce + first_row;
      to[i] = inside && row < a.key_dim ? __ldcs(from + row * pitch) : zero;
    }
  };
  float4 next[kRows];
  load(next, state_of(first));
  for (int j = first; j < last; ++j) {
    float4* own = state_of(j);
    float4 state[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) state[i] = next[i];
    if (j + 1 < last) load(next, state_of(j + 1));

    const int at = (j - first) % staged;
    if (at == 0) {
      const int count = min(staged, last - j);
      const std::int64_t from = ((batch * a.qk_heads + qk_head) * a.expansion + j) * a.key_dim;
      const std::int64_t gate = head_row * a.expansion + j;
      __syncthreads();  // the subheads before are done with q and k
      for (int i = threadIdx.x; i < count * kPaddedKey / 4; i += blockDim.x) {
        const int sub = i * 4 / kPaddedKey, channel = i * 4 % kPaddedKey;
        const bool there = channel < a.key_dim;
        const std::int64_t index = from + static_cast<std::int64_t>(sub) * a.key_dim + channel;
        reinterpret_cast<float4*>(q)[i] = there ? scaled(load4(a.q, index, a.dtype), a.scale) : zero;
        reinterpret_cast<float4*>(k)[i] = there ? load4(a.k, index, a.dtype) : zero;
        if constexpr (kKind == Kind::kChannelDecay) {
          const float4 g =
              there ? __ldg(reinterpret_cast<const float4*>(a.g + (gate + sub) * a.key_dim + channel)) : zero;
          reinterpret_cast<float4*>(decay)[i] = make_float4(expf(g.x), expf(g.y), expf(g.z), expf(g.w));
        }
      }
      if (threadIdx.x < count) {
        if constexpr (kKind != Kind::kChannelDecay)
          decay[threadIdx.x] = a.g ? expf(__ldg(a.g + gate + threadIdx.x)) : 1.f;
        if constexpr (kKind == Kind::kDelta) beta[threadIdx.x] = __ldg(a.beta + gate + threadIdx.x);
      }
      __syncthreads();
    }

    const float *keys = k + at * kPaddedKey + first_row, *queries = q + at * kPaddedKey + first_row;
    const float* decays = decay + at * kChannels;
    float4 u = v;
    if constexpr (kKind == Kind::kDelta) {
      float4 seen = zero;
#pragma unroll
      for (int i = 0; i < kRows; ++i) add_product(seen, keys[i * kRowsAtOnce], state[i]);
      seen = sum_rows(seen, slots + j % 2 * kSlots);
      add_product(u, -decays[0], seen);
      u = scaled(u, beta[at]);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = i * kRowsAtOnce + first_row;
      const float d = kKind == Kind::kChannelDecay ? decays[row] : decays[0];
      float4 s = scaled(state[i], d);
      add_product(s, keys[i * kRowsAtOnce], u);
      add_product(o, queries[i * kRowsAtOnce], s);
      if (inside && row < a.key_dim) __stcs(own + row * pitch, s);
    }
  }
  o = sum_rows(o, slots + last % 2 * kSlots);
  const bool writes = first_row == 0 && inside;
  // q and k, at least 256 bytes, are no longer read.
  o = sum_over_cluster(o, reinterpret_cast<float4*>(q) + slab * 8 + threadIdx.x % 8, writes, part);
  if (writes && part.index == 0) {
    const std::int64_t index = head_row * a.value_dim + column;
    store1(a.o, index, a.dtype, o.x);
    store1(a.o, index + 1, a.dtype, o.y);
    store1(a.o, index + 2, a.dtype, o.z);
    store1(a.o, index + 3, a.dtype, o.w);
  }
}

}  // namespace

KernelPointer step_kernel(Kind kind, int padded_key) {
  return instantiation(kind, padded_key, [](auto kind_constant, auto padded) {
    return reinterpret_cast<KernelPointer>(&step<decltype(kind_constant)::value, decltype(padded)::value>);
  });
}

}  // namespace statescope::cuda
