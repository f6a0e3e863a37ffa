#pragma once
// The two ends of a worker's stay with a chain: where the state of a warpgroup comes from and where it goes.
// A thread's part of S^T: rows v = 64 wg + 16 warp + lane / 4 (+ 8), columns k = 8 n + 2 (lane % 4) (+ 1), at
// state[4 n + 2 (row + 8) + (column + 1)].
#include "cuda/chunked/schedule.cuh"

namespace statescope::cuda::chunked {

__device__ __forceinline__ float2 load_float2(uint32_t address) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  return v;
}

/// Not a value that fresh or poisoned memory has; the reader takes it back, so launches need not clear the
/// flags.
constexpr int kReady = 0x5CA1AB1E;

template <int kLogE>
struct Chain {
  const Parameters& p;
  int worker, e, rank, wg, tid;

  __device__ __forceinline__ size_t state_at(const Segment& s) const {
    return ((size_t(s.n) * p.heads + s.h) * p.expansion + e) * kDim * kDim + 64 * wg + 16 * (tid / 32) +
           tid % 32 / 4;
  }
  /// The worker on the right has begun this chain, or it begins with h0.
  __device__ __forceinline__ void take_up(const Segment& s, int begin, float (&state)[64]) const {
    const int c = 2 * (tid % 4);
    if (begin > 0) {
      const int from = ((worker + 1) * (1 << kLogE) + rank) * 2 + wg;
      if (tid == 0) {
        while (ptx::load_acquire(p.handoff_ready + from) != kReady) {
        }
        p.handoff_ready[from] = 0;
      }
      role_sync<128>(1 + wg);
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const float4 x = __ldcg(p.handoff + (size_t(from) * 16 + i) * 128 + tid);
        state[4 * i] = x.x, state[4 * i + 1] = x.y, state[4 * i + 2] = x.z, state[4 * i + 3] = x.w;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int k = 8 * (i / 4) + c + i % 2, v = 8 * (i / 2 % 2);
        state[i] = p.h0 ? p.h0[state_at(s) + size_t(k) * kDim + v] : 0.f;
      }
    }
  }
  /// The worker on the left goes on, or the chain ends here.
  __device__ __forceinline__ void leave(const Segment& s, int end, const float (&state)[64]) const {
    const int c = 2 * (tid % 4);
    if (end < s.chunks) {
      const int to = (worker * (1 << kLogE) + rank) * 2 + wg;
#pragma unroll
      for (int i = 0; i < 16; ++i)
        __stcg(p.handoff + (size_t(to) * 16 + i) * 128 + tid,
               float4{state[4 * i], state[4 * i + 1], state[4 * i + 2], state[4 * i + 3]});
      __threadfence();
      role_sync<128>(1 + wg);
      if (tid == 0) ptx::store_release(p.handoff_ready + to, kReady);
    } else if (p.ht) {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int k = 8 * (i / 4) + c + i % 2, v = 8 * (i / 2 % 2);
        p.ht[state_at(s) + size_t(k) * kDim + v] = state[i];
      }
    }
  }
};

}  // namespace statescope::cuda::chunked
