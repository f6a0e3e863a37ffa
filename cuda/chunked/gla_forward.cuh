#pragma once
// The chunked forward kernel of gla (sm_90a), one subhead a block, one head a cluster:
//   P_ij = sum_c Q_ic K_jc e^(gamma_ic - gamma_jc), i >= j
//   O = scale sum_e [(Q o e^gamma) S + P V]
//   S <- diag(e^gamma_C) S + (K o e^(gamma_C - gamma))^T V
// in half chunks of 32 tokens. Roles, by warp:
//   0-7    two state warpgroups, the serial chain                     (gla_state.cuh)
//   8-15   two gate warpgroups, one for each half of a chunk          (gla_gates.cuh)
//   16, 17 feeders: queries, keys and gates; values                   (here)
// Registers a thread: 152 for the state, 72 at the gates (32 of K, rest of the eight tokens at work), 32 for
// feeders. What limits it is the gates' arithmetic, about 2,000 issue cycles a chunk and block, and 1.14 GB.
#include "cuda/chunked/gla_gates.cuh"
#include "cuda/chunked/gla_state.cuh"

namespace statescope::cuda::chunked {

/// Walks over the chunks of this worker, a warp together.
struct ChunkWalk {
  const Parameters& p;
  Place& place;
  int chunk = 0, end = 0;
  __device__ __forceinline__ void next() {
    if (++chunk < end) return;
    next_segment<32>(p, place, 0);
    chunk = place.segment.begin, end = place.segment.end;
  }
  /// Token of the tensors' token axis where half x of the chunk begins, and the row of their batch axis.
  __device__ __forceinline__ int token(int x) const {
    return (p.cu_seqlens ? place.segment.first_row : 0) + chunk * kChunk + x * GlaMap::kHalfTokens;
  }
  __device__ __forceinline__ int batch() const { return p.cu_seqlens ? 0 : place.segment.n; }
};

__device__ __forceinline__ void feed_tokens(ChunkWalk walk, uint8_t* shared, uint32_t base, int e,
                                            int chunks) {
  using Map = GlaMap;
  const Parameters& p = walk.p;
  const bool leader = threadIdx.x % 32 == 0;
  int stage = 0, parity = 1;
  for (int it = 0; it < chunks; ++it) {
    walk.next();
    const Segment& s = walk.place.segment;
    for (int x = 0; x < 2; ++x) {
      if (leader) {
        const uint32_t full = base + Map::full + 8 * stage, tiles = base + Map::stages + stage * Map::kStage;
        const int t = walk.token(x), row = (s.h * p.qk_heads / p.heads) * p.expansion + e;
        ptx::barrier_wait(base + Map::empty + 8 * stage, parity);
        reinterpret_cast<int*>(shared + Map::tokens)[stage] =
            s.tokens - walk.chunk * kChunk - x * Map::kHalfTokens;
        ptx::barrier_arrive_expect(full, Map::kStage);
        ptx::copy_tile_5d(tiles + Map::gate, &p.gate, full, 0, t, 0, s.h * p.expansion + e, walk.batch());
        ptx::copy_tile_5d(tiles + Map::key, &p.key, full, 0, t, 0, row, walk.batch());
        ptx::copy_tile_5d(tiles + Map::query, &p.query, full, 0, t, 0, row, walk.batch());
      }
      __syncwarp();
      if (++stage == Map::kStages) stage = 0, parity ^= 1;
    }
  }
}
__device__ __forceinline__ void feed_values(ChunkWalk walk, uint32_t base, int chunks) {
  using Map = GlaMap;
  for (int it = 0; it < chunks; ++it) {
    walk.next();
    if (threadIdx.x % 32 == 0) {
      for (int x = 0; x < 2; ++x) {
        const uint32_t full = base + Map::value_full + 8 * x;
        ptx::barrier_wait(base + Map::value_empty + 8 * x, (it & 1) ^ 1);
        ptx::barrier_arrive_expect(full, Map::kTile);
        ptx::copy_tile_5d(base + Map::value + x * Map::kTile, &walk.p.value, full, 0, walk.token(x), 0,
                          walk.place.segment.h, walk.batch());
      }
    }
    __syncwarp();
  }
}

constexpr int kStateRegisters = 152, kGateRegisters = 72, kFeedRegisters = 32;
// setmaxnreg shares out what the block has been given at launch (65,536 over its threads, in eights): more
// would wait for ever.
static_assert(2 * kStateRegisters + 2 * kGateRegisters + kFeedRegisters <=
              GlaMap::kThreads / 128 * (65536 / GlaMap::kThreads / 8 * 8));

template <class T, int kLogE>
__global__ void __launch_bounds__(GlaMap::kThreads, 1) gla_forward(const __grid_constant__ Parameters p) {
  using Map = GlaMap;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = ptx::shared_address(shared);
  if (base % 1024 != 0) __trap();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int rank = blockIdx.x, e = p.first_subhead + rank;
  const int worker = gridDim.y - 1 - blockIdx.y;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Map::kStages; ++i)
      ptx::barrier_init(base + Map::full + 8 * i, 1), ptx::barrier_init(base + Map::ready + 8 * i, 128),
          ptx::barrier_init(base + Map::empty + 8 * i, 8 * ptx::kWarpArrivals);
    for (int i = 0; i < Map::kValueStages; ++i)
      ptx::barrier_init(base + Map::value_full + 8 * i, 1),
          ptx::barrier_init(base + Map::value_empty + 8 * i, 8 * ptx::kWarpArrivals);
    for (int i = 0; i < 4; ++i)
      ptx::barrier_init(base + Map::receive_full + 8 * i, 1),
          ptx::barrier_init(base + Map::receive_free + 8 * i, 4 << kLogE);
    ptx::barrier_init_fence();
  }
  __syncthreads();
  if (kLogE > 0) ptx::cluster_sync();
  Place* const places = reinterpret_cast<Place*>(shared + Map::places);
  // of state warpgroups 0 and 1 and the two feeders
  if (threadIdx.x % 128 == 0 && warp < 12) places[warp / 4].walk.start(p, worker, gridDim.y);
  if (threadIdx.x == 32 * 17) places[3].walk.start(p, worker, gridDim.y);
  __syncthreads();
  const int chunks = __shfl_sync(~0u, places[0].walk.stop - places[0].walk.position, 0);
  __syncthreads();
  if (warp < 8) {
    ptx::registers_raise<kStateRegisters>();
    advance_gla<T, kLogE>(p, base, places[warp / 4], worker, e, rank);
  } else if (warp < 16) {
    ptx::registers_lower<kGateRegisters>();
    gate<T>(shared, base, chunks);
  } else {
    ptx::registers_lower<kFeedRegisters>();
    if (warp == 16)
      feed_tokens(ChunkWalk{p, places[2]}, shared, base, e, chunks);
    else if (warp == 17)
      feed_values(ChunkWalk{p, places[3]}, base, chunks);
    __syncwarp();
  }
  if (kLogE > 0) ptx::cluster_sync();
}

template <class T>
const void* gla_kernel(int log_cluster) {
  const void* const kernels[4] = {
      reinterpret_cast<const void*>(gla_forward<T, 0>), reinterpret_cast<const void*>(gla_forward<T, 1>),
      reinterpret_cast<const void*>(gla_forward<T, 2>), reinterpret_cast<const void*>(gla_forward<T, 3>)};
  return kernels[log_cluster];
}

}  // namespace statescope::cuda::chunked
