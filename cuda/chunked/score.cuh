#pragma once
// The score warpgroup, a chunk or two ahead of the state warpgroups:
//   L = tril(diag(beta) K K^T o Gamma, -1), in f16, for the inverse warpgroup, and P = tril(Q K^T o Gamma).
#include "cuda/chunked/gating.cuh"

namespace statescope::cuda::chunked {

template <class T, bool kDelta>
__device__ __forceinline__ void score(uint8_t* shared, uint32_t base, int chunks) {
  const int tid = threadIdx.x % 128, warp = __shfl_sync(~0u, tid / 32, 0);
  // what lies above the diagonal of P and of L's diagonal blocks is zero for good
  for (int n = tid; n < kScoreStages * int(SharedMap::kSquare) / 4; n += 128)
    ptx::store_shared(base + SharedMap::score + 4 * n, 0u);
  if constexpr (kDelta)
    for (int n = tid; n < kScoreStages * int(SharedMap::kSquare) / 4; n += 128)
      ptx::store_shared(base + SharedMap::scratch + 4 * n, 0u);
  ptx::named_barrier(4, 128);
  int slot = 0, parity = 0;
  for (int it = 0; it < chunks; ++it) {
    const int sys = it % kScoreStages;
    const uint32_t phase = (it / kScoreStages) & 1;
    int lane = tid % 32;
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each chunk: registers are short here
    const Lanes at(lane);
    const int r = at.r, c = at.c;
    const float* gamma = reinterpret_cast<const float*>(shared + SharedMap::gates + slot * SharedMap::kGates);
    const uint32_t key_tile = base + SharedMap::key + slot * SharedMap::kTile,
                   query_tile = base + SharedMap::query + slot * SharedMap::kTile;
    const uint32_t within = sys * SharedMap::kSquare + at.element + warp * 2048;
    ptx::barrier_wait(base + SharedMap::full + 8 * slot, parity);
    float product[32];
    multiply_rows<T>(product, kDelta ? key_tile : query_tile, key_tile);
    if constexpr (kDelta) {
      const Gamma g(gamma, at, warp);
      const float* beta = gamma + 3 * kChunk;
      const float ba = beta[16 * warp + r], bb = beta[16 * warp + 8 + r];
      const uint32_t low = base + SharedMap::scratch + within, left = low ^ (2 * warp << 4);
      ptx::barrier_wait(base + SharedMap::scratch_empty + 8 * sys, phase ^ 1);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
      const float fa = ba * g.near[0], fb = bb * g.near[1];
#pragma unroll
      for (int n = 0; n < 6; ++n) {
        if (n < 2 * warp) {
          const float2 f = g.far[n];
          ptx::store_shared(low ^ (n << 4),
                            ptx::pack<__half>(fa * f.x * product[4 * n], fa * f.y * product[4 * n + 1]));
          ptx::store_shared((low ^ (n << 4)) + 1024,
                            ptx::pack<__half>(fb * f.x * product[4 * n + 2], fb * f.y * product[4 * n + 3]));
        }
      }
      float l00[2] = {}, l10[2] = {}, l11[2] = {};
      take_diagonal(product, warp, l00, l10, l11);
      const float2 g00 = g.diagonal(0, 0), g10 = g.diagonal(1, 0), g11 = g.diagonal(1, 1);
      ptx::store_shared(
          left, ptx::pack<__half>(c < r ? ba * g00.x * l00[0] : 0.f, c + 1 < r ? ba * g00.y * l00[1] : 0.f));
      ptx::store_shared(left + 1024, ptx::pack<__half>(bb * g10.x * l10[0], bb * g10.y * l10[1]));
      ptx::store_shared((left ^ 16) + 1024, ptx::pack<__half>(c < r ? bb * g11.x * l11[0] : 0.f,
                                                              c + 1 < r ? bb * g11.y * l11[1] : 0.f));
      ptx::barrier_arrive(base + SharedMap::scratch_full + 8 * sys);
      multiply_rows<T>(product, query_tile, key_tile);
    }
    ptx::barrier_wait(base + SharedMap::score_empty + 8 * sys, phase ^ 1);
    const Gamma g(gamma, at, warp);  // a second time: it would not fit beside the products
    ptx::wgmma_wait<0>();
    ptx::pin(product);
    const uint32_t out = base + SharedMap::score + within, left = out ^ (2 * warp << 4);
#pragma unroll
    for (int n = 0; n < 6; ++n) {
      if (n < 2 * warp) {
        const float2 f = g.far[n];
        ptx::store_shared(out ^ (n << 4), ptx::pack<T>(g.near[0] * f.x * product[4 * n],
                                                       g.near[0] * f.y * product[4 * n + 1]));
        ptx::store_shared((out ^ (n << 4)) + 1024, ptx::pack<T>(g.near[1] * f.x * product[4 * n + 2],
                                                                g.near[1] * f.y * product[4 * n + 3]));
      }
    }
    float p00[2] = {}, p10[2] = {}, p11[2] = {};
    take_diagonal(product, warp, p00, p10, p11);
    const float2 g00 = g.diagonal(0, 0), g10 = g.diagonal(1, 0), g11 = g.diagonal(1, 1);
    ptx::store_shared(left, ptx::pack<T>(c <= r ? g00.x * p00[0] : 0.f, c + 1 <= r ? g00.y * p00[1] : 0.f));
    ptx::store_shared(left + 1024, ptx::pack<T>(g10.x * p10[0], g10.y * p10[1]));
    ptx::store_shared((left ^ 16) + 1024,
                      ptx::pack<T>(c <= r ? g11.x * p11[0] : 0.f, c + 1 <= r ? g11.y * p11[1] : 0.f));
    ptx::fence_async_proxy();
    ptx::barrier_arrive(base + SharedMap::score_full + 8 * sys);
    if (++slot == kStages) slot = 0, parity ^= 1;
  }
}

}  // namespace statescope::cuda::chunked
