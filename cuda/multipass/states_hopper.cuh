#pragma once
// Pass 2 on compute capability 9.0, from the first chunk to the last (states.cuh has the equation):
//   (K S)^T = S^T K^T,  r^T = (V - e^gamma o K S)^T A^T        gated_delta; r = V for the others
//   S^T <- e^gamma_C S^T + (e^(gamma_C - gamma) o beta o r)^T K
// A step is 5 x 64 x 64 x 128 multiply-adds a warpgroup at K = 128, 640 cycles of the tensor cores; a block
// of two warpgroups a multiprocessor has 4,000 cycles a step for the bytes of E = 8, three stages ahead.
#include "cuda/multipass/serial_hopper.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, bool kDelta>
__device__ __forceinline__ void advance(const SerialParameters& s, uint8_t* shared, const Work& work) {
  const Arguments& a = s.p.a;
  const SerialMap& map = s.map;
  const uint32_t base = ptx::shared_address(shared);
  const Thread at;
  const Sender sender(s, work, at, base);
  WarpgroupState<T, kKey> state;
  state.load(a.h0 ? a.h0 + work.state(a) : nullptr, a.value_dim, at);
  const int chunks = work.chain.chunks();
  int slot = 0, parity = 0;
  if (chunks > 0) ptx::barrier_wait(full(map, base, slot), parity);
  for (int i = 0; i < chunks; ++i) {
    const uint32_t tiles = base + slot * map.stage;
    const float* const factors =
        reinterpret_cast<const float*>(shared + map.factors + slot * kFactorBytes) + at.c;
    constexpr int kAtOnce = kKey < 128 ? 1 : 2;
    const float decay = factors[kChunk - 1 - at.c];
    const auto free = [&] { sender.template state_free<kDelta>(); };
    // Whatever does not wait for a product is done while one runs.
    uint32_t values[16], u[16];  // u: (e^(gamma_C - gamma) o beta o r)^T
    float2 factor[8];
    if constexpr (kDelta) {
      float product[32];
      state.template copy<true, kAtOnce>(
          product, ptx::operand(tiles, 16, 1024), sender.state + at.straight, [&] { state.scale(decay); },
          free);
      load_values(values, tiles + map.value, at), load_factors(factor, factors);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
      subtract_scaled<T>(values, factor, product);  // V - e^gamma o K S
      const int count = work.chain.chunk(i).count;
      if (count < kChunk) clear_tail(values, count, at.c);
      const uint64_t inverse = ptx::operand(tiles + map.inverse, 16, 1024);
      ptx::pin(values);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) ptx::wgmma_n64<T>(product, &values[4 * k], inverse + k * 2, k > 0);
      ptx::wgmma_commit();
      load_factors(factor, factors + kChunk);
      sender.send_state(i);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
      scale_values<T>(u, factor, product);
      state.add_tokens(u, tiles);
#pragma unroll
      for (int m = 0; m < 16; ++m) values[m] = ptx::pack<T>(product[2 * m], product[2 * m + 1]);
      sender.send_result(i, values);
    } else {
      load_values(values, tiles + map.value, at), load_factors(factor, factors + kChunk);
      scale_values<T>(u, factor, values);
      float none[32];
      state.template copy<false, kAtOnce>(
          none, 0, sender.state + at.straight, [&] { state.scale(decay), state.add_tokens(u, tiles); }, free);
      sender.send_state(i);
    }
    const int last = slot;
    if (++slot == map.stages) slot = 0, parity ^= 1;
    if (i + 1 < chunks) ptx::barrier_wait(full(map, base, slot), parity);
    ptx::wgmma_wait<0>();
    state.pin();
    ptx::warp_arrive(empty(map, base, last));
  }
  if (a.ht) state.store(a.ht + work.state(a), a.value_dim, at);
  sender.finish();
}

template <class T, int kKey, bool kDelta>
__global__ void __launch_bounds__(serial_threads(128), 1)
    hopper_states(const __grid_constant__ SerialParameters s) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Work work(s);
  start_barriers(s, shared);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), first = s.tile / 16;
  if (warp >= first) {
    ptx::registers_lower<kFeedRegisters>();
    if (warp == first) feed<kDelta, false>(s, shared, work);
  } else {
    ptx::registers_raise<kStateRegisters>();
    advance<T, kKey, kDelta>(s, shared, work);
  }
}

}  // namespace statescope::cuda::multipass
