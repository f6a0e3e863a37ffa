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
#include "cuda/front_end/silu.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kThreads = kGradientThreads;

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

/// dy and the convolution's gradient, from the y that the way forward left. A warp walks its share of a
/// range, a lane keeps kChannels channels 32 apart: four tokens of y and of ds in registers, so that every
/// element is read once (and those of the three tokens before and behind the share once more).
template <int kChannels>
__global__ void __launch_bounds__(kThreads)
    convolution_gradients(const __grid_constant__ GradientParameters p) {
  __shared__ float4 parts[kThreads];  // of dc, one channel at a time
  const int dim = p.key_dim, subkey = blockIdx.x, side = blockIdx.z;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = kThreads / 32;
  const Range range = range_of(p, blockIdx.y);
  const int share = (range.last - range.first + warps - 1) / warps;
  const int first = range.first + warp * share, last = min(first + share, range.last);
  const std::int64_t taps_at = std::int64_t(subkey) * dim * 4;
  const auto channel = [&](int j) { return 32 * j + lane; };
  const auto at = [&](int t, int j) {
    return ((range.row * p.seq_len + t) * p.qk_heads * p.expansion + subkey) * dim + channel(j);
  };
  float taps[kChannels][4], dtaps[kChannels][4] = {}, y[4][kChannels] = {}, ds[4][kChannels] = {};
#pragma unroll
  for (int j = 0; j < kChannels; ++j) {
    for (int tap = 0; tap < 4; ++tap)
      taps[j][tap] = channel(j) < dim ? load1(p.taps[side], taps_at + 4 * channel(j) + tap, p.dtype) : 0.0f;
  }
  const auto read_y = [&](int t, float(&row)[kChannels]) {
#pragma unroll
    for (int j = 0; j < kChannels; ++j)
      row[j] = t >= 0 && channel(j) < dim ? load1(p.y[side], at(t, j), p.dtype) : 0.0f;
  };
  if (first < last) {
    for (int i = 0; i < 3; ++i) read_y(first - 3 + i, y[i + 1]);
  }
  for (int t = first; t < last + 3 && first < last; ++t) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {  // y[i] is of token t - 3 + i, ds[i] too
#pragma unroll
      for (int j = 0; j < kChannels; ++j) y[i][j] = y[i + 1][j], ds[i][j] = ds[i + 1][j];
    }
    const bool inside = t < p.seq_len;
    const int before = inside ? tokens_before(p, t) : 0;
    if (inside) {
      read_y(t, y[3]);
      float sums[kChannels], out[kChannels], dout[kChannels], squares = 0, along = 0;
#pragma unroll
      for (int j = 0; j < kChannels; ++j) {
        sums[j] = taps[j][3] * y[3][j];
#pragma unroll
        for (int tap = 0; tap < 3; ++tap) sums[j] += before >= 3 - tap ? taps[j][tap] * y[tap][j] : 0.0f;
        out[j] = silu(sums[j]);
        dout[j] = channel(j) < dim ? load1(p.dout[side], at(t, j), p.dtype) : 0.0f;
        squares += out[j] * out[j];
        along += out[j] * dout[j];
      }
      for (int mask = 16; mask > 0; mask /= 2) {
        squares += __shfl_xor_sync(~0u, squares, mask);
        along += __shfl_xor_sync(~0u, along, mask);
      }
      const float r = p.norm ? rsqrtf(squares + kNormEpsilon) : 1.0f;
#pragma unroll
      for (int j = 0; j < kChannels; ++j)
        ds[3][j] = (p.norm ? r * (dout[j] - r * r * along * out[j]) : dout[j]) * silu_slope(sums[j]);
    }
    if (t < last) {
#pragma unroll
      for (int j = 0; j < kChannels; ++j) {
#pragma unroll
        for (int tap = 0; tap < 4; ++tap) dtaps[j][tap] += before >= 3 - tap ? ds[3][j] * y[tap][j] : 0.0f;
      }
    }
    const int done = t - 3;  // every ds that reaches back to it is there
    if (done < first) continue;
    // Token done + i is of the same sequence when it has i tokens of it before it.
    const int later = !p.cu_seqlens ? min(3, p.seq_len - 1 - done)
                                    : (inside && before >= 3                                     ? 3
                                       : done + 2 < p.seq_len && tokens_before(p, done + 2) >= 2 ? 2
                                       : done + 1 < p.seq_len && tokens_before(p, done + 1) >= 1 ? 1
                                                                                                 : 0);
#pragma unroll
    for (int j = 0; j < kChannels; ++j) {
      float sum = taps[j][3] * ds[0][j];
#pragma unroll
      for (int i = 1; i < 4; ++i) sum += i <= later ? taps[j][3 - i] * ds[i][j] : 0.0f;
      if (channel(j) < dim) store1(p.dy[side], at(done, j), p.dtype, sum);
    }
  }
  const std::int64_t part =
      ((std::int64_t(blockIdx.y) * 2 + side) * p.qk_heads * p.expansion + subkey) * dim * 4;
#pragma unroll
  for (int j = 0; j < kChannels; ++j) {
    parts[threadIdx.x] = {dtaps[j][0], dtaps[j][1], dtaps[j][2], dtaps[j][3]};
    __syncthreads();
    if (warp == 0 && channel(j) < dim) {
      float4 sum{};
      for (int w = 0; w < warps; ++w) {
        const float4 x = parts[w * 32 + lane];
        sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
      }
      reinterpret_cast<float4*>(p.dtaps_parts + part)[channel(j)] = sum;
    }
    __syncthreads();
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

const void* convolution_gradients_kernel(int key_dim) {
  return key_dim <= 32    ? reinterpret_cast<const void*>(&convolution_gradients<1>)
         : key_dim <= 64  ? reinterpret_cast<const void*>(&convolution_gradients<2>)
         : key_dim <= 128 ? reinterpret_cast<const void*>(&convolution_gradients<4>)
                          : reinterpret_cast<const void*>(&convolution_gradients<8>);
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
