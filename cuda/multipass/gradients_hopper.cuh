#pragma once
// Pass 4 on compute capability 9.0: what gradients.cuh says, from warpgroup products and the copy engine.
//
// At K = V = 128 a chunk of a subhead of gated_delta is 3 products of 64 x 128 x 128 with the states and 3.5
// of half that size with and among the squares (P and G are made again: that is 2 of the halves, and 16 KB
// that need not be read): 6.5 x 512 cycles of the tensor cores. It reads 144 KB (do, r, dr, Q, K 16 each, S,
// D 32) and writes 32, 8,000 and 1,800 cycles of a multiprocessor's share of device memory. So tiles must
// always be on their way: they pass through a ring of 12 slots of 16 KB, nine a chunk, in the order in which
// they are done with, and a block walks chunks of subheads, the subheads of a head side by side on neighbours
// so that do is read once. Shared memory sees about 6,000 cycles: 3,300 of factors, 1,150 filled, the rest
// outputs and dot products.
//   warps 0-7    two warpgroups, half of the channels each (gradients_slab.cuh): 96 accumulators
//   warps 8-11   the squares (gradients_squares.cuh): 64 accumulators and 32 of products
//   warp 12      asks for tiles;  warp 13 adds up dg and dbeta;  warp 14 sends dq and dk
// Shared memory: ring 196,608 B; M^T and N + N^T 16,384; gates of four chunks 2,176; terms of dg and dbeta of
// two 4,672; barriers. dq and dk leave through the slots of Q and K,
// which the copy engine empties: stores of the slabs' own waited 3,600 cycles a chunk.
#include "cuda/multipass/gradients_slab.cuh"
#include "cuda/multipass/gradients_squares.cuh"

namespace statescope::cuda::multipass {

/// One lane: the tiles of this block's chunks.
template <int kKey, int kValue, bool kDelta>
__device__ __forceinline__ void feed_tiles(const GradientParameters& x, uint8_t* shared, uint32_t base) {
  using Tiles = Ring<kKey, kValue, kDelta>;
  constexpr HopperGradientMap kMap = Tiles::kMap;
  const Arguments& a = x.p.a;
  const int group = a.heads / a.qk_heads;
  Tiles ring{shared, base};
  const auto open = [&](int tile, uint32_t bytes) {
    ptx::barrier_wait(ring.empty(tile), ring.parity(tile) ^ 1);
    ptx::barrier_arrive_expect(ring.full(tile), bytes);
  };
  const auto take_task = [&](const Task& task) {
    ptx::barrier_wait(base + kMap.task_empty + 8 * ring.task_stage(), ring.task_parity() ^ 1);
    ring.task() = task;
    return base + kMap.task_full + 8 * ring.task_stage();
  };
  for (int item = blockIdx.x; item < x.items; item += gridDim.x) {
    const int e = item % a.expansion, qk_head = item / a.expansion % a.qk_heads,
              number = item / a.expansion / a.qk_heads;
    const Chunk chunk = chunk_of(a, number);
    if (chunk.count == 0) continue;
    const int first = static_cast<int>(chunk.first), batch = a.cu_seqlens ? 0 : first / a.seq_len,
              token = a.cu_seqlens ? first : first % a.seq_len, keys = qk_head * a.expansion + e;
    for (int h = qk_head * group; h < (qk_head + 1) * group; ++h, ring.advance()) {
      const int index = (number * a.heads + h) * a.expansion + e;
      const uint32_t ready = take_task(
          {first, chunk.count, h, qk_head, e, h == qk_head * group, h + 1 == (qk_head + 1) * group, 0});
      ptx::barrier_arrive_expect(ready, kGateBytes);
      ptx::copy_bytes(base + kMap.tasks + ring.task_stage() * kTaskBytes,
                      x.p.s.gates + int64_t{index} * 2 * kChunk, kGateBytes, ready);
      const auto rows = [&](int tile, const CUtensorMap& map, int columns, int t, int head, int b) {
        open(tile, rows_bytes(columns));
        ptx::copy_tile_5d(ring.address(tile), &map, ring.full(tile), 0, t, 0, head, b);
      };
      const auto panels = [&](int tile, const CUtensorMap& map) {
        for (int panel = 0; panel < Tiles::kPanels; ++panel) {
          open(tile + panel, kValue * 128);
          ptx::copy_tile_5d(ring.address(tile + panel), &map, ring.full(tile + panel), 0, index * kValue,
                            panel, 0, 0);
        }
      };
      rows(Tiles::kOutput, x.output, kValue, token, h, batch);
      panels(Tiles::kState, x.state);
      panels(Tiles::kGradient, x.gradient);
      if constexpr (kDelta) {
        rows(Tiles::kError, x.error, kValue, index * kChunk, 0, 0);
        rows(Tiles::kCorrection, x.correction, kValue, index * kChunk, 0, 0);
      } else {
        rows(Tiles::kError, x.error, kValue, token, h, batch);
      }
      rows(Tiles::kKeys, x.key, kKey, token, keys, batch);
      rows(Tiles::kQueries, x.query, kKey, token, keys, batch);
    }
  }
  ptx::barrier_arrive(take_task({0, -1}));
}

/// One warp: dg and dbeta.
template <int kKey, int kValue, bool kDelta>
__device__ __forceinline__ void collect(const Parameters& p, uint8_t* shared, uint32_t base) {
  using Tiles = Ring<kKey, kValue, kDelta>;
  const Arguments& a = p.a;
  const int lane = threadIdx.x % 32;
  Tiles ring{shared, base};
  struct Sums {
    const GateTerms& x;
    int count;
    // Tokens past the end are the next sequence's.
    __device__ float before(int t) const { return t < count ? x.before[0][t] + x.before[1][t] : 0.f; }
    __device__ float after(int t) const { return x.after[0][t] + x.after[1][t]; }
    __device__ float ways(int t) const { return x.ways[0][t] + x.ways[1][t] + x.ways[2][t] + x.ways[3][t]; }
    __device__ float pairs(int t) const { return x.pairs[t]; }
  };
  for (; ring.next(); ring.advance()) {
    ptx::barrier_wait(base + Tiles::kMap.terms_full + 8 * ring.term_stage(), ring.term_parity());
    if (kDelta || a.g) {
      const GateTerms& terms = ring.terms();
      const float* const gamma = ring.gamma();
      const Task& task = ring.task();
      float through = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) through += terms.through[i];
      store_gate_gradients<kDelta>(
          a, (int64_t{task.first} * a.heads + task.head) * a.expansion + task.subhead, task.count, lane,
          gamma + kChunk, through * ptx::exp2_fast(gamma[kChunk - 1]), Sums{terms, task.count});
    }
    ptx::warp_arrive(base + Tiles::kMap.terms_empty + 8 * ring.term_stage());
    ring.release_task();
  }
}

/// One warp: dq and dk of a chunk, once both halves lie in the slots of Q and K.
template <int kKey, int kValue, bool kDelta>
__device__ __forceinline__ void send(const GradientParameters& x, uint8_t* shared, uint32_t base) {
  using Tiles = Ring<kKey, kValue, kDelta>;
  const Arguments& a = x.p.a;
  const int lane = threadIdx.x % 32;
  Tiles ring{shared, base};
  // The slots of a chunk's results are wanted by the chunk after the next: until this warp has given them
  // back, its barriers stay as they are.
  static_assert(Tiles::kMap.slots <= 2 * Tiles::kMap.tiles);
  for (; ring.next(); ring.advance()) {
    for (int group = 0; group < 2; ++group)
      ptx::barrier_wait(ring.results_full(group), ring.results_parity());
    const Task task = ring.task();
    const uint32_t keys = ring.address(Tiles::kKeys), queries = ring.address(Tiles::kQueries);
    const int head = task.qk_head * a.expansion + task.subhead;
    if (task.last_head && task.count < kChunk &&
        a.cu_seqlens) {  // the next sequence's tokens stay as they are
      for (int i = lane; i < task.count * (kKey / 8); i += 32) {
        const int row = i / (kKey / 8), piece = i % (kKey / 8);
        const int64_t to = key_row(a, task.first + row, task.qk_head, task.subhead) * (kKey / 8) + piece;
        const uint32_t at = piece / 8 * (kChunk * 128) + row * 128 + ((piece % 8 ^ row % 8) << 4);
        static_cast<uint4*>(a.dq)[to] = ptx::load_shared_uint4(queries + at);
        static_cast<uint4*>(a.dk)[to] = ptx::load_shared_uint4(keys + at);
      }
      ptx::fence_async_proxy();
    } else if (task.last_head && lane == 0) {
      const int batch = a.cu_seqlens ? 0 : task.first / a.seq_len, token = task.first - batch * a.seq_len;
      ptx::store_tile_5d(&x.query_gradient, queries, 0, token, 0, head, batch);
      ptx::store_tile_5d(&x.key_gradient, keys, 0, token, 0, head, batch);
      ptx::stores_commit();
      ptx::stores_wait_read<0>();
    }
    __syncwarp();
    // for the slab warps
    if (lane < kSlabWarps)
      for (uint32_t i = 0; i < ptx::kWarpArrivals; ++i)
        ptx::barrier_arrive(ring.empty(Tiles::kKeys)), ptx::barrier_arrive(ring.empty(Tiles::kQueries));
    ring.release_task();
  }
  ptx::stores_wait();
}

template <class T, int kKey, int kValue, bool kDelta>
__global__ void __launch_bounds__(kHopperThreads, 1)
    gradients_hopper(const __grid_constant__ GradientParameters x) {
  extern __shared__ __align__(1024) uint8_t shared[];
  constexpr HopperGradientMap kMap = hopper_gradient_map(kKey, kValue, kDelta);
  const uint32_t base = ptx::shared_address(shared);
  if (base % 1024 != 0) __trap();
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kMap.slots; ++i)
      ptx::barrier_init(base + kMap.full + 8 * i, 1),
          ptx::barrier_init(base + kMap.empty + 8 * i, kConsumers);
    for (int i = 0; i < kTaskStages; ++i)
      ptx::barrier_init(base + kMap.task_full + 8 * i, 1),
          ptx::barrier_init(base + kMap.task_empty + 8 * i, kConsumers + 2 * ptx::kWarpArrivals);
    for (int i = 0; i < kTermStages; ++i)
      ptx::barrier_init(base + kMap.terms_full + 8 * i, kConsumers),
          ptx::barrier_init(base + kMap.terms_empty + 8 * i, ptx::kWarpArrivals);
    ptx::barrier_init(base + kMap.squares_full, kScoreWarps * ptx::kWarpArrivals);
    ptx::barrier_init(base + kMap.squares_empty, kSlabWarps * ptx::kWarpArrivals);
    ptx::barrier_init(base + kMap.tiles_read, kScoreWarps * ptx::kWarpArrivals);
    for (int i = 0; i < 2 * kResultStages; ++i)
      ptx::barrier_init(base + kMap.results_full + 8 * i, kSlabWarps / 2 * ptx::kWarpArrivals);
    ptx::barrier_init_fence();
  }
  __syncthreads();
  if (warp < kSlabWarps) {
    ptx::registers_raise<160>();
    make_slabs<T, kKey, kValue, kDelta>(x.p, shared, base);
  } else if (warp < kSlabWarps + kScoreWarps) {
    ptx::registers_raise<160>();
    make_squares<T, kKey, kValue, kDelta>(x.p, shared, base);
  } else {
    ptx::registers_lower<32>();
    if (warp == 12) {
      if (threadIdx.x % 32 == 0) feed_tiles<kKey, kValue, kDelta>(x, shared, base);
    } else if (warp == 13) {
      collect<kKey, kValue, kDelta>(x.p, shared, base);
    } else if (warp == 14) {
      send<kKey, kValue, kDelta>(x, shared, base);
    }
    __syncwarp();
  }
}

template <class T>
const void* gradients_hopper_kernel(bool delta, int key_dim, int value_dim) {
  const auto pointer = [](void (*kernel)(GradientParameters)) {
    return reinterpret_cast<const void*>(kernel);
  };
  const void* const kernels[2][2][2] = {
      {{pointer(gradients_hopper<T, 64, 64, false>), pointer(gradients_hopper<T, 64, 128, false>)},
       {pointer(gradients_hopper<T, 128, 64, false>), pointer(gradients_hopper<T, 128, 128, false>)}},
      {{pointer(gradients_hopper<T, 64, 64, true>), pointer(gradients_hopper<T, 64, 128, true>)},
       {pointer(gradients_hopper<T, 128, 64, true>), pointer(gradients_hopper<T, 128, 128, true>)}}};
  return kernels[delta][key_dim / 128][value_dim / 128];
}

}  // namespace statescope::cuda::multipass
