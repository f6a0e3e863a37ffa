#pragma once
// The state warpgroups of gla: 64 columns of V each, all of K, transposed as in state.cuh. The gates have
// been at work before: what arrives are Q e^gamma, K e^(gamma_C - gamma) and P of half a chunk, so
//   O^T = S^T (Q e^gamma)^T + V^T P^T,  S^T <- S^T diag(e^gamma_C) + V^T (K e^(gamma_C - gamma))
// two steps of 32 tokens for each chunk of 64 whose o goes out at once.
#include "cuda/chunked/chain.cuh"
#include "cuda/chunked/output.cuh"

namespace statescope::cuda::chunked {

template <class T, int kLogE>
__device__ __forceinline__ void advance_gla(const Parameters& p, uint32_t base, Place& place, int worker,
                                            int e, int rank) {
  using Map = GlaMap;
  const int wg = __shfl_sync(~0u, threadIdx.x / 128, 0), tid = threadIdx.x % 128, warp = tid / 32,
            lane = tid % 32;
  const Output<T, kLogE, Map> output{p, base, rank, wg, tid};
  const Chain<kLogE> chain{p, worker, e, rank, wg, tid};
  // ldmatrix rows of v^T: matrix m = lane / 8 is (tokens + 8 (m / 2), values + 8 (m % 2))
  const int value_token = lane % 8 + 8 * (lane / 16), value_chunk = 2 * warp + (lane / 8) % 2;
  const uint32_t value_at =
      base + Map::value + wg * Map::kHalf + value_token * 128 + ((value_chunk ^ (value_token & 7)) << 4);

  int stage = 0, parity = 0, it = 0;
  while (next_segment<128>(p, place, 1 + wg)) {
    const Segment& s = place.segment;
    const int begin = __shfl_sync(~0u, s.begin, 0), end = __shfl_sync(~0u, s.end, 0);
    float state[64];
    chain.take_up(s, begin, state);
    uint32_t sb[32];
#pragma unroll
    for (int k = 0; k < 32; ++k) sb[k] = ptx::pack<T>(state[2 * k], state[2 * k + 1]);
    for (int i = begin; i < end; ++i, ++it) {
#pragma unroll
      for (int x = 0; x < 2; ++x) {  // half x, the (2 it + x)-th of this block
        const uint32_t tiles = base + Map::stages + stage * Map::kStage;
        const uint64_t query = ptx::operand(tiles + Map::query, 16, 1024);
        const uint64_t key = ptx::operand(tiles + Map::key, Map::kHalf, 1024);
        const uint64_t score = ptx::operand<64>(base + Map::score + stage * Map::kScore, 16, 512);
        ptx::barrier_wait(base + Map::ready + 8 * stage, parity);
        float out[16];
        ptx::pin(sb);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < kDim / 16; ++k)
          ptx::wgmma_n32<T>(out, &sb[4 * k], query + (k / 4) * (Map::kHalf / 16) + (k % 4) * 2, k > 0);
        ptx::wgmma_commit();
        const uint32_t decay = base + Map::decay + stage * kDim * 4 + 8 * (lane % 4);
#pragma unroll
        for (int n = 0; n < 16; ++n) {  // while the matrix unit reads the 16-bit copy
          const float2 d = load_float2(decay + 32 * n);
          state[4 * n] *= d.x, state[4 * n + 1] *= d.y, state[4 * n + 2] *= d.x, state[4 * n + 3] *= d.y;
        }
        ptx::barrier_wait(base + Map::value_full + 8 * x, it & 1);  // one place a half
        uint32_t value[8];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          uint32_t v[4];
          ptx::load_matrix_x4_transposed(v, value_at + x * Map::kTile + k * 16 * 128);
#pragma unroll
          for (int m = 0; m < 4; ++m) value[4 * k + m] = v[m];
        }
        ptx::wgmma_wait<0>();
        ptx::pin(out);
        ptx::pin(state);
        ptx::pin(value);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < 2; ++k) ptx::wgmma_n128<T>(state, &value[4 * k], key + k * (2048 / 16), 1);
        ptx::wgmma_commit();
#pragma unroll
        for (int k = 0; k < 2; ++k) ptx::wgmma_n32<T>(out, &value[4 * k], score + k * 2, 1);
        ptx::wgmma_commit();
        // The products have taken the values, so their place can be given back.
        ptx::warp_arrive(base + Map::value_empty + 8 * x);
        ptx::wgmma_wait<0>();
        ptx::pin(state);
        ptx::pin(out);
        ptx::warp_arrive(base + Map::empty + 8 * stage);
#pragma unroll
        for (int k = 0; k < 32; ++k) sb[k] = ptx::pack<T>(state[2 * k], state[2 * k + 1]);
        if (++stage == Map::kStages) stage = 0, parity ^= 1;
        output.send(s, i, it, 4 * x, out);
      }
      if (i > begin) output.sum(s, i - 1, it - 1);
    }
    output.sum(s, end - 1, it - 1);
    chain.leave(s, end, state);
  }
}

}  // namespace statescope::cuda::chunked
