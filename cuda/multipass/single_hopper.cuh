#pragma once
// Passes 2 and 3 of forward in one on compute capability 9.0, for one subhead a head and few chains: nothing
// is summed over subheads, so o is made where the state is, and no state passes through device memory.
//   S of each chunk, r, and what it adds (states_hopper.cuh)
//   O^T = scale [e^gamma o (S^T Q^T) + (beta o r)^T P^T]       P from pass 1; V in place of beta o r
//   elsewhere
// A block is a chain and 64 columns of V, one warpgroup beside the one that asks for tiles: a step is 1,024
// cycles of the tensor cores at K = 128, and the product with Q fills the wait for the correction. A second
// warpgroup for o was slower: what the two hand over made 192 KB a step of shared memory's traffic, 1,500
// cycles.
#include "cuda/multipass/serial_hopper.cuh"

namespace statescope::cuda::multipass {

/// O^T of a chunk leaves, in 16 bits, pairs along tokens.
template <class T>
__device__ __forceinline__ void send_outputs(const SerialParameters& s, const Work& work, const Thread& at,
                                             uint32_t out, int i, const uint32_t (&words)[16]) {
  const Arguments& a = s.p.a;
  const Chunk chunk = work.chain.chunk(i);
  if (a.cu_seqlens && chunk.count < kChunk) {  // the next tokens are another sequence's
    uint16_t* const to = static_cast<uint16_t*>(a.o) + (chunk.first * a.heads + work.h) * a.value_dim +
                         work.column + 16 * (at.tid / 32) + at.tid % 32 / 4;
#pragma unroll
    for (int m = 0; m < 16; ++m) {
      const int token = 16 * (m / 4) + 8 * (m / 2 % 2) + at.c;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (token + half < chunk.count)
          to[int64_t{token + half} * a.heads * a.value_dim + 8 * (m % 2)] =
              static_cast<uint16_t>(words[m] >> 16 * half);
    }
    return;
  }
  if (at.tid == 0) ptx::stores_wait_read<0>();
  ptx::named_barrier(1, 128);  // o of the chunk before has left
#pragma unroll
  for (int k = 0; k < 4; ++k)
    ptx::store_matrix_x4_transposed(out + at.turned + k * 2048, words[4 * k], words[4 * k + 1],
                                    words[4 * k + 2], words[4 * k + 3]);
  ptx::fence_async_proxy();
  ptx::named_barrier(1, 128);
  if (at.tid == 0) {
    const int batch = a.cu_seqlens ? 0 : work.n;
    ptx::store_tile_5d(&s.result, out, 0, static_cast<int>(chunk.first - int64_t{batch} * a.seq_len),
                       work.column / 64, work.h, batch);
    ptx::stores_commit();
  }
}

template <class T, int kKey, bool kDelta>
__device__ __forceinline__ void advance_with_outputs(const SerialParameters& s, uint8_t* shared,
                                                     const Work& work) {
  const Arguments& a = s.p.a;
  const SerialMap& map = s.map;
  const uint32_t base = ptx::shared_address(shared), out = base + map.result;
  const Thread at;
  WarpgroupState<T, kKey> state;
  state.load(a.h0 ? a.h0 + work.state(a) : nullptr, a.value_dim, at);
  const int chunks = work.chain.chunks();
  int slot = 0, parity = 0;
  uint32_t ready[16];  // O^T of the chunk before
  if (chunks > 0) ptx::barrier_wait(full(map, base, slot), parity);
  for (int i = 0; i < chunks; ++i) {
    const uint32_t tiles = base + slot * map.stage;
    const float* const factors =
        reinterpret_cast<const float*>(shared + map.factors + slot * kFactorBytes) + at.c;
    const uint64_t query = ptx::operand(tiles + map.value / 2, 16, 1024);
    const uint64_t score = ptx::operand(tiles + map.score, kPanelBytes, 1024);
    constexpr int kSteps = kKey / 16;
    // Whatever does not wait for a product is done while one runs.
    uint32_t words[4 * kSteps], values[16], u[16];  // u: (e^(gamma_C - gamma) o beta o r)^T
    float2 g[8], f[8];
    float o[32];
    const float decay = factors[kChunk - 1 - at.c];
    state.round(words, 0);
    if constexpr (kDelta) {
      float product[32];
      state.scale(decay);
      ptx::wgmma_fence();
      times_tokens<T, kSteps>(product, words, ptx::operand(tiles, 16, 1024), true);
      times_tokens<T, kSteps>(o, words, query, true);
      load_values(values, tiles + map.value, at), load_factors(g, factors);
      if (i > 0) send_outputs<T>(s, work, at, out, i - 1, ready);
      ptx::wgmma_wait<1>();
      ptx::pin(product);
      subtract_scaled<T>(values, g, product);  // V - e^gamma o K S
      const int count = work.chain.chunk(i).count;
      if (count < kChunk) clear_tail(values, count, at.c);
      ptx::pin(values);
      ptx::wgmma_fence();
      times_tokens<T, 4>(product, values, ptx::operand(tiles + map.inverse, 16, 1024), true);
      ptx::wgmma_wait<1>();
      ptx::pin(o);
#pragma unroll
      for (int m = 0; m < 16; ++m) o[2 * m] *= g[m / 2].x, o[2 * m + 1] *= g[m / 2].y;
      load_factors(f, factors + kChunk), load_factors(g, factors + 2 * kChunk);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
#pragma unroll
      for (int m = 0; m < 16; ++m) {
        u[m] = ptx::pack<T>(f[m / 2].x * product[2 * m], f[m / 2].y * product[2 * m + 1]);
        values[m] = ptx::pack<T>(g[m / 2].x * product[2 * m], g[m / 2].y * product[2 * m + 1]);
      }
      state.add_tokens(u, tiles);
    } else {
      load_values(values, tiles + map.value, at), load_factors(f, factors + kChunk);
      scale_values<T>(u, f, values);
      state.scale(decay);
      ptx::wgmma_fence();
      times_tokens<T, kSteps>(o, words, query, true);
      state.add_tokens(u, tiles);
      load_factors(g, factors);
      if (i > 0) send_outputs<T>(s, work, at, out, i - 1, ready);
      ptx::wgmma_wait<1>();
      ptx::pin(o);
#pragma unroll
      for (int m = 0; m < 16; ++m) o[2 * m] *= g[m / 2].x, o[2 * m + 1] *= g[m / 2].y;
    }
    ptx::pin(o);
    ptx::pin(values);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) ptx::wgmma_n64_outer<T>(o, &values[4 * k], score + k * (2048 / 16), 1);
    ptx::wgmma_commit();
    const int last = slot;
    if (++slot == map.stages) slot = 0, parity ^= 1;
    if (i + 1 < chunks) ptx::barrier_wait(full(map, base, slot), parity);
    ptx::wgmma_wait<0>();
    state.pin();
    ptx::pin(o);
    ptx::warp_arrive(empty(map, base, last));
#pragma unroll
    for (int m = 0; m < 16; ++m) ready[m] = ptx::pack<T>(a.scale * o[2 * m], a.scale * o[2 * m + 1]);
  }
  if (chunks > 0) send_outputs<T>(s, work, at, out, chunks - 1, ready);
  if (a.ht) state.store(a.ht + work.state(a), a.value_dim, at);
  if (at.tid == 0) ptx::stores_wait();
}

template <class T, int kKey, bool kDelta>
__global__ void __launch_bounds__(serial_threads(64), 1)
    hopper_single(const __grid_constant__ SerialParameters s) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Work work(s);
  start_barriers(s, shared);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  if (warp == 4)
    feed<kDelta, false, true>(s, shared, work);
  else if (warp < 4)
    advance_with_outputs<T, kKey, kDelta>(s, shared, work);
}

}  // namespace statescope::cuda::multipass
