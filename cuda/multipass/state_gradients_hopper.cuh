#pragma once
// Pass 3 on compute capability 9.0, from the last chunk to the first (state_gradients.cuh has the equation):
//   dU^T = scale dO^T P + (dS^T K^T) o e^(gamma_C - gamma),  dR^T = (beta o dU)^T A    (dR = dU for the
//   others) dS^T <- e^gamma_C dS^T + scale (e^gamma o dO)^T Q - (e^gamma o dR)^T K
// dO^T P and the product with Q do not wait for the chain and run in its shadow. 8 x 64 x 64 x 128
// multiply-adds a warpgroup and step at K = 128, 1,024 cycles of the tensor cores; two stages of tiles are
// 130 KB, and three without P are 168.
#include "cuda/multipass/serial_hopper.cuh"

namespace statescope::cuda::multipass {

/// P^T of a chunk to its place: rows j of this warpgroup, columns i >= j, half of them at a time
/// for the registers; the rest stays zero.
template <class T, int kKey>
__device__ __forceinline__ void make_scores(uint32_t tiles, const SerialMap& map, uint32_t score,
                                            const float* gamma, int warp, const Lane& at) {
  const uint64_t keys = ptx::operand(tiles, 16, 1024),
                 queries = ptx::operand(tiles + map.value / 2, 16, 1024);
  const int row = 16 * warp + at.r;
#pragma unroll 1
  for (int columns = 0; columns < kChunk; columns += 32) {
    float x[16];
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKey / 16; ++k) {
      const uint32_t step = k / 4 * (kPanelBytes / 16) + k % 4 * 2;
      ptx::wgmma_shared<T, 32, false, false>(x, keys + step, queries + columns * (128 / 16) + step, k > 0);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::pin(x);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int first = columns + 8 * n;
      if (first / 16 < warp) continue;
      const float2 gamma_i = two(gamma + first + at.c);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int from = first + at.c - (row + 8 * half);  // masked: above, factors may be infinite
        const float gamma_j = gamma[row + 8 * half];
        const float left = ptx::exp2_fast(gamma_i.x - gamma_j) * x[4 * n + 2 * half],
                    right = ptx::exp2_fast(gamma_i.y - gamma_j) * x[4 * n + 2 * half + 1];
        ptx::store_shared(place(score, at.element, 16 * warp + 8 * half, first),
                          ptx::pack<T>(from >= 0 ? left : 0.f, from + 1 >= 0 ? right : 0.f));
      }
    }
  }
}
/// The third warpgroup: asks for tiles, and makes P of those that have come.
template <class T, int kKey, bool kDelta>
__device__ __forceinline__ void feed_and_score(const SerialParameters& s, uint8_t* shared, const Work& work) {
  const SerialMap& map = s.map;
  const uint32_t base = ptx::shared_address(shared);
  const int thread = threadIdx.x % 128, warp = __shfl_sync(~0u, thread / 32, 0);
  for (int i = thread; i < 2 * int(kSquareBytes) / 4; i += 128)
    ptx::store_shared(base + map.made + 4 * i, 0u);
  ptx::named_barrier(3, 128);
  Feeder<kDelta, true, true, true> feeder(s, shared, work);
  const int chunks = work.chain.chunks();
  if (warp == 0)
    while (!feeder.done() && feeder.it + 1 < map.stages) feeder.step();
  int slot = 0, parity = 0, used = 0, used_parity = 0;  // used: of the chunk before the last
  for (int it = 0; it < chunks; ++it) {
    const uint32_t arrived = full(map, base, slot);
    bool fed = feeder.done();
    if (warp == 0)
      while (!ptx::barrier_test(arrived, parity))
        if (!fed && feeder.ready()) feeder.step(), fed = true;
    ptx::barrier_wait(arrived, parity);
    if (it >= 2) {  // its scores' place is wanted
      ptx::barrier_wait(empty(map, base, used), used_parity);
      if (++used == map.stages) used = 0, used_parity ^= 1;
    }
    int lane = thread % 32;
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each chunk: registers are short
    make_scores<T, kKey>(
        base + slot * map.stage, map, base + map.made + it % 2 * kSquareBytes,
        reinterpret_cast<const float*>(shared + map.factors + slot * kFactorBytes) + 3 * kChunk, warp,
        Lane(lane));
    ptx::fence_async_proxy();
    ptx::warp_arrive(scored(map, base, slot));
    if (warp == 0 && !fed) feeder.step();
    if (++slot == map.stages) slot = 0, parity ^= 1;
  }
}

template <class T, int kKey, bool kDelta, bool kScores>
__device__ __forceinline__ void retreat(const SerialParameters& s, uint8_t* shared, const Work& work) {
  const Arguments& a = s.p.a;
  const SerialMap& map = s.map;
  const uint32_t base = ptx::shared_address(shared);
  const Thread at;
  Sender sender(s, work, at, base);
  WarpgroupState<T, kKey> gradient;
  gradient.load(a.dht ? a.dht + work.state(a) : nullptr, a.value_dim, at);
  int slot = 0, parity = 0, last = -1;
  uint32_t outputs[16];  // dO^T
  const auto load_outputs = [&](int i) {
    ptx::barrier_wait(full(map, base, slot), parity);
    load_values(outputs, base + slot * map.stage + map.value, at);
    const int count = work.chain.chunk(i).count;
    if (count < kChunk) clear_tail(outputs, count, at.c);
  };
  const int chunks = work.chain.chunks();
  if (chunks > 0) load_outputs(chunks - 1);
  for (int i = chunks - 1; i >= 0; --i) {
    const uint32_t tiles = base + slot * map.stage;
    const float* const factors =
        reinterpret_cast<const float*>(shared + map.factors + slot * kFactorBytes) + at.c;
    // Whatever does not wait for a product is done while one runs.
    float now[32], later[32];
    const uint64_t score = ptx::operand(
        kScores ? base + map.made + (chunks - 1 - i) % 2 * kSquareBytes : tiles + map.score, 16, 1024);
    // do is in registers: dr can leave through its place, which is free once it has left.
    if constexpr (kScores) sender.result = tiles + map.value + at.wg * kPanelBytes;
    constexpr int kAtOnce = kKey == 128 ? 2 : 1;  // of K = 256 the registers hold no more
    const float decay = factors[kChunk - 1 - at.c];
    gradient.template copy<true, kAtOnce>(
        later, ptx::operand(tiles, 16, 1024), sender.state + at.straight,
        [&] {
          gradient.scale(decay);
          if constexpr (kScores) ptx::barrier_wait(scored(map, base, slot), parity);
          ptx::pin(outputs);
          ptx::wgmma_fence();
#pragma unroll
          for (int k = 0; k < 4; ++k) ptx::wgmma_n64<T>(now, &outputs[4 * k], score + k * 2, k > 0);
          ptx::wgmma_commit();
        },
        [&] { sender.template state_free<true>(); });
    if constexpr (kKey > 128) ptx::wgmma_wait<0>();  // so that `u` can take the place of `outputs`
    uint32_t u[16], dr[16];
    float2 g[8];
    load_factors(g, factors);
#pragma unroll
    for (int m = 0; m < 16; ++m) {
      const float2 x = ptx::unpack<T>(outputs[m]);
      u[m] = ptx::pack<T>(a.scale * g[m / 2].x * x.x, a.scale * g[m / 2].y * x.y);
    }
    gradient.add_tokens(u, tiles + map.value / 2);
    sender.send_state(i);
    if (kScores && last >= 0) ptx::warp_arrive(empty(map, base, last));
    ptx::wgmma_wait<1>();
    ptx::pin(now);
    ptx::pin(later);
#pragma unroll
    for (int m = 0; m < 16; ++m) {
      const float2 f = two(factors + kChunk + 8 * (m / 2)), b = two(factors + 2 * kChunk + 8 * (m / 2));
      dr[m] = ptx::pack<T>(b.x * (a.scale * now[2 * m] + f.x * later[2 * m]),
                           b.y * (a.scale * now[2 * m + 1] + f.y * later[2 * m + 1]));
    }
    if constexpr (kDelta) {
      const uint64_t inverse = ptx::operand(tiles + map.inverse, kPanelBytes, 1024);
      ptx::pin(dr);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) ptx::wgmma_n64_outer<T>(now, &dr[4 * k], inverse + k * (2048 / 16), k > 0);
      ptx::wgmma_commit();
      load_factors(g, factors);
      ptx::wgmma_wait<0>();
      ptx::pin(now);
#pragma unroll
      for (int m = 0; m < 16; ++m)
        u[m] = ptx::pack<T>(-g[m / 2].x * now[2 * m], -g[m / 2].y * now[2 * m + 1]);
      gradient.add_tokens(u, tiles);
#pragma unroll
      for (int m = 0; m < 16; ++m) dr[m] = ptx::pack<T>(now[2 * m], now[2 * m + 1]);
    }
    sender.send_result(i, dr);
    last = slot;
    if (++slot == map.stages) slot = 0, parity ^= 1;
    if (i > 0) load_outputs(i - 1);
    ptx::wgmma_wait<0>();
    gradient.pin();
    if constexpr (!kScores) ptx::warp_arrive(empty(map, base, last));
  }
  if (a.dh0) gradient.store(a.dh0 + work.state(a), a.value_dim, at);
  sender.finish();
}

/// kScores: P is made here, from the tiles of K and Q that are here anyway. Pass 1 then neither reads Q nor
/// writes P, and this one does not read it. But a stage is in use for longer: with few chains, where latency
/// decides and not bytes, P comes from pass 1.
template <class T, int kKey, bool kDelta, bool kScores>
__global__ void __launch_bounds__(serial_threads(kKey > 128 ? 64 : 128), 1)
    hopper_state_gradients(const __grid_constant__ SerialParameters s) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Work work(s);
  start_barriers(s, shared);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), first = s.tile / 16;
  if (warp >= first) {
    if constexpr (kScores) {
      ptx::registers_lower<kScoreRegisters>();
      feed_and_score<T, kKey, kDelta>(s, shared, work);
    } else {
      if constexpr (kKey <= 128) ptx::registers_lower<kFeedRegisters>();
      if (warp == first) feed<kDelta, true>(s, shared, work);
    }
  } else {
    if constexpr (kKey <= 128) ptx::registers_raise<kScores ? kFewerStateRegisters : kStateRegisters>();
    retreat<T, kKey, kDelta, kScores>(s, shared, work);
  }
}

}  // namespace statescope::cuda::multipass
