#pragma once
// The squares of a chunk, by one warpgroup, rows j of the earlier token by columns i of the later:
//   M^T_ji = scale beta_j Gamma_ij do_i . r_j,  N^T_ji = -beta_j Gamma_ij dr_i . r_j (i > j)
// left in shared memory as M^T and as N + N^T, and the pairs' terms of dg and dbeta,
//   Z_ji = Gamma_ij (scale (do_i . r_j) (q_i . k_j) - (dr_i . r_j) (k_i . k_j)).
#include "cuda/multipass/gradients_ring.cuh"

namespace statescope::cuda::multipass {

/// ways_t = sum_{j<t<=i} beta_j Z_ji of this warp's rows j, and pairs_j = sum_i Z_ji. z: accumulators.
__device__ __forceinline__ void add_ways(const float (&z)[32], const float (&beta)[2], const Lane& at,
                                         int warp, float* ways, float* pairs) {
  // sum_{i>=t} Z_ji as a product with ones where i >= t, in bf16 for its range. From the last block of tokens
  // to the first: `later` is the sum over the blocks behind.
  const uint32_t ones = 0x3f803f80u;
  const uint32_t edge = (at.c >= at.r ? 0x3f80u : 0u) | (at.c + 1 >= at.r ? 0x3f800000u : 0u);
  float later[4] = {}, sums[16];
#pragma unroll
  for (int block = 3; block >= 0; --block) {
    if (block < warp) {
      sums[4 * block] = sums[4 * block + 1] = sums[4 * block + 2] = sums[4 * block + 3] = 0;
      continue;
    }
    const float(&y)[32] = z;
    const uint32_t own[4] = {ptx::pack<__nv_bfloat16>(y[8 * block], y[8 * block + 1]),
                             ptx::pack<__nv_bfloat16>(y[8 * block + 2], y[8 * block + 3]),
                             ptx::pack<__nv_bfloat16>(y[8 * block + 4], y[8 * block + 5]),
                             ptx::pack<__nv_bfloat16>(y[8 * block + 6], y[8 * block + 7])};
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      float x[4] = {later[0], later[1], later[2], later[3]};
      ptx::mma<__nv_bfloat16>(x, own, side == 0 ? edge : 0u, side == 0 ? ones : edge);
      float* const sum = sums + 4 * block + 2 * side;
      if (block > warp) {
        sum[0] = beta[0] * x[0] + beta[1] * x[2], sum[1] = beta[0] * x[1] + beta[1] * x[3];
      } else {
        const int column = 8 * side + at.c;
        sum[0] = (at.r < column ? beta[0] * x[0] : 0.f) + (at.r + 8 < column ? beta[1] * x[2] : 0.f);
        sum[1] = (at.r < column + 1 ? beta[0] * x[1] : 0.f) + (at.r + 8 < column + 1 ? beta[1] * x[3] : 0.f);
      }
    }
    ptx::mma<__nv_bfloat16>(later, own, ones, ones);
  }
  if (at.c == 0) pairs[at.r] = later[0], pairs[at.r + 8] = later[2];
    // Over the rows: at each step a lane keeps half of the columns and hands the other half over.
#pragma unroll
  for (int step = 0; step < 3; ++step) {
    const int d = 4 >> step;
    const bool upper = at.r & d;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i >= 2 * d) continue;
      const float keep = upper ? sums[2 * d + i] : sums[i], give = upper ? sums[i] : sums[2 * d + i];
      sums[i] = keep + __shfl_xor_sync(~0u, give, 4 * d);
    }
  }
  *reinterpret_cast<float2*>(ways + 8 * at.r + at.c) = {sums[0], sums[1]};
}

template <class T, int kKey, int kValue, bool kDelta>
__device__ __forceinline__ void make_squares(const Parameters& p, uint8_t* shared, uint32_t base) {
  using Tiles = Ring<kKey, kValue, kDelta>;
  constexpr HopperGradientMap kMap = Tiles::kMap;
  Tiles ring{shared, base};
  const int thread = threadIdx.x % 128, warp = __shfl_sync(~0u, thread / 32, 0);
  // what lies below the diagonal of M^T is zero for good
  for (int i = thread; i < int(kSquareBytes) / 4; i += 128) ptx::store_shared(base + kMap.m + 4 * i, 0u);
  ptx::named_barrier(3, 128);
  for (; ring.next(); ring.advance()) {
    int lane = thread % 32;
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each chunk: registers are short
    const Lane at(lane);
    const int count = __shfl_sync(~0u, ring.task().count, 0), row = 16 * warp + at.r;
    const float* const gamma = ring.gamma();
    const float gamma_j[2] = {gamma[row], gamma[row + 8]},
                beta[2] = {gamma[kChunk + row], gamma[kChunk + row + 8]};
    float x[32], y[32];  // by r . do, and by r . dr
    ring.wait(Tiles::kOutput), ring.wait(Tiles::kError);
    ptx::wgmma_fence();
    rows_by_rows<T, kValue>(x, ring.address(Tiles::kError), ring.address(Tiles::kOutput));
    if constexpr (kDelta) {
      ring.wait(Tiles::kCorrection);
      ptx::wgmma_fence();
      rows_by_rows<T, kValue>(y, ring.address(Tiles::kError), ring.address(Tiles::kCorrection));
    }
    ptx::wgmma_wait<0>();
    ptx::pin(x);
    if constexpr (kDelta) ptx::pin(y);
#pragma unroll
    for (int tile = Tiles::kState; tile < Tiles::kError; ++tile) ring.wait(tile);
    ring.release(0, Tiles::kKeys);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (n / 2 < warp) {
#pragma unroll
        for (int i = 0; i < 4; ++i) x[4 * n + i] = y[4 * n + i] = 0;
        continue;
      }
      const float2 gamma_i = two(gamma + 8 * n + at.c);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int later = 8 * n + at.c + i % 2, earlier = row + 8 * (i / 2);
        // Masked before use: what lies above is of no meaning, and past the end are other tokens.
        const float decay = ptx::exp2_fast((i % 2 == 0 ? gamma_i.x : gamma_i.y) - gamma_j[i / 2]);
        x[4 * n + i] = later >= earlier && later < count ? p.a.scale * decay * x[4 * n + i] : 0.f;
        if (kDelta) y[4 * n + i] = later > earlier ? decay * y[4 * n + i] : 0.f;
      }
    }
    // The slabs want the squares, and nobody waits for the pairs.
    const uint32_t element = base + at.element;
    ptx::barrier_wait(base + kMap.squares_empty, (ring.it & 1) ^ 1);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (n / 2 < warp) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int tile = 2 * warp + half, i = 4 * n + 2 * half;
        ptx::store_shared((element + kMap.m ^ n << 4) + tile * 1024,
                          ptx::pack<T>(beta[half] * x[i], beta[half] * x[i + 1]));
        // N + N^T: 8 x 8 tiles right of the diagonal as they are, and turned; on it one or the other is +0
        if (!kDelta || n < tile) continue;
        const uint32_t word = ptx::pack<T>(0.f - beta[half] * y[i], 0.f - beta[half] * y[i + 1]),
                       turned = ptx::transpose_8x8(word);
        ptx::store_shared((element + kMap.n ^ n << 4) + tile * 1024, n == tile ? word | turned : word);
        if (n > tile) ptx::store_shared((element + kMap.n ^ tile << 4) + n * 1024, turned);
      }
    }
    ptx::fence_async_proxy();
    ptx::warp_arrive(base + kMap.squares_full);

    float z[32];
    ring.wait(Tiles::kKeys), ring.wait(Tiles::kQueries);
    ptx::wgmma_fence();
    rows_by_rows<T, kKey>(z, ring.address(Tiles::kKeys), ring.address(Tiles::kQueries));
    ptx::wgmma_wait<0>();
    ptx::pin(z);
#pragma unroll
    for (int i = 0; i < 32; ++i) z[i] *= x[i];
    if constexpr (kDelta) {
      ptx::wgmma_fence();
      rows_by_rows<T, kKey>(x, ring.address(Tiles::kKeys), ring.address(Tiles::kKeys));
      ptx::wgmma_wait<0>();
      ptx::pin(x);
#pragma unroll
      for (int i = 0; i < 32; ++i) z[i] -= x[i] * y[i];
    }
    ptx::warp_arrive(base + kMap.tiles_read);
    ring.release(Tiles::kKeys, kMap.tiles);
    ring.wait_for_terms_place();
    if (kDelta || p.a.g) {
      GateTerms& terms = ring.terms();
      add_ways(z, beta, at, warp, terms.ways[warp], terms.pairs + 16 * warp);
    }
    ring.leave_terms();
    ring.release_task();
  }
}

}  // namespace statescope::cuda::multipass
