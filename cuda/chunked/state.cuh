#pragma once
// The state warpgroups: 64 columns of V each, all of K. They work transposed, so that what one product leaves
// in registers is an operand of the next as it stands, and the serial chain over chunks never passes through
// shared memory:
//   (K S)^T = S^T K^T,  V'^T = (V - e^gamma K S)^T A^T,  S^T <- e^gamma_C S^T + (e^(gamma_C - gamma) V')^T K
//   O^T = (Q S)^T e^gamma + V'^T P^T
#include "cuda/chunked/chain.cuh"
#include "cuda/chunked/output.cuh"

namespace statescope::cuda::chunked {

template <class T, bool kDelta, int kLogE>
__device__ __forceinline__ void advance(const Parameters& p, uint32_t base, Place& place, int worker, int e,
                                        int rank) {
  const int wg = __shfl_sync(~0u, threadIdx.x / 128, 0), tid = threadIdx.x % 128, warp = tid / 32,
            lane = tid % 32;
  const int c = 2 * (lane % 4);
  const Output<T, kLogE, SharedMap> output{p, base, rank, wg, tid};
  const Chain<kLogE> chain{p, worker, e, rank, wg, tid};
  // ldmatrix rows of v^T: matrix m = lane / 8 is (tokens + 8 (m / 2), values + 8 (m % 2))
  const int value_token = lane % 8 + 8 * (lane / 16), value_chunk = 2 * warp + (lane / 8) % 2;
  const uint32_t value_at = base + SharedMap::value + wg * SharedMap::kHalf + value_token * 128 +
                            ((value_chunk ^ (value_token & 7)) << 4);

  int slot = 0, parity = 0, it = 0, last_slot = 0;
  auto release = [&](int past) {  // everything that step `past` read
    const uint32_t slots = base + SharedMap::empty + 8 * last_slot,
                   scores = base + SharedMap::score_empty + 8 * (past % kScoreStages);
    if constexpr (kDelta)
      ptx::warp_arrive(slots, scores, base + SharedMap::inverse_empty + 8 * (past % kInverseStages));
    else
      ptx::warp_arrive(slots, scores);
  };
  while (next_segment<128>(p, place, 1 + wg)) {
    const Segment& s = place.segment;
    const int begin = __shfl_sync(~0u, s.begin, 0), end = __shfl_sync(~0u, s.end, 0);
    float state[64];
    chain.take_up(s, begin, state);
    uint32_t sb[32];
#pragma unroll
    for (int k = 0; k < 32; ++k) sb[k] = ptx::pack<T>(state[2 * k], state[2 * k + 1]);
    float out[32] = {};
    for (int i = begin; i < end; ++i, ++it) {
      const int sys = it % kScoreStages, vslot = it % kValueStages;
      const uint32_t gates = base + SharedMap::gates + slot * SharedMap::kGates + 4 * c;
      const uint32_t key_address = base + SharedMap::key + slot * SharedMap::kTile;
      const uint64_t key = ptx::operand(key_address, 16, 1024);
      const uint64_t query = ptx::operand(base + SharedMap::query + slot * SharedMap::kTile, 16, 1024);
      ptx::barrier_wait(base + SharedMap::full + 8 * slot, parity);
      float ks[32];
      if constexpr (kDelta) {
        ptx::pin(sb);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < kDim / 16; ++k)
          ptx::wgmma_n64<T>(ks, &sb[4 * k], key + (k / 4) * (SharedMap::kHalf / 16) + (k % 4) * 2, k > 0);
        ptx::wgmma_commit();
      }
      if (i > begin) {
        release(it - 1);
        output.send(s, i - 1, it - 1, 0, out);
      }
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k)
        ptx::wgmma_n64<T>(out, &sb[4 * k], query + (k / 4) * (SharedMap::kHalf / 16) + (k % 4) * 2, k > 0);
      ptx::wgmma_commit();

      const float decay = load_float2(gates + 256 + 4 * (kChunk - 2 - c)).y;
#pragma unroll
      for (int k = 0; k < 64; ++k) state[k] *= decay;  // while the matrix unit reads the 16-bit copy
      ptx::barrier_wait(base + SharedMap::value_full + 8 * vslot, (it / kValueStages) & 1);
      uint32_t fresh[16], decayed[16];  // V'^T and V'^T e^{gamma_C - gamma}, as operands
      ptx::wgmma_wait<0>();
      ptx::pin(out);
      if constexpr (kDelta) {
        ptx::pin(ks);
        uint32_t rest[16];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          uint32_t v[4];
          ptx::load_matrix_x4_transposed(v, value_at + vslot * SharedMap::kTile + k * 16 * 128);
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const float2 eg = load_float2(gates + 256 + 4 * (16 * k + 8 * (m / 2)));
            const float2 x = ptx::unpack<T>(v[m]);
            rest[4 * k + m] =
                ptx::pack<T>(x.x - eg.x * ks[8 * k + 2 * m], x.y - eg.y * ks[8 * k + 2 * m + 1]);
          }
        }
        ptx::barrier_wait(base + SharedMap::inverse_full + 8 * (it % kInverseStages),
                          (it / kInverseStages) & 1);
        const uint64_t inverse =
            ptx::operand(base + SharedMap::inverse + it % kInverseStages * SharedMap::kSquare, 16, 1024);
        ptx::pin(rest);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) ptx::wgmma_n64<T>(ks, &rest[4 * k], inverse + k * 2, k > 0);
        ptx::wgmma_commit();
        // The products have taken the values, so their place can be given back.
        ptx::warp_arrive(base + SharedMap::value_empty + 8 * vslot);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          uint32_t v[4];
          ptx::load_matrix_x4_transposed(v, value_at + vslot * SharedMap::kTile + k * 16 * 128);
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const float2 egc = load_float2(gates + 512 + 4 * (16 * k + 8 * (m / 2)));
            const float2 x = ptx::unpack<T>(v[m]);
            fresh[4 * k + m] = v[m];
            decayed[4 * k + m] = ptx::pack<T>(x.x * egc.x, x.y * egc.y);
          }
        }
      }
      if (i > begin) output.sum(s, i - 1, it - 1);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float2 eg = load_float2(gates + 256 + 32 * j);
        out[4 * j] *= eg.x, out[4 * j + 1] *= eg.y, out[4 * j + 2] *= eg.x, out[4 * j + 3] *= eg.y;
      }
      if constexpr (kDelta) {
        ptx::wgmma_wait<0>();
        ptx::pin(ks);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const float2 egc = load_float2(gates + 512 + 32 * j);
          fresh[2 * j] = ptx::pack<T>(ks[4 * j], ks[4 * j + 1]),
                    fresh[2 * j + 1] = ptx::pack<T>(ks[4 * j + 2], ks[4 * j + 3]);
          decayed[2 * j] = ptx::pack<T>(ks[4 * j] * egc.x, ks[4 * j + 1] * egc.y);
          decayed[2 * j + 1] = ptx::pack<T>(ks[4 * j + 2] * egc.x, ks[4 * j + 3] * egc.y);
        }
      }
      ptx::barrier_wait(base + SharedMap::score_full + 8 * sys, (it / kScoreStages) & 1);
      const uint64_t key_outer = ptx::operand(key_address, SharedMap::kHalf, 1024);
      const uint64_t score = ptx::operand(base + SharedMap::score + sys * SharedMap::kSquare, 16, 1024);
      ptx::pin(state);
      ptx::pin(out);
      ptx::pin(fresh);
      ptx::pin(decayed);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) ptx::wgmma_n128<T>(state, &decayed[4 * k], key_outer + k * (2048 / 16), 1);
      ptx::wgmma_commit();
#pragma unroll
      for (int k = 0; k < 4; ++k) ptx::wgmma_n64<T>(out, &fresh[4 * k], score + k * 2, 1);
      ptx::wgmma_commit();
      if constexpr (!kDelta) ptx::warp_arrive(base + SharedMap::value_empty + 8 * vslot);
      ptx::wgmma_wait<0>();
      ptx::pin(state);
      ptx::pin(out);
#pragma unroll
      for (int k = 0; k < 32; ++k) sb[k] = ptx::pack<T>(state[2 * k], state[2 * k + 1]);
      last_slot = slot;
      if (++slot == kStages) slot = 0, parity ^= 1;
    }
    release(it - 1);
    output.send(s, end - 1, it - 1, 0, out);
    output.sum(s, end - 1, it - 1);
    chain.leave(s, end, state);
  }
}

}  // namespace statescope::cuda::chunked
