// The front end (problem.h) for any K and type, without tensor cores: y = SiLU(x) W, a causal convolution of
// width 4, SiLU, and unit rows for gated_delta. A block owns tokens of one subkey. Products are float32 sums
// of five rows a thread, so that a weight read once serves five.
//
// In a sequence a block has a range of tokens and walks it in tiles of 32: the y of the three tokens before a
// tile are computed again, a tenth of the work; before a sequence they are its history. In a step it has one
// token of each of 16 batch rows, and all that is before them is history.
#include <statescope/problem.h>

#include "cuda/elements.cuh"
#include "cuda/front_end/expand.h"
#include "cuda/front_end/history.cuh"
#include "cuda/front_end/rows.cuh"
#include "cuda/front_end/sequence.cuh"
#include "cuda/front_end/silu.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kTile = kExpandTokens, kRowsPerThread = 5, kWeights = 8;
constexpr int kLaneChannels = 8;  // K <= 256: channels 32 apart

/// y = input W of one subkey; both [rows, K] in shared memory.
__device__ void multiply_rows(const ExpandParameters& p, int side, int subkey, int rows, const float* input,
                              float* y) {
  const int dim = p.key_dim, head = subkey / p.expansion, e = subkey % p.expansion;
  const std::int64_t weight = (std::int64_t(head) * dim * p.expansion + e) * dim;
  const int groups = kExpandThreads / dim, group = threadIdx.x / dim, column = threadIdx.x % dim;
  for (int r = group * kRowsPerThread; group < groups && r < rows; r += groups * kRowsPerThread) {
    float sums[kRowsPerThread] = {};
    for (int k = 0; k < dim; k += kWeights) {  // on their way together; K is a multiple of 16
      float w[kWeights];
#pragma unroll
      for (int j = 0; j < kWeights; ++j) {
        w[j] = load1(p.weight[side], weight + std::int64_t(k + j) * p.expansion * dim + column, p.dtype);
      }
#pragma unroll
      for (int j = 0; j < kWeights; ++j) {
#pragma unroll
        for (int i = 0; i < kRowsPerThread; ++i) sums[i] += input[min(r + i, rows - 1) * dim + k + j] * w[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      if (r + i < rows) y[(r + i) * dim + column] = sums[i];
    }
  }
}

/// What follows y for one token, `to` in the expanded tensor: a warp. window(tap, j) is y at that tap,
/// channel 32 j + lane.
template <class Window>
__device__ void finish_token(const ExpandParameters& p, int side, int subkey, std::int64_t to,
                             Window window) {
  const int lane = threadIdx.x % 32;
  const std::int64_t taps = std::int64_t(subkey) * p.key_dim * 4;
  float out[kLaneChannels], squares = 0;
#pragma unroll
  for (int j = 0; j < kLaneChannels; ++j) {
    const int c = 32 * j + lane;
    if (c >= p.key_dim) break;
    float sum = 0;
#pragma unroll
    for (int tap = 0; tap < 4; ++tap)
      sum += load1(p.taps[side], taps + 4 * c + tap, p.dtype) * window(tap, j);
    out[j] = silu(sum);
    squares += out[j] * out[j];
  }
  for (int mask = 16; mask > 0; mask /= 2) squares += __shfl_xor_sync(~0u, squares, mask);
  const float scale = p.norm ? rsqrtf(squares + kNormEpsilon) : 1.0f;
#pragma unroll
  for (int j = 0; j < kLaneChannels; ++j) {
    const int c = 32 * j + lane;
    if (c >= p.key_dim) break;
    store1(p.out[side], to + c, p.dtype, out[j] * scale);
  }
}

__global__ void __launch_bounds__(kExpandThreads) expand(const __grid_constant__ ExpandParameters p) {
  constexpr int kRows = kTile + 3;
  extern __shared__ float memory[];
  const int dim = p.key_dim, subkey = blockIdx.x, side = blockIdx.z, head = subkey / p.expansion;
  float* const input = memory;            // [kRows][K]: SiLU(x)
  float* const y = memory + kRows * dim;  // [kRows][K]
  const int ranges = (p.seq_len + p.tokens_per_block - 1) / p.tokens_per_block;
  const int row = blockIdx.y / ranges;
  const int first = blockIdx.y % ranges * p.tokens_per_block;
  const int last = min(first + p.tokens_per_block, p.seq_len);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  if (p.after[side] && blockIdx.y == 0) keep_histories(p, side, subkey);
  for (int begin = first; begin < last; begin += kTile) {
    for (int i = threadIdx.x; i < kRows * dim; i += kExpandThreads) {
      const int t = begin - 3 + i / dim;
      const bool inside = t >= 0 && t < p.seq_len;
      const std::int64_t at = ((std::int64_t(row) * p.seq_len + t) * p.qk_heads + head) * dim + i % dim;
      input[i] = inside ? silu(load1(p.x[side], at, p.dtype)) : 0.0f;
    }
    __syncthreads();
    multiply_rows(p, side, subkey, kRows, input, y);
    __syncthreads();
    for (int i = warp; i < kTile && begin + i < last; i += kExpandThreads / 32) {  // a warp a token
      const int t = begin + i;
      const Standing at = p.cu_seqlens ? standing_of(p.cu_seqlens, p.sequences, t) : Standing{row, t};
      const std::int64_t to = ((std::int64_t(row) * p.seq_len + t) * p.qk_heads * p.expansion + subkey) * dim;
      finish_token(p, side, subkey, to, [&](int tap, int j) {
        const int c = 32 * j + lane;
        if (at.before >= 3 - tap) return y[(i + tap) * dim + c];
        if (!p.history[side]) return 0.0f;
        return load1(p.history[side], history_at(p, at.sequence, at.before + tap, subkey) + c, p.dtype);
      });
      const int behind = (p.cu_seqlens ? p.cu_seqlens[at.sequence + 1] : p.seq_len) - 1 - t;
      for (int c = lane; c < dim; c += 32) {
        const float value = y[(i + 3) * dim + c];
        if (p.y[side]) store1(p.y[side], to + c, p.dtype, value);
        if (p.after[side] && behind < 3)
          store1(p.after[side], history_at(p, at.sequence, 2 - behind, subkey) + c, p.dtype, value);
      }
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kExpandThreads) step(const __grid_constant__ ExpandParameters p) {
  extern __shared__ float memory[];
  const int dim = p.key_dim, subkey = blockIdx.x, side = blockIdx.z, head = subkey / p.expansion;
  float* const input = memory;                // [kStepRows][K]: SiLU(x)
  float* const y = memory + kStepRows * dim;  // [kStepRows][K]
  const int first = blockIdx.y * kStepRows, count = min(kStepRows, p.sequences - first);
  for (int i = threadIdx.x; i < count * dim; i += kExpandThreads) {
    const std::int64_t at = ((std::int64_t(first) + i / dim) * p.qk_heads + head) * dim + i % dim;
    input[i] = silu(load1(p.x[side], at, p.dtype));
  }
  __syncthreads();
  multiply_rows(p, side, subkey, count, input, y);
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < count; i += kExpandThreads / 32) {  // a warp a row
    const int n = first + i;
    float window[4][kLaneChannels];
#pragma unroll
    for (int j = 0; j < kLaneChannels; ++j) {
      const int c = 32 * j + lane;
      if (c >= dim) break;
      for (int tap = 0; tap < 3; ++tap)
        window[tap][j] = read1(p.after[side], history_at(p, n, tap, subkey) + c, p.dtype);
      window[3][j] = y[i * dim + c];
      for (int tap = 0; tap < 3; ++tap)
        store1(p.after[side], history_at(p, n, tap, subkey) + c, p.dtype, window[tap + 1][j]);
    }
    const std::int64_t to = (std::int64_t(n) * p.qk_heads * p.expansion + subkey) * dim;
    finish_token(p, side, subkey, to, [&](int tap, int j) { return window[tap][j]; });
  }
}

__device__ uint4 activated(uint4 raw, DType type) {
  uint4 out;
  for (int half = 0; half < 2; ++half) {
    const float4 x = widen(half ? uint2{raw.z, raw.w} : uint2{raw.x, raw.y}, type);
    const float z[4] = {fast_silu(x.x), fast_silu(x.y), fast_silu(x.z), fast_silu(x.w)};
    const bool bf16 = type == DType::kBf16;
    (half ? out.z : out.x) = bf16 ? ptx::pack<__nv_bfloat16>(z[0], z[1]) : ptx::pack<__half>(z[0], z[1]);
    (half ? out.w : out.y) = bf16 ? ptx::pack<__nv_bfloat16>(z[2], z[3]) : ptx::pack<__half>(z[2], z[3]);
  }
  return out;
}

/// Sixteen bytes at a time, kActivatePieces of them on their way together.
__global__ void __launch_bounds__(kActivateThreads) activate(const __grid_constant__ ActivateParameters p) {
  const std::int64_t first = blockIdx.x * std::int64_t(kActivateThreads * kActivatePieces) + threadIdx.x;
  const auto* const from = static_cast<const uint4*>(p.x[blockIdx.z]);
  auto* const to = static_cast<uint4*>(p.out[blockIdx.z]);
  uint4 raw[kActivatePieces];
#pragma unroll
  for (int i = 0; i < kActivatePieces; ++i) {
    const std::int64_t at = first + i * kActivateThreads;
    if (8 * at < p.elements) raw[i] = __ldg(from + at);
  }
#pragma unroll
  for (int i = 0; i < kActivatePieces; ++i) {
    const std::int64_t at = first + i * kActivateThreads;
    if (8 * at < p.elements) to[at] = activated(raw[i], p.dtype);
  }
}

}  // namespace

const void* activate_kernel() {
  return reinterpret_cast<const void*>(&activate);
}

const void* expand_kernel() {
  return reinterpret_cast<const void*>(&expand);
}

const void* step_kernel() {
  return reinterpret_cast<const void*>(&step);
}

}  // namespace statescope::cuda::front_end
