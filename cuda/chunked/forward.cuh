#pragma once
// The chunked forward kernel (sm_90a), one subhead a block, one head a cluster:
//   A = (I + tril(diag(beta) K K^T o Gamma, -1))^{-1} diag(beta)      gated_delta; other rules V' = V
//   V' = A (V - e^gamma o K S)
//   O = scale sum_e [(Q e^gamma) S + (Q K^T o Gamma o causal) V']
//   S <- e^gamma_C S + (K e^(gamma_C - gamma))^T V'
// with gamma the cumulated gate within a chunk of 64 tokens, Gamma_ij = e^(gamma_i - gamma_j). Roles, by
// warp:
//   0-7    two state warpgroups, the serial chain            (state.cuh)
//   8, 9   inverters, a chunk each in turn                   (inverse.cuh)
//   11     the feeder: copy engine and gates                 (feeder.cuh)
//   12-15  the score warpgroup                               (score.cuh)
// They meet at barriers in shared memory (cuda_chunked.h has the map). Registers a thread: 192 for the state
// (64 accumulators of S, 32 of its 16-bit copy, 32 of O, 32 of the product at work), 64 for the rest.
#include "cuda/chunked/feeder.cuh"
#include "cuda/chunked/inverse.cuh"
#include "cuda/chunked/score.cuh"
#include "cuda/chunked/state.cuh"

namespace statescope::cuda::chunked {

template <class T, bool kDelta, int kLogE>
__global__ void __launch_bounds__(kThreads, 1) forward(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = ptx::shared_address(shared);
  if (base % 1024 != 0) __trap();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int rank = blockIdx.x, e = p.first_subhead + rank;
  const int worker = gridDim.y - 1 - blockIdx.y;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i)
      ptx::barrier_init(base + SharedMap::full + 8 * i, 1 + ptx::kWarpArrivals),
          ptx::barrier_init(base + SharedMap::empty + 8 * i, 8 * ptx::kWarpArrivals);
    for (int i = 0; i < kValueStages; ++i)
      ptx::barrier_init(base + SharedMap::value_full + 8 * i, 1),
          ptx::barrier_init(base + SharedMap::value_empty + 8 * i, 8 * ptx::kWarpArrivals);
    for (int i = 0; i < kInverseStages; ++i)
      ptx::barrier_init(base + SharedMap::inverse_full + 8 * i, ptx::kWarpArrivals),
          ptx::barrier_init(base + SharedMap::inverse_empty + 8 * i, 8 * ptx::kWarpArrivals);
    for (int i = 0; i < kScoreStages; ++i)
      ptx::barrier_init(base + SharedMap::score_full + 8 * i, 128),
          ptx::barrier_init(base + SharedMap::score_empty + 8 * i, 8 * ptx::kWarpArrivals),
          ptx::barrier_init(base + SharedMap::scratch_full + 8 * i, 128),
          ptx::barrier_init(base + SharedMap::scratch_empty + 8 * i, ptx::kWarpArrivals);
    for (int i = 0; i < 4; ++i)
      ptx::barrier_init(base + SharedMap::receive_full + 8 * i, 1),
          ptx::barrier_init(base + SharedMap::receive_free + 8 * i, 4 << kLogE);
    ptx::barrier_init_fence();
  }
  __syncthreads();
  if (kLogE > 0) ptx::cluster_sync();
  Place* const places = reinterpret_cast<Place*>(shared + SharedMap::places);
  if (threadIdx.x % 128 == 0 && warp < 12)
    places[warp / 4].walk.start(p, worker, gridDim.y);  // of state warpgroups 0 and 1 and the feeder
  __syncthreads();
  const int chunks = __shfl_sync(~0u, places[0].walk.stop - places[0].walk.position, 0);
  __syncthreads();
  if (warp < 8) {
    ptx::registers_raise<192>();
    advance<T, kDelta, kLogE>(p, base, places[warp / 4], worker, e, rank);
  } else if (warp < 12) {
    ptx::registers_lower<64>();
    if (warp < 8 + kInverters) {
      if constexpr (kDelta) invert<T>(shared, base, chunks, warp - 8);
    } else if (warp == 11) {
      feed<kDelta>(Feeder<kDelta>{p, base, places[2], e, int(threadIdx.x % 32), 0, 0}, chunks);
    }
    __syncwarp();
  } else {
    ptx::registers_lower<64>();
    score<T, kDelta>(shared, base, chunks);
  }
  if (kLogE > 0) ptx::cluster_sync();
}

template <class T>
const void* forward_kernel(bool gated_delta, int log_cluster) {
  const void* const kernels[2][4] = {
      {reinterpret_cast<const void*>(forward<T, false, 0>),
       reinterpret_cast<const void*>(forward<T, false, 1>),
       reinterpret_cast<const void*>(forward<T, false, 2>),
       reinterpret_cast<const void*>(forward<T, false, 3>)},
      {reinterpret_cast<const void*>(forward<T, true, 0>), reinterpret_cast<const void*>(forward<T, true, 1>),
       reinterpret_cast<const void*>(forward<T, true, 2>),
       reinterpret_cast<const void*>(forward<T, true, 3>)}};
  return kernels[gated_delta][log_cluster];
}

}  // namespace statescope::cuda::chunked
