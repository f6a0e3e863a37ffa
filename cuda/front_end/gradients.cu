// Gradients of the front end (problem.h), from those of the expanded q and k, in float32:
//   ds = r (dout - out <out, dout>) SiLU'(sums), r = (|z|^2 + eps)^-1/2        (without the norm: dout
//   SiLU'(sums)) dy_t = sum_i c_i ds_{t + 3 - i}        dc_i = sum_t ds_t y_{t - 3 + i} dx = sum_e (dy W^T)
//   SiLU'(x)           dW = SiLU(x)^T dy
// dy crosses device memory once, since each of its three uses wants another order. Sums over tokens are taken
// in ranges, and the ranges' parts are added in their order.
#include <statescope/problem.h>

#include "cuda/elements.cuh"
#include "cuda/front_end/gradients.h"
#include "cuda/front_end/sequence.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kThreads = kGradientThreads;

__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}
__device__ float silu(float x) {
  return x * sigmoid(x);
}
__device__ float silu_slope(float x) {
  const float s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

/// Tokens [first, last) of a row.
struct Range {
  std::int64_t row;
  int first, last;
};
__device__ Range range_of(const GradientParameters& p, int index) {
  const int a_row = p.ranges / p.rows, first = index % a_row * p.tokens_per_range;
  return {index / a_row, first, min(first + p.tokens_per_range, p.seq_len)};
}
__device__ int tokens_before(const GradientParameters& p, int t) {
  return p.cu_seqlens ? front_end::tokens_before(p.cu_seqlens, p.sequences, t) : t;
}

/// dy and the convolution's gradient. Shared memory, float32 rows of K: SiLU(x) and y of the tile, of the
/// three tokens before it and of the three behind it (whose ds reach back into it); ds of the tile and of
/// those behind.
__global__ void __launch_bounds__(kThreads)
    convolution_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kTile = kConvolutionTokens, kRows = kTile + 6, kRowsPerThread = 4;
  extern __shared__ float memory[];
  const int dim = p.key_dim, subkey = blockIdx.x, side = blockIdx.z;
  float* const input = memory;
  float* const y = input + kRows * dim;
  float* const ds = y + kRows * dim;  // [kTile + 3][K]
  const int head = subkey / p.expansion, e = subkey % p.expansion;
  const Range range = range_of(p, blockIdx.y);
  const std::int64_t weight = (std::int64_t(head) * dim * p.expansion + e) * dim;
  const std::int64_t taps = std::int64_t(subkey) * dim * 4;
  const int groups = kThreads / dim, group = threadIdx.x / dim, column = threadIdx.x % dim;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const auto row_of = [&](int t) { return range.row * p.seq_len + t; };
  const auto expanded = [&](int t) { return (row_of(t) * p.qk_heads * p.expansion + subkey) * dim; };
  float dtaps[4] = {};  // elements threadIdx.x + 256 n of [K][4]

  for (int begin = range.first; begin < range.last; begin += kTile) {
    for (int i = threadIdx.x; i < kRows * dim; i += kThreads) {
      const int t = begin - 3 + i / dim;
      const bool inside = t >= 0 && t < p.seq_len;
      input[i] =
          inside ? silu(load1(p.x[side], (row_of(t) * p.qk_heads + head) * dim + i % dim, p.dtype)) : 0.0f;
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
    for (int i = warp; i < kTile + 3; i += kThreads / 32) {  // a warp a token
      const int t = begin + i, before = t < p.seq_len ? tokens_before(p, t) : 0;
      float sums[8], out[8], dout[8], squares = 0, along = 0;  // K <= 256: eight channels a lane
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = 32 * j + lane;
        sums[j] = out[j] = dout[j] = 0;
        if (c >= dim || t >= p.seq_len) continue;
        for (int tap = 0; tap < 4; ++tap) {
          if (before >= 3 - tap)
            sums[j] += load1(p.taps[side], taps + 4 * c + tap, p.dtype) * y[(i + tap) * dim + c];
        }
        out[j] = silu(sums[j]);
        dout[j] = load1(p.dout[side], expanded(t) + c, p.dtype);
        squares += out[j] * out[j];
        along += out[j] * dout[j];
      }
      for (int mask = 16; mask > 0; mask /= 2) {
        squares += __shfl_xor_sync(~0u, squares, mask);
        along += __shfl_xor_sync(~0u, along, mask);
      }
      const float r = p.norm ? rsqrtf(squares + kNormEpsilon) : 1.0f;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = 32 * j + lane;
        if (c >= dim) continue;
        const float dz = p.norm ? r * (dout[j] - r * r * along * out[j]) : dout[j];
        ds[i * dim + c] = dz * silu_slope(sums[j]);
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * dim; i += kThreads) {
      const int t = begin + i / dim, c = i % dim;
      if (t >= range.last) continue;
      float sum = 0;
      for (int tap = 0; tap < 4; ++tap) {
        const int later = 3 - tap;
        if (t + later < p.seq_len && tokens_before(p, t + later) >= later)
          sum += load1(p.taps[side], taps + 4 * c + tap, p.dtype) * ds[(i / dim + later) * dim + c];
      }
      store1(p.dy[side], expanded(t) + c, p.dtype, sum);
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int element = threadIdx.x + kThreads * n, c = element / 4, tap = element % 4;
      if (c >= dim) continue;
      for (int i = 0; i < kTile && begin + i < range.last; ++i) {
        if (tokens_before(p, begin + i) >= 3 - tap) dtaps[n] += ds[i * dim + c] * y[(i + tap) * dim + c];
      }
    }
    __syncthreads();
  }
  const std::int64_t part =
      ((std::int64_t(blockIdx.y) * 2 + side) * p.qk_heads * p.expansion + subkey) * dim * 4;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int element = threadIdx.x + kThreads * n;
    if (element < 4 * dim) p.dtaps_parts[part + element] = dtaps[n];
  }
}

/// A thread owns a column of x for a share of the tile's tokens, and a row of each W.
__global__ void __launch_bounds__(kThreads) input_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kTile = kInputTokens, kRowsPerThread = 8;
  extern __shared__ float dy[];  // [kTile][K]
  const int dim = p.key_dim, head = blockIdx.x, side = blockIdx.z;
  const int tiles = (p.seq_len + kTile - 1) / kTile, begin = blockIdx.y % tiles * kTile;
  const std::int64_t row = std::int64_t(blockIdx.y / tiles) * p.seq_len;
  const int groups = kThreads / dim, group = threadIdx.x / dim, column = threadIdx.x % dim;
  for (int r = group * kRowsPerThread; __syncthreads_or(group < groups && r < kTile);
       r += groups * kRowsPerThread) {
    float sums[kRowsPerThread] = {};
    for (int e = 0; e < p.expansion; ++e) {
      for (int i = threadIdx.x; i < kTile * dim; i += kThreads) {
        const int t = begin + i / dim;
        const std::int64_t at = (((row + t) * p.qk_heads + head) * p.expansion + e) * dim + i % dim;
        dy[i] = t < p.seq_len ? load1(p.dy[side], at, p.dtype) : 0.0f;
      }
      __syncthreads();
      if (group < groups && r < kTile) {
        const std::int64_t weight = ((std::int64_t(head) * dim + column) * p.expansion + e) * dim;
        for (int c = 0; c < dim; c += 4) {
          const float4 w = load4(p.weight[side], weight + c, p.dtype);
#pragma unroll
          for (int i = 0; i < kRowsPerThread; ++i) {
            const float4 d = *reinterpret_cast<const float4*>(&dy[min(r + i, kTile - 1) * dim + c]);
            sums[i] += d.x * w.x + d.y * w.y + d.z * w.z + d.w * w.w;
          }
        }
      }
      __syncthreads();
    }
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int t = begin + r + i;
      if (group >= groups || r + i >= kTile || t >= p.seq_len) continue;
      const std::int64_t at = ((row + t) * p.qk_heads + head) * dim + column;
      store1(p.dx[side], at, p.dtype, sums[i] * silu_slope(load1(p.x[side], at, p.dtype)));
    }
  }
}

/// 64 x 64 of one subkey's dW over one range: 4 x 4 a thread, 16 tokens staged at a time.
__global__ void __launch_bounds__(kThreads) weight_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kTile = kWeightTile, kTokens = kWeightTokens;
  extern __shared__ float memory[];
  float* const input = memory;                 // [kTokens][kTile]: SiLU(x)
  float* const dy = memory + kTokens * kTile;  // [kTokens][kTile]
  const int dim = p.key_dim, side = blockIdx.z, tiles = (dim + kTile - 1) / kTile;
  const int subkey = blockIdx.x / (tiles * tiles), tile = blockIdx.x % (tiles * tiles);
  const int first_k = tile / tiles * kTile, first_c = tile % tiles * kTile, head = subkey / p.expansion;
  const int my_k = threadIdx.x / 16 * 4, my_c = threadIdx.x % 16 * 4;
  const Range range = range_of(p, blockIdx.y);
  float sums[4][4] = {};
  for (int begin = range.first; begin < range.last; begin += kTokens) {
    for (int i = threadIdx.x; i < kTokens * kTile; i += kThreads) {
      const int t = begin + i / kTile, k = first_k + i % kTile, c = first_c + i % kTile;
      const std::int64_t row = range.row * p.seq_len + t;
      const bool inside = t < range.last;
      input[i] =
          inside && k < dim ? silu(load1(p.x[side], (row * p.qk_heads + head) * dim + k, p.dtype)) : 0.0f;
      dy[i] = inside && c < dim
                  ? load1(p.dy[side], (row * p.qk_heads * p.expansion + subkey) * dim + c, p.dtype)
                  : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const float4 a = *reinterpret_cast<const float4*>(&input[i * kTile + my_k]);
      const float4 b = *reinterpret_cast<const float4*>(&dy[i * kTile + my_c]);
      const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[k][c] += as[k] * bs[c];
      }
    }
    __syncthreads();
  }
  const std::int64_t part =
      ((std::int64_t(blockIdx.y) * 2 + side) * p.qk_heads * p.expansion + subkey) * dim * dim;
  for (int k = 0; k < 4; ++k) {
    for (int c = 0; c < 4; ++c) {
      if (first_k + my_k + k < dim && first_c + my_c + c < dim)
        p.dweight_parts[part + (first_k + my_k + k) * dim + first_c + my_c + c] = sums[k][c];
    }
  }
}

/// The ranges' parts of dW and of dc, added up; dW goes from [Hq, E, K, K] to [Hq, K, E, K].
__global__ void __launch_bounds__(kThreads) sum_parts(const __grid_constant__ GradientParameters p) {
  const int side = blockIdx.z, dim = p.key_dim;
  const std::int64_t subkeys = std::int64_t(p.qk_heads) * p.expansion;
  const std::int64_t weights = subkeys * dim * dim, taps = subkeys * dim * 4;
  for (std::int64_t i = blockIdx.x * std::int64_t(kThreads) + threadIdx.x; i < weights + taps;
       i += std::int64_t(gridDim.x) * kThreads) {
    float sum = 0;
    if (i < weights) {
      for (int range = 0; range < p.ranges; ++range) sum += p.dweight_parts[(range * 2 + side) * weights + i];
      const std::int64_t subkey = i / (dim * dim), k = i / dim % dim, head = subkey / p.expansion;
      p.dweight[side][((head * dim + k) * p.expansion + subkey % p.expansion) * dim + i % dim] = sum;
    } else {
      for (int range = 0; range < p.ranges; ++range)
        sum += p.dtaps_parts[(range * 2 + side) * taps + i - weights];
      p.dtaps[side][i - weights] = sum;
    }
  }
}

}  // namespace

const void* convolution_gradients_kernel() {
  return reinterpret_cast<const void*>(&convolution_gradients);
}
const void* input_gradients_kernel() {
  return reinterpret_cast<const void*>(&input_gradients);
}
const void* weight_gradients_kernel() {
  return reinterpret_cast<const void*>(&weight_gradients);
}
const void* sum_parts_kernel() {
  return reinterpret_cast<const void*>(&sum_parts);
}

}  // namespace statescope::cuda::front_end
