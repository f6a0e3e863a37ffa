#pragma once
// What one warp does for its rows in the gradient pass (gradients.cuh says which rows and why): rows times a
// state, rows times rows into a square, and the square times keys or queries.
#include "cuda/multipass/states.cuh"

namespace statescope::cuda::multipass {

enum class Role { kQuery, kKey, kCorrection };

/// A warp's rows: kTiles of 16, from `first`.
template <class T, int kValue, bool kDelta>
struct GradientWarp {
  static constexpr int kTiles = role_tiles(kValue), kRows = 16 * kTiles;
  static constexpr int kThreads = gradient_threads(kValue, kDelta);
  const Parameters& p;
  const Lane at;
  const int first;
  const float *gamma, *beta, *decays;

  /// d = rows of `own` times the transposed rows of `other`, 64 columns, blocks from `low` to `high` of 16.
  __device__ __forceinline__ void multiply_rows(float (&d)[kTiles][8][4], uint32_t own, uint32_t other,
                                                int low, int high) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) d[t][n][i] = 0;
#pragma unroll 2
    for (int k = 0; k < kValue; k += 16) {
      uint32_t rows[kTiles][4];
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        load_a(rows[t], own + k / 64 * (kChunk * 128), at, first + 16 * t, k % 64);
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        if (block < low || block > high) continue;
        uint32_t columns[4];
        load_b(columns, other + k / 64 * (kChunk * 128), at, k % 64, 16 * block);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) multiply<T>(d[t][2 * block], d[t][2 * block + 1], rows[t], columns);
      }
    }
  }
  /// square = factor x o Gamma o beta as operands, on and below the diagonal (kLower: beta by column) or on
  /// and above it (beta by row), or beside it alone (kStrict). Beside the blocks of the diagonal Gamma is a
  /// product of two factors that are both <= 1, of the row and of the column (`decays`, below), with the
  /// tile's first or last row between.
  template <bool kLower, bool kStrict>
  __device__ __forceinline__ void decayed(uint32_t (&square)[kTiles][4][4], const float (&x)[kTiles][8][4],
                                          float factor) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int tile = first / 16 + t, row = 16 * tile + at.r;
      const float pivot = gamma[16 * tile + (kLower ? 0 : 15)];
      const float* const columns = decays + ((kLower ? 0 : 4) + tile) * kChunk;
      float g[2], b[2], near[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        g[half] = gamma[row + 8 * half];
        b[half] = kLower ? factor : factor * beta[row + 8 * half];
        near[half] = b[half] * ptx::exp2_fast(-fabsf(g[half] - pivot));
      }
#pragma unroll
      for (int block = 0; block < 4; ++block) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const float(&y)[4] = x[t][2 * block + side];
          const int column = 16 * block + 8 * side + at.c;
          uint32_t& upper = square[t][block][2 * side];
          uint32_t& lower = square[t][block][2 * side + 1];
          if (block == tile) {
            const float2 other = two(gamma + column), c = kLower ? two(beta + column) : float2{1, 1};
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              uint32_t& to = half == 0 ? upper : lower;
              if (kLower ? side > half : side < half) {
                to = 0;
                continue;
              }
              float left = b[half] * c.x * ptx::exp2_fast(-fabsf(g[half] - other.x)) * y[2 * half],
                    right = b[half] * c.y * ptx::exp2_fast(-fabsf(g[half] - other.y)) * y[2 * half + 1];
              if (side == half) {  // row r, columns c and c + 1 of a tile on the diagonal
                const int from = at.c - at.r + (kStrict ? kLower ? 1 : -1 : 0);
                if (kLower ? from > 0 : from < 0) left = 0;
                if (kLower ? from + 1 > 0 : from + 1 < 0) right = 0;
              }
              to = ptx::pack<T>(left, right);
            }
          } else if (kLower ? block < tile : block > tile) {
            const float2 far = two(columns + column);
            upper = ptx::pack<T>(near[0] * far.x * y[0], near[0] * far.y * y[1]);
            lower = ptx::pack<T>(near[1] * far.x * y[2], near[1] * far.y * y[3]);
          } else {
            upper = lower = 0;
          }
        }
      }
    }
  }
  /// dg_t = the terms factor beta_j Z_ji with j < t <= i of this warp's rows j, and dbeta_j = factor sum_i
  /// Z_ji. z: operands, bf16 for its range.
  __device__ __forceinline__ void add_ways(const uint32_t (&z)[kTiles][4][4], float factor, float* dg,
                                           float* dbeta) const {
    // sum_{i>=t} Z_ji as a product with ones where i >= t; only blocks on the diagonal have both
    const uint32_t ones = 0x3f803f80u;
    const uint32_t edge = (at.c >= at.r ? 0x3f80u : 0u) | (at.c + 1 >= at.r ? 0x3f800000u : 0u);
    float sums[8][2];  // over this thread's rows
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      sums[n][0] = sums[n][1] = 0;
      if (n > 0 && 8 * n + 7 <= first) continue;  // no row before these columns
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        float x[4] = {};
#pragma unroll
        for (int block = n / 2; block < 4; ++block) {
          const bool same = block == n / 2;
          ptx::mma<__nv_bfloat16>(x, z[t][block], same ? (n % 2 == 0 ? edge : 0u) : ones,
                                  same && n % 2 == 1 ? edge : ones);
        }
        const int row = first + 16 * t + at.r, column = 8 * n + at.c;
        if (n == 0 && kDelta && at.c == 0)  // column 0 has all of the row
          dbeta[row] = factor * x[0], dbeta[row + 8] = factor * x[2];
        const float upper = factor * beta[row], lower = factor * beta[row + 8];
        if (row < column) sums[n][0] += upper * x[0];
        if (row < column + 1) sums[n][1] += upper * x[1];
        if (row + 8 < column) sums[n][0] += lower * x[2];
        if (row + 8 < column + 1) sums[n][1] += lower * x[3];
      }
    }
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int d = 4; d < 32; d *= 2) sums[n][i] += __shfl_xor_sync(~0u, sums[n][i], d);
        if (at.r == 0) dg[8 * n + at.c + i] = sums[n][i];
      }
  }
};

}  // namespace statescope::cuda::multipass
