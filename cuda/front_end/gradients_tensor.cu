// The two products of the front end's gradients (gradients.cu) on tensor cores, 16-bit, K of 64, 128 or 256:
//   dx = sum_e (dy W^T) SiLU'(x)           dW = SiLU(x)^T dy
// Tiles lie in shared memory as panels of 64 columns (tiles.cuh), two sets of them where 96 KiB hold two: one
// is copied while the other is multiplied.
#include "cuda/front_end/gradients.h"
#include "cuda/front_end/silu.cuh"
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::front_end {
namespace {

using namespace multipass;

/// 64 tokens of one head by up to 128 columns of x, 16 tokens a warp: with K = 128, 64 sums a lane.
template <class T, int kDim>
__global__ void __launch_bounds__(kProductThreads)
    input_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kColumns = kDim < 128 ? kDim : 128, kTiles = kDim / kColumns;
  constexpr uint32_t kRowsBytes = kProductTokens * kDim * 2, kStage = kRowsBytes + kColumns * kDim * 2;
  constexpr int kStages = input_product_stages(kDim);
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = ptx::shared_address(memory);
  const int warp = threadIdx.x / 32, side = blockIdx.z, head = blockIdx.x / kTiles,
            first = blockIdx.x % kTiles * kColumns;
  const int tiles = (p.seq_len + kProductTokens - 1) / kProductTokens,
            begin = blockIdx.y % tiles * kProductTokens;
  const int64_t token = int64_t(blockIdx.y / tiles) * p.seq_len + begin;
  const int count = min(kProductTokens, p.seq_len - begin);
  const Lane at(threadIdx.x % 32);
  const int64_t expanded = int64_t(p.qk_heads) * p.expansion * kDim, weight = int64_t(p.expansion) * kDim;
  const auto fetch = [&](int e) {
    const uint32_t to = base + e % kStages * kStage;
    copy_rows<kDim, kProductTokens, kProductThreads>(
        to, words(p.dy[side]) + token * expanded + (int64_t(head) * p.expansion + e) * kDim, expanded, count);
    copy_rows<kDim, kColumns, kProductThreads>(
        to + kRowsBytes, words(p.weight[side]) + (int64_t(head) * kDim + first) * weight + e * kDim, weight,
        kColumns);
    ptx::copies_commit();
  };
  float sums[kColumns / 8][4] = {};
  if (kStages > 1) fetch(0);
  for (int e = 0; e < p.expansion; ++e) {
    if (kStages == 1) {
      fetch(e);
      ptx::copies_wait<0>();
    } else if (e + 1 < p.expansion) {
      fetch(e + 1);
      ptx::copies_wait<1>();
    } else {
      ptx::copies_wait<0>();
    }
    __syncthreads();
    const uint32_t rows = base + e % kStages * kStage, weights = rows + kRowsBytes;
#pragma unroll 4
    for (int c = 0; c < kDim; c += 16) {
      uint32_t a[4], b[4];
      load_a(a, rows + c / 64 * (kProductTokens * 128), at, 16 * warp, c % 64);
#pragma unroll
      for (int n = 0; n < kColumns / 16; ++n) {
        load_b(b, weights + c / 64 * (kColumns * 128), at, c % 64, 16 * n);
        multiply<T>(sums[2 * n], sums[2 * n + 1], a, b);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = 16 * warp + at.r + 8 * half;
    if (row >= count) continue;
    const int64_t to = ((token + row) * p.qk_heads + head) * kDim + first + at.c;
    const uint32_t* const x = reinterpret_cast<const uint32_t*>(words(p.x[side]) + to);
    uint32_t* const dx = reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(p.dx[side]) + to);
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      const float2 value = ptx::unpack<T>(x[4 * n]);
      dx[4 * n] =
          ptx::pack<T>(sums[n][2 * half] * silu_slope(value.x), sums[n][2 * half + 1] * silu_slope(value.y));
    }
  }
}

/// Up to 128 x 128 of one subkey's dW over one range, half by a quarter of it a warp.
template <class T, int kDim>
__global__ void __launch_bounds__(2 * kProductThreads)
    weight_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kThreads = 2 * kProductThreads, kTile = kDim < 128 ? kDim : 128, kTiles = kDim / kTile;
  constexpr uint32_t kRowsBytes = kProductTokens * kTile * 2, kStage = 2 * kRowsBytes;
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = ptx::shared_address(memory);
  const int warp = threadIdx.x / 32, side = blockIdx.z;
  const int subkey = blockIdx.x / (kTiles * kTiles), tile = blockIdx.x % (kTiles * kTiles),
            head = subkey / p.expansion;
  const int first_k = tile / kTiles * kTile, first_c = tile % kTiles * kTile;
  const int a_row = p.ranges / p.rows, begin = blockIdx.y % a_row * p.tokens_per_range;
  const int tokens = min(p.tokens_per_range, p.seq_len - begin);
  const int64_t token = int64_t(blockIdx.y / a_row) * p.seq_len + begin;
  const int64_t plain = int64_t(p.qk_heads) * kDim, expanded = plain * p.expansion;
  const Lane at(threadIdx.x % 32);
  const int k = warp / 4 * (kTile / 2), c = warp % 4 * (kTile / 4);
  const auto fetch = [&](int i) {
    const uint32_t to = base + i % 2 * kStage;
    const int64_t t = token + i * kProductTokens;
    const int count = tokens - i * kProductTokens;
    copy_rows<kTile, kProductTokens, kThreads>(
        to, words(p.activated[side]) + t * plain + head * kDim + first_k, plain, count);
    copy_rows<kTile, kProductTokens, kThreads>(
        to + kRowsBytes, words(p.dy[side]) + t * expanded + int64_t(subkey) * kDim + first_c, expanded,
        count);
    ptx::copies_commit();
  };
  float sums[kTile / 32][kTile / 32][4] = {};  // [16 rows][8 columns]
  const int steps = (tokens + kProductTokens - 1) / kProductTokens;
  fetch(0);
  for (int i = 0; i < steps; ++i) {
    if (i + 1 < steps) {
      fetch(i + 1);
      ptx::copies_wait<1>();
    } else {
      ptx::copies_wait<0>();
    }
    __syncthreads();
    const uint32_t inputs = base + i % 2 * kStage, gradients = inputs + kRowsBytes;
#pragma unroll
    for (int t = 0; t < kProductTokens; t += 16) {
      uint32_t b[kTile / 64][4];
#pragma unroll
      for (int n = 0; n < kTile / 64; ++n)
        load_b_turned(b[n], gradients + (c + 16 * n) / 64 * (kProductTokens * 128), at, t, (c + 16 * n) % 64);
#pragma unroll
      for (int m = 0; m < kTile / 32; ++m) {
        uint32_t a[4];
        load_a_turned(a, inputs + (k + 16 * m) / 64 * (kProductTokens * 128), at, (k + 16 * m) % 64, t);
#pragma unroll
        for (int n = 0; n < kTile / 64; ++n) multiply<T>(sums[m][2 * n], sums[m][2 * n + 1], a, b[n]);
      }
    }
    __syncthreads();
  }
  float* const part =
      p.dweight_parts + ((int64_t(blockIdx.y) * 2 + side) * p.qk_heads * p.expansion + subkey) * kDim * kDim;
#pragma unroll
  for (int m = 0; m < kTile / 32; ++m) {
#pragma unroll
    for (int n = 0; n < kTile / 32; ++n) {
      float* const to = part + (first_k + k + 16 * m + at.r) * kDim + first_c + c + 8 * n + at.c;
      *reinterpret_cast<float2*>(to) = {sums[m][n][0], sums[m][n][1]};
      *reinterpret_cast<float2*>(to + 8 * kDim) = {sums[m][n][2], sums[m][n][3]};
    }
  }
}

template <class T>
const void* input_of(int key_dim) {
  return key_dim == 64    ? reinterpret_cast<const void*>(&input_gradients<T, 64>)
         : key_dim == 128 ? reinterpret_cast<const void*>(&input_gradients<T, 128>)
                          : reinterpret_cast<const void*>(&input_gradients<T, 256>);
}
template <class T>
const void* weight_of(int key_dim) {
  return key_dim == 64    ? reinterpret_cast<const void*>(&weight_gradients<T, 64>)
         : key_dim == 128 ? reinterpret_cast<const void*>(&weight_gradients<T, 128>)
                          : reinterpret_cast<const void*>(&weight_gradients<T, 256>);
}

}  // namespace

const void* input_product_kernel(DType type, int key_dim) {
  return type == DType::kBf16 ? input_of<__nv_bfloat16>(key_dim) : input_of<__half>(key_dim);
}
const void* weight_product_kernel(DType type, int key_dim) {
  return type == DType::kBf16 ? weight_of<__nv_bfloat16>(key_dim) : weight_of<__half>(key_dim);
}

}  // namespace statescope::cuda::front_end
