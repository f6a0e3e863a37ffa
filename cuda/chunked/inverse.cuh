#pragma once
// A = (I + L)^{-1} diag(beta), a chunk ahead of the state warpgroups.
#include "cuda/chunked/gating.cuh"

namespace statescope::cuda::chunked {

/// Inverse of I + l, l 8 x 8 strictly lower triangular, a thread holding (lane / 4, 2 (lane % 4) + {0, 1}):
/// elimination in float32, a row broadcast a step.
__device__ __forceinline__ void invert_8x8(const float (&l)[2], float (&x)[2], int lane) {
  const int r = lane / 4, c = 2 * (lane % 4);
  x[0] = c == r, x[1] = c + 1 == r;
#pragma unroll
  for (int m = 0; m < 7; ++m) {
    const float factor = __shfl_sync(~0u, l[m % 2], (lane & ~3) | (m / 2));
    const float x0 = __shfl_sync(~0u, x[0], 4 * m + lane % 4), x1 = __shfl_sync(~0u, x[1], 4 * m + lane % 4);
    x[0] -= factor * x0, x[1] -= factor * x1;
  }
}
/// The same 8 x 8 tile as the second operand of `mma_tf32`.
__device__ __forceinline__ float2 as_b(const float (&x)[2], int lane) {
  const int odd = (lane / 4) & 1, from = 8 * (lane % 4) + lane / 8;
  const float p0 = __shfl_sync(~0u, x[0], from), p1 = __shfl_sync(~0u, x[1], from);
  const float q0 = __shfl_sync(~0u, x[0], from + 4), q1 = __shfl_sync(~0u, x[1], from + 4);
  return {ptx::round_tf32(odd ? p1 : p0), ptx::round_tf32(odd ? q1 : q0)};
}

/// One 16 x 16 diagonal block of L, in a thread's tiles of accumulators, and its inverse.
struct Block {
  float x00[2], x10[2], x11[2];
};
__device__ __forceinline__ Block invert_16x16(const float (&l00)[2], const float (&l10)[2],
                                              const float (&l11)[2], int lane) {
  Block x;
  float u[4] = {}, x10[4] = {};
  invert_8x8(l00, x.x00, lane);
  invert_8x8(l11, x.x11, lane);
  const float2 b10 = as_b(l10, lane), b00 = as_b(x.x00, lane);
  ptx::mma_tf32(u, ptx::round_tf32(x.x11[0]), 0, ptx::round_tf32(x.x11[1]), 0, b10.x, b10.y);
  ptx::mma_tf32(x10, ptx::round_tf32(u[0]), 0, ptx::round_tf32(u[1]), 0, b00.x, b00.y);
  x.x10[0] = -x10[0], x.x10[1] = -x10[1];
  return x;
}

/// What a warp does for the inverse of a chunk. Blocks merge as X_10 = -(X_11 L_10) X_00, 16 -> 32 -> 64, as
/// products of f16 tiles with f32 sums: the entries of L and X are of order one for normalised keys, and f16
/// keeps three bits more than the bf16 that A is stored in. Inverses replace L in scratch; 16 x 16 ones
/// beside the diagonal go to the mirror block above it.
template <class T>
struct Inverse {
  const uint32_t scratch, out;
  const float* const beta;
  const Lanes& at;

  __device__ __forceinline__ uint32_t own() const { return scratch + at.element; }
  __device__ __forceinline__ uint32_t to() const { return out + at.element; }
  __device__ __forceinline__ void load(uint32_t (&x)[4], int row, int column) const {
    ptx::load_matrix_x4(x, ((scratch + at.fragment) ^ (column / 8 << 4)) + row * 128);
  }
  __device__ __forceinline__ void load_b(uint32_t (&x)[4], int row, int column) const {
    ptx::load_matrix_x4_transposed(x, ((scratch + at.fragment) ^ (column / 8 << 4)) + row * 128);
  }
  __device__ __forceinline__ void store_out(const float (&x)[4], int row, int column) const {
    const float2 b = *reinterpret_cast<const float2*>(beta + column + at.c);
    const uint32_t there = (to() ^ (column / 8 << 4)) + row * 128;
    ptx::store_shared(there, ptx::pack<T>(-x[0] * b.x, -x[1] * b.y));
    ptx::store_shared(there + 1024, ptx::pack<T>(-x[2] * b.x, -x[3] * b.y));
  }
  __device__ __forceinline__ static void as_a(const float (&u)[2][4], uint32_t (&a)[4]) {
    a[0] = ptx::pack<__half>(u[0][0], u[0][1]), a[1] = ptx::pack<__half>(u[0][2], u[0][3]);
    a[2] = ptx::pack<__half>(u[1][0], u[1][1]), a[3] = ptx::pack<__half>(u[1][2], u[1][3]);
  }
  /// kCount blocks of 16 x 16 on the diagonal: their chains of dependent steps interleave.
  template <int kCount>
  __device__ __forceinline__ void diagonal(int lo) const {
    Block x[kCount];
#pragma unroll
    for (int d = 0; d < kCount; ++d) {
      const uint32_t left = (own() ^ ((lo + 16 * d) / 8 << 4)) + (lo + 16 * d) * 128;
      const float2 l00 = ptx::unpack<__half>(ptx::load_shared(left)),
                   l10 = ptx::unpack<__half>(ptx::load_shared(left + 1024));
      const float2 l11 = ptx::unpack<__half>(ptx::load_shared((left ^ 16) + 1024));
      x[d] = invert_16x16({l00.x, l00.y}, {l10.x, l10.y}, {l11.x, l11.y}, at.lane);
    }
#pragma unroll
    for (int d = 0; d < kCount; ++d) {
      const int row = lo + 16 * d;
      const uint32_t left = (own() ^ (row / 8 << 4)) + row * 128,
                     left_out = (to() ^ (row / 8 << 4)) + row * 128;
      ptx::store_shared(left, ptx::pack<__half>(x[d].x00[0], x[d].x00[1]));
      ptx::store_shared(left + 1024, ptx::pack<__half>(x[d].x10[0], x[d].x10[1]));
      ptx::store_shared((left ^ 16) + 1024, ptx::pack<__half>(x[d].x11[0], x[d].x11[1]));
      const float2 b0 = *reinterpret_cast<const float2*>(beta + row + at.c),
                   b1 = *reinterpret_cast<const float2*>(beta + row + 8 + at.c);
      ptx::store_shared(left_out, ptx::pack<T>(x[d].x00[0] * b0.x, x[d].x00[1] * b0.y));
      ptx::store_shared(left_out + 1024, ptx::pack<T>(x[d].x10[0] * b0.x, x[d].x10[1] * b0.y));
      ptx::store_shared((left_out ^ 16) + 1024, ptx::pack<T>(x[d].x11[0] * b1.x, x[d].x11[1] * b1.y));
    }
  }
  /// 16 -> 32, rows and columns from `lo` on.
  __device__ __forceinline__ void merge_16(int lo) const {
    const int hi = lo + 16;
    uint32_t a[4], l[4], r[4];
    load(a, hi, hi), load_b(l, hi, lo), load_b(r, lo, lo);
    float u[2][4] = {}, y[2][4] = {};
    ptx::mma_f16(u[0], a, l[0], l[1]), ptx::mma_f16(u[1], a, l[2], l[3]);
    as_a(u, a);
    ptx::mma_f16(y[0], a, r[0], r[1]), ptx::mma_f16(y[1], a, r[2], r[3]);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const uint32_t mirror = (own() ^ ((hi / 8 + side) << 4)) + lo * 128;
      ptx::store_shared(mirror, ptx::pack<__half>(-y[side][0], -y[side][1]));
      ptx::store_shared(mirror + 1024, ptx::pack<__half>(-y[side][2], -y[side][3]));
      store_out(y[side], hi, lo + 8 * side);
    }
  }
  /// 32 -> 64: row block 2 + m of -(X' L') X''.
  __device__ __forceinline__ void merge_32(int m) const {
    const int row = 32 + 16 * m;
    uint32_t a[4], l[4], r[4];
    float u[2][2][4] = {}, y[2][2][4] = {};  // [column block][eight columns]
    load(a, row, row);
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      load_b(l, row, 16 * q);
      ptx::mma_f16(u[q][0], a, l[0], l[1]), ptx::mma_f16(u[q][1], a, l[2], l[3]);
    }
    if (m == 1) {  // X_32, in the mirror block, times L_2.
      load(a, 32, 48);
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        load_b(l, 32, 16 * q);
        ptx::mma_f16(u[q][0], a, l[0], l[1]), ptx::mma_f16(u[q][1], a, l[2], l[3]);
      }
    }
    as_a(u[1], a);
    load_b(l, 16, 16), load_b(r, 0, 16);  // X_11, and X_10 in the mirror block
    ptx::mma_f16(y[1][0], a, l[0], l[1]), ptx::mma_f16(y[1][1], a, l[2], l[3]);
    ptx::mma_f16(y[0][0], a, r[0], r[1]), ptx::mma_f16(y[0][1], a, r[2], r[3]);
    as_a(u[0], a);
    load_b(l, 0, 0);
    ptx::mma_f16(y[0][0], a, l[0], l[1]), ptx::mma_f16(y[0][1], a, l[2], l[3]);
#pragma unroll
    for (int q = 0; q < 2; ++q)
#pragma unroll
      for (int n = 0; n < 2; ++n) store_out(y[q][n], row, 16 * q + 8 * n);
  }
};

/// One warp inverts a chunk.
template <class T>
__device__ __forceinline__ void invert_chunk(uint32_t scratch, uint32_t out, const float* beta,
                                             const Lanes& at) {
  const Inverse<T> inverse{scratch, out, beta, at};
#pragma unroll 1
  for (int lo = 0; lo < kChunk; lo += 32) inverse.template diagonal<2>(lo);
  __syncwarp();
#pragma unroll
  for (int lo = 0; lo < kChunk; lo += 32) inverse.merge_16(lo);
  __syncwarp();
#pragma unroll
  for (int m = 0; m < 2; ++m) inverse.merge_32(m);
}

/// One of kInverters warps, which take the chunks in turn: a chain of dependent steps is long and narrow.
template <class T>
__device__ __forceinline__ void invert(uint8_t* shared, uint32_t base, int chunks, int warp) {
  // what lies above the diagonal of A is zero for good
  const int thread = threadIdx.x % (32 * kInverters);
  for (int n = thread; n < kInverseStages * int(SharedMap::kSquare) / 4; n += 32 * kInverters)
    ptx::store_shared(base + SharedMap::inverse + 4 * n, 0u);
  ptx::named_barrier(1, 32 * kInverters);
  for (int it = warp; it < chunks; it += kInverters) {
    int lane = threadIdx.x % 32;
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each chunk: registers are short here
    const Lanes at(lane);
    const int sys = it % kScoreStages, stage = it % kInverseStages;
    const float* beta =
        reinterpret_cast<const float*>(shared + SharedMap::gates + it % kStages * SharedMap::kGates) +
        3 * kChunk;
    ptx::barrier_wait(base + SharedMap::scratch_full + 8 * sys, (it / kScoreStages) & 1);
    ptx::barrier_wait(base + SharedMap::inverse_empty + 8 * stage, ((it / kInverseStages) & 1) ^ 1);
    invert_chunk<T>(base + SharedMap::scratch + sys * SharedMap::kSquare,
                    base + SharedMap::inverse + stage * SharedMap::kSquare, beta, at);
    ptx::fence_async_proxy();
    ptx::warp_arrive(base + SharedMap::inverse_full + 8 * stage, base + SharedMap::scratch_empty + 8 * sys);
    __syncwarp();
  }
}

}  // namespace statescope::cuda::chunked
