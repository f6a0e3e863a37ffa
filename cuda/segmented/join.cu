// Cutting sequences into segments, and joining them: the state before each segment and after the last one,
//   h_0 = h0,  h_(s+1) = M_s h_s + N_s
// exactly, in float32: no decay is small enough to be left out.
#include "cuda/multipass/tiles.cuh"
#include "cuda/segmented/parameters.h"

namespace statescope::cuda::segmented {

using namespace multipass;

namespace {

/// Segments are whole chunks of their sequence, all but the last ones equally many; the last may be empty.
__global__ void cut(const __grid_constant__ CutParameters p) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i > p.sequences * p.segments) return;
  const int n = min(i / p.segments, p.sequences - 1), s = i - n * p.segments;
  const int begin = p.cu_seqlens ? p.cu_seqlens[n] : n * p.seq_len,
            tokens = p.cu_seqlens ? p.cu_seqlens[n + 1] - begin : p.seq_len;
  const int chunks = (tokens + kChunk - 1) / kChunk, share = (chunks + p.segments - 1) / p.segments;
  p.cuts[i] = begin + min(tokens, s * share * kChunk);
}

/// gla: a segment's transition is the product of its chunks' decays. A thread a channel; they stand in the
/// order of GlaScratch.
__global__ void multiply_decays(const __grid_constant__ DecayParameters p) {
  const Arguments& a = p.a;
  const Chain chain = chain_of(a, blockIdx.y);
  const int subhead = blockIdx.x, place = threadIdx.x, chunks = chain.chunks();
  const float* const from = p.decays + (chain.first_chunk * gridDim.x + subhead) * a.key_dim + place;
  float product = 1;
#pragma unroll 8
  for (int i = 0; i < chunks; ++i) product *= from[int64_t{i} * gridDim.x * a.key_dim];
  const int channel = place / 16 * 16 + 2 * (place % 8) + place / 8 % 2;
  p.transitions[(int64_t{blockIdx.y} * gridDim.x + subhead) * a.key_dim + channel] = product;
}

/// Where M is a number or a diagonal: a thread has four columns of a row.
template <bool kPerChannel>
__global__ void __launch_bounds__(kJoinThreads) join_decays(const __grid_constant__ JoinParameters p) {
  const int elements = p.key_dim * p.value_dim / 4, i = blockIdx.x * kJoinThreads + threadIdx.x;
  if (i >= elements) return;
  const int subhead = blockIdx.y, row = 4 * i / p.value_dim;
  const auto at = [&](int64_t n) { return (n * gridDim.y + subhead) * elements + i; };
  const float* const factors = p.effects.transitions + (kPerChannel ? row : 0);
  const float4* const __restrict__ ends = reinterpret_cast<const float4*>(p.effects.ends);
  float4* const __restrict__ starts = reinterpret_cast<float4*>(p.starts);
  float4 h = p.h0 ? reinterpret_cast<const float4*>(p.h0)[at(blockIdx.z)] : float4{0, 0, 0, 0};
#pragma unroll 4
  for (int s = 0; s < p.segments; ++s) {
    const int64_t n = int64_t{blockIdx.z} * p.segments + s;
    const float factor = factors[(n * gridDim.y + subhead) * (kPerChannel ? p.key_dim : 1)];
    const float4 end = ends[at(n)];
    starts[at(n)] = h;
    h = {fmaf(factor, h.x, end.x), fmaf(factor, h.y, end.y), fmaf(factor, h.z, end.z),
         fmaf(factor, h.w, end.w)};
  }
  if (p.ht) reinterpret_cast<float4*>(p.ht)[at(blockIdx.z)] = h;
}

/// Where M is a matrix. Lanes share out the rows of M h, kRows each; warps the channels of h, so that each
/// value of M goes from device memory to the one thread that wants it, two groups of channels ahead.
/// In shared memory the columns of the state stand as a lane wants them: [row of the lane][four
/// columns][lane], so that neither warps' parts nor their sums meet in a bank.
template <int kKey>
struct JoinShape {
  static constexpr int kRows = kKey / 32, kElements = kKey * kJoinColumns / kJoinThreads;
  static constexpr int kFours = kJoinColumns / 4;
  static constexpr int kChannels = kKey / (kJoinThreads / 32);  ///< of a warp
  static constexpr int kGroup = kRows < 4 ? 4 : 32 / kRows;
  static constexpr int kGroups = kChannels / kGroup;
  /// Row r of a lane: fours of them side by side, as M is read.
  __device__ __forceinline__ static int row(int r, int lane) {
    return kRows < 4 ? kRows * lane + r : r / 4 * 128 + 4 * lane + r % 4;
  }
  __device__ __forceinline__ static void load(float (&x)[kRows], const float* m, int lane) {
    if constexpr (kRows < 4) {
      const float2 y = two(m + row(0, lane));
      x[0] = y.x, x[1] = y.y;
    } else {
#pragma unroll
      for (int r = 0; r < kRows; r += 4) {
        const float4 y = *reinterpret_cast<const float4*>(m + row(r, lane));
        x[r] = y.x, x[r + 1] = y.y, x[r + 2] = y.z, x[r + 3] = y.w;
      }
    }
  }
  /// Number of the 16-byte piece that holds the first columns of a row.
  __device__ __forceinline__ static int piece(int row) {
    const int r = kRows < 4 ? row % kRows : row / 128 * 4 + row % 4,
              lane = kRows < 4 ? row / kRows : row % 128 / 4;
    return r * kFours * 32 + lane;
  }
};

template <int kKey>
__global__ void __launch_bounds__(kJoinThreads) join_matrices(const __grid_constant__ JoinParameters p) {
  using Shape = JoinShape<kKey>;
  constexpr int kRows = Shape::kRows, kElements = Shape::kElements, kFours = Shape::kFours,
                kGroup = Shape::kGroup, kGroups = Shape::kGroups;
  extern __shared__ __align__(1024) uint8_t shared[];
  float* const state = reinterpret_cast<float*>(shared);
  float* const parts = state + kKey * kJoinColumns;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * kJoinColumns;
  const int64_t stride = int64_t{gridDim.y}, first = int64_t{blockIdx.z} * p.segments;
  // The elements of the state that this thread adds up: number kJoinThreads j + thread in that order.
  int place[kElements];  // in a state in device memory
#pragma unroll
  for (int j = 0; j < kElements; ++j) {
    const int e = kJoinThreads * j + threadIdx.x;
    place[j] =
        Shape::row(e / (kFours * 128), e / 4 % 32) * p.value_dim + column + e / 128 % kFours * 4 + e % 4;
  }
  const auto at = [&](int64_t n) { return (n * stride + blockIdx.y) * kKey * p.value_dim; };
  // M from the second segment on, this warp's channels.
  const float* const matrices = p.effects.transitions + ((first + 1) * stride + blockIdx.y) * kKey * kKey +
                                warp * Shape::kChannels * kKey;
  const auto fetch = [&](float(&m)[kGroup][kRows], int s, int group) {
    if (group >= kGroups) ++s, group -= kGroups;
    if (s >= p.segments) return;
#pragma unroll
    for (int k = 0; k < kGroup; ++k)
      Shape::load(m[k], matrices + (s - 1) * stride * kKey * kKey + (group * kGroup + k) * kKey, lane);
  };
  float m[2][kGroup][kRows];
  fetch(m[0], 1, 0), fetch(m[1], 1, 1);
  float next[kElements];
#pragma unroll
  for (int j = 0; j < kElements; ++j) {
    next[j] = p.effects.ends[at(first) + place[j]];
    p.starts[at(first) + place[j]] = p.h0 ? p.h0[at(blockIdx.z) + place[j]] : 0.f;
  }
  for (int s = 1;; ++s) {  // next: the state before segment s
    float* const to = s < p.segments ? p.starts + at(first + s) : p.ht ? p.ht + at(blockIdx.z) : nullptr;
#pragma unroll
    for (int j = 0; j < kElements; ++j) {
      state[kJoinThreads * j + threadIdx.x] = next[j];
      if (to) to[place[j]] = next[j];
    }
    if (s == p.segments) return;
#pragma unroll
    for (int j = 0; j < kElements; ++j) next[j] = p.effects.ends[at(first + s) + place[j]];
    __syncthreads();  // the state is there
    float sum[kRows][kJoinColumns] = {};
#pragma unroll 1
    for (int pair = 0; pair < kGroups; pair += 2) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int k = 0; k < kGroup; ++k) {
          const float4* const h = reinterpret_cast<const float4*>(state) +
                                  Shape::piece(warp * Shape::kChannels + (pair + i) * kGroup + k);
          float columns[kJoinColumns];
#pragma unroll
          for (int four = 0; four < kFours; ++four) {
            const float4 x = h[32 * four];
            columns[4 * four] = x.x, columns[4 * four + 1] = x.y;
            columns[4 * four + 2] = x.z, columns[4 * four + 3] = x.w;
          }
#pragma unroll
          for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int v = 0; v < kJoinColumns; ++v) sum[r][v] = fmaf(m[i][k][r], columns[v], sum[r][v]);
        }
        fetch(m[i], s, pair + i + 2);
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int four = 0; four < kFours; ++four)
        reinterpret_cast<float4*>(parts)[((warp * kRows + r) * kFours + four) * 32 + lane] = {
            sum[r][4 * four], sum[r][4 * four + 1], sum[r][4 * four + 2], sum[r][4 * four + 3]};
    __syncthreads();  // everyone is done with the state, and all parts are there
#pragma unroll
    for (int j = 0; j < kElements; ++j)
#pragma unroll
      for (int w = 0; w < kJoinThreads / 32; ++w)
        next[j] += parts[w * kKey * kJoinColumns + kJoinThreads * j + threadIdx.x];
  }
}

template <class Parameters>
const void* pointer(void (*kernel)(Parameters)) {
  return reinterpret_cast<const void*>(kernel);
}

}  // namespace

const void* cut_kernel() {
  return pointer(cut);
}
const void* decays_kernel() {
  return pointer(multiply_decays);
}
const void* join_matrices_kernel(int key_dim) {
  return pointer(key_dim == 64    ? join_matrices<64>
                 : key_dim == 128 ? join_matrices<128>
                                  : join_matrices<256>);
}
const void* join_decays_kernel(bool per_channel) {
  return pointer(per_channel ? join_decays<true> : join_decays<false>);
}

}  // namespace statescope::cuda::segmented
