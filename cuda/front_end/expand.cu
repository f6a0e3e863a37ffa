// The front end (problem.h) for any K and type, without tensor cores: y = SiLU(x) W, a causal convolution of
// width 4, SiLU, and unit rows for gated_delta. A block owns a range of tokens of one subkey and walks it in
// tiles of 32: the y of the three tokens before a tile are computed again, a tenth of the work. Products are
// float32 sums of five rows a thread, so that a weight read once serves five.
#include <statescope/problem.h>

#include "cuda/elements.cuh"
#include "cuda/front_end/expand.h"
#include "cuda/front_end/sequence.cuh"
#include "cuda/front_end/silu.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kTile = kExpandTokens, kRows = kTile + 3, kRowsPerThread = 5;

__global__ void __launch_bounds__(kExpandThreads) expand(const __grid_constant__ ExpandParameters p) {
  extern __shared__ float memory[];
  const int dim = p.key_dim, subkey = blockIdx.x, side = blockIdx.z;
  float* const input = memory;            // [kRows][K]: SiLU(x)
  float* const y = memory + kRows * dim;  // [kRows][K]
  const int head = subkey / p.expansion, e = subkey % p.expansion;
  const int ranges = (p.seq_len + p.tokens_per_block - 1) / p.tokens_per_block;
  const std::int64_t row = blockIdx.y / ranges;
  const int first = blockIdx.y % ranges * p.tokens_per_block;
  const int last = min(first + p.tokens_per_block, p.seq_len);
  const std::int64_t weight = (std::int64_t(head) * dim * p.expansion + e) * dim;
  const std::int64_t taps = std::int64_t(subkey) * dim * 4;
  const int groups = kExpandThreads / dim, group = threadIdx.x / dim, column = threadIdx.x % dim;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  for (int begin = first; begin < last; begin += kTile) {
    for (int i = threadIdx.x; i < kRows * dim; i += kExpandThreads) {
      const int t = begin - 3 + i / dim;
      const bool inside = t >= 0 && t < p.seq_len;
      const std::int64_t at = ((row * p.seq_len + t) * p.qk_heads + head) * dim + i % dim;
      input[i] = inside ? silu(load1(p.x[side], at, p.dtype)) : 0.0f;
    }
    __syncthreads();
    for (int r = group * kRowsPerThread; group < groups && r < kRows; r += groups * kRowsPerThread) {
      float sums[kRowsPerThread] = {};
      for (int k = 0; k < dim; ++k) {
        const float w = load1(p.weight[side], weight + std::int64_t(k) * p.expansion * dim + column, p.dtype);
#pragma unroll
        for (int i = 0; i < kRowsPerThread; ++i) sums[i] += input[min(r + i, kRows - 1) * dim + k] * w;
      }
#pragma unroll
      for (int i = 0; i < kRowsPerThread; ++i) {
        if (r + i < kRows) y[(r + i) * dim + column] = sums[i];
      }
    }
    __syncthreads();
    for (int i = warp; i < kTile && begin + i < last; i += kExpandThreads / 32) {  // a warp a token
      const int t = begin + i;
      const int before = p.cu_seqlens ? tokens_before(p.cu_seqlens, p.sequences, t) : t;
      float out[8], squares = 0;  // K <= 256: eight channels a lane
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = 32 * j + lane;
        if (c >= dim) break;
        float sum = 0;
        for (int tap = 0; tap < 4; ++tap) {
          if (before >= 3 - tap)
            sum += load1(p.taps[side], taps + 4 * c + tap, p.dtype) * y[(i + tap) * dim + c];
        }
        out[j] = silu(sum);
        squares += out[j] * out[j];
      }
      for (int mask = 16; mask > 0; mask /= 2) squares += __shfl_xor_sync(~0u, squares, mask);
      const std::int64_t to = ((row * p.seq_len + t) * p.qk_heads * p.expansion + subkey) * dim;
      const float scale = p.norm ? rsqrtf(squares + kNormEpsilon) : 1.0f;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = 32 * j + lane;
        if (c >= dim) break;
        store1(p.out[side], to + c, p.dtype, out[j] * scale);
        if (p.y[side]) store1(p.y[side], to + c, p.dtype, y[(i + 3) * dim + c]);
      }
    }
    __syncthreads();
  }
}

/// Eight values a thread.
__global__ void __launch_bounds__(kActivateThreads) activate(const __grid_constant__ ActivateParameters p) {
  const std::int64_t i = 8 * (blockIdx.x * std::int64_t(kActivateThreads) + threadIdx.x);
  if (i >= p.elements) return;
  for (int half = 0; half < 2; ++half) {
    const float4 x = load4(p.x[blockIdx.z], i + 4 * half, p.dtype);
    store4(p.out[blockIdx.z], i + 4 * half, p.dtype, {silu(x.x), silu(x.y), silu(x.z), silu(x.w)});
  }
}

}  // namespace

const void* activate_kernel() {
  return reinterpret_cast<const void*>(&activate);
}

const void* expand_kernel() {
  return reinterpret_cast<const void*>(&expand);
}

}  // namespace statescope::cuda::front_end
