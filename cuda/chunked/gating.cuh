#pragma once
// What the inverse and the scores share: tiles of 16-bit values in shared memory, and Gamma_ij = e^{gamma_i -
// gamma_j}, i >= j.
#include "cuda/chunked/schedule.cuh"

namespace statescope::cuda::chunked {

/// What a thread needs to reach 16-bit tiles of rows of 64 in 128-byte swizzle: add 128 a row (in steps of
/// eight rows), move by eight columns with exclusive or of 16.
struct Lanes {
  int lane, r, c;     // r = lane / 4, c = 2 (lane % 4): the thread's row and column in a tile of accumulators
  uint32_t element;   // of row r, column c
  uint32_t fragment;  // of the row and column that ldmatrix reads for this lane in a 16 x 16 tile
  __device__ __forceinline__ explicit Lanes(int l)
      : lane(l),
        r(l / 4),
        c(2 * (l % 4)),
        element(r * 128 + (r << 4) + 2 * c),
        fragment((l % 16) * 128 + (((l / 16) ^ (l & 7)) << 4)) {}
};

/// The three 8 x 8 tiles of the warp's diagonal block that are not above the diagonal. Selected, not indexed:
/// an index known at run time only would send the accumulators to memory.
__device__ __forceinline__ void take_diagonal(const float (&d)[32], int warp, float (&d00)[2],
                                              float (&d10)[2], float (&d11)[2]) {
#pragma unroll
  for (int w = 0; w < 4; ++w)
#pragma unroll
    for (int x = 0; x < 2; ++x) {
      ptx::select(d00[x], d[8 * w + x], w == warp);
      ptx::select(d10[x], d[8 * w + 2 + x], w == warp);
      ptx::select(d11[x], d[8 * w + 6 + x], w == warp);
    }
}

/// Gamma for a warp's 16 rows. Left of the diagonal block it is e^{gamma_i - gamma_p} e^{gamma_p - gamma_j},
/// p the warp's first row: both exponents are <= 0, so neither factor overflows, and twelve exponentials a
/// thread serve up to 24 products.
struct Gamma {
  float row[2];      // gamma of rows r and r + 8
  float2 column[2];  // gamma of columns c and 8 + c of the diagonal block
  float near[2];     // e^{gamma_i - gamma_p}
  float2 far[6];     // e^{gamma_p - gamma_j} of columns 8 n + c; of no meaning from the diagonal block on
  __device__ __forceinline__ Gamma(const float* gamma, const Lanes& at, int warp) {
    const float pivot = gamma[16 * warp];
#pragma unroll
    for (int x = 0; x < 2; ++x) {
      row[x] = gamma[16 * warp + 8 * x + at.r];
      column[x] = *reinterpret_cast<const float2*>(gamma + 16 * warp + 8 * x + at.c);
      near[x] = ptx::exp2_fast(row[x] - pivot);
    }
#pragma unroll
    for (int n = 0; n < 6; ++n) {
      const float2 g = *reinterpret_cast<const float2*>(gamma + 8 * n + at.c);
      far[n] = {ptx::exp2_fast(pivot - g.x), ptx::exp2_fast(pivot - g.y)};
    }
  }
  /// Of row r + 8 i and columns 8 j + c (+ 1) of the diagonal block; what lies above the diagonal may be
  /// infinite.
  __device__ __forceinline__ float2 diagonal(int i, int j) const {
    return {ptx::exp2_fast(row[i] - column[j].x), ptx::exp2_fast(row[i] - column[j].y)};
  }
};

/// d = the tile at `rows` times the transposed tile at `key`, 64 x 64 over kDim.
template <class T>
__device__ __forceinline__ void multiply_rows(float (&d)[32], uint32_t rows, uint32_t key) {
  const uint64_t a = ptx::operand(rows, 16, 1024), b = ptx::operand(key, 16, 1024);
  ptx::wgmma_fence();
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const uint32_t at = (k / 4) * (SharedMap::kHalf / 16) + (k % 4) * 2;
    ptx::wgmma_n64_shared<T>(d, a + at, b + at, k > 0);
  }
  ptx::wgmma_commit();
}

}  // namespace statescope::cuda::chunked
