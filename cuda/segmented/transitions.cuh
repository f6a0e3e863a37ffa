#pragma once
// What every segment does to the state, on compute capability 9.0: h -> M h + N.
//   N, columns of V     the state after the segment, from nothing
//   M, columns of K     gated_delta: the state after it of v = 0, from the identity
//                       ssd: e^(sum of g); linear: 1
// The step is that of multipass/states_hopper.cuh; nothing leaves but what is left at the end, in float32. A
// block is a segment of a subhead and 64 or 128 columns of N or of M, so that N and M share the inverse that
// pass 1 made, and the blocks of one segment its keys in the L2 cache. The first segment of a gated_delta
// sequence begins with h0 and needs no M.
#include "cuda/multipass/serial_hopper.cuh"
#include "cuda/segmented/parameters.h"

namespace statescope::cuda::segmented {

using namespace multipass;

/// Columns of this block: of N from `column`, or of M.
struct Share {
  Work work;
  bool identity;  ///< of M
  int column;
};
__device__ __forceinline__ Share share_of(const SerialParameters& s, int tiles) {
  const Arguments& a = s.p.a;
  const int n = blockIdx.z * gridDim.y + blockIdx.y, column = static_cast<int>(blockIdx.x) % tiles * s.tile;
  const bool identity = column >= a.value_dim;
  // What is asked for of v is not read where M is made.
  return {Work(a, n, blockIdx.x / tiles, identity ? 0 : column), identity,
          identity ? column - a.value_dim : column};
}

/// Visits row (of S^T, a column of the state) and channel of each value.
template <class T, int kKey, class Visit>
__device__ __forceinline__ void each_place(WarpgroupState<T, kKey>& state, const Thread& at, Visit visit) {
  const int first = 64 * at.wg + 16 * (at.tid / 32) + at.tid % 32 / 4;
#pragma unroll
  for (int panel = 0; panel < state.kPanels; ++panel)
#pragma unroll
    for (int i = 0; i < 32; ++i)
      visit(state.x[panel][i], first + 8 * (i / 2 % 2), 64 * panel + 8 * (i / 4) + at.c + i % 2);
}

template <class T, int kKey, bool kDelta>
__device__ __forceinline__ void advance_alone(const TransitionParameters& p, uint8_t* shared,
                                              const Share& share) {
  const SerialParameters& s = p.serial;
  const Arguments& a = s.p.a;
  const SerialMap& map = s.map;
  const Work& work = share.work;
  const uint32_t base = ptx::shared_address(shared);
  const Thread at;
  WarpgroupState<T, kKey> state;
  if (share.identity) {
    each_place(state, at,
               [&](float& y, int row, int channel) { y = share.column + row == channel ? 1.f : 0.f; });
  } else {
    const bool begins = kDelta && blockIdx.y == 0 && p.h0;
    const int64_t subhead = (int64_t{blockIdx.z} * a.heads + work.h) * a.expansion + work.e;
    state.load(begins ? p.h0 + subhead * kKey * a.value_dim + work.column : nullptr, a.value_dim, at);
  }
  float total = 1;  // e^(sum of g) so far
  const int chunks = work.chain.chunks();
  int slot = 0, parity = 0;
  for (int i = 0; i < chunks; ++i) {
    ptx::barrier_wait(full(map, base, slot), parity);
    const uint32_t tiles = base + slot * map.stage;
    const float* const factors =
        reinterpret_cast<const float*>(shared + map.factors + slot * kFactorBytes) + at.c;
    const float decay = factors[kChunk - 1 - at.c];
    uint32_t values[16] = {}, u[16];  // u: (e^(gamma_C - gamma) o beta o r)^T
    float2 factor[8];
    if constexpr (kDelta) {
      constexpr int kAtOnce = kKey < 128 ? 1 : 2;
      float product[32];
#pragma unroll
      for (int first = 0; first < state.kPanels; first += kAtOnce) {
        uint32_t words[kAtOnce * 16];
        state.round(words, first);
        ptx::wgmma_fence();
        times_tokens<T, kAtOnce * 4>(product, words,
                                     ptx::operand(tiles, 16, 1024) + first * (kPanelBytes / 16), first == 0);
        if (first + kAtOnce < state.kPanels) ptx::wgmma_wait<0>();  // `words` are wanted again
      }
      state.scale(decay);
      if (!share.identity) load_values(values, tiles + map.value, at);
      load_factors(factor, factors);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
      subtract_scaled<T>(values, factor, product);  // V - e^gamma o K S
      const int count = work.chain.chunk(i).count;
      if (count < kChunk) clear_tail(values, count, at.c);
      ptx::pin(values);
      ptx::wgmma_fence();
      times_tokens<T, 4>(product, values, ptx::operand(tiles + map.inverse, 16, 1024), true);
      load_factors(factor, factors + kChunk);
      ptx::wgmma_wait<0>();
      ptx::pin(product);
      scale_values<T>(u, factor, product);
    } else {
      load_values(values, tiles + map.value, at), load_factors(factor, factors + kChunk);
      scale_values<T>(u, factor, values);
      state.scale(decay), total *= decay;
    }
    state.add_tokens(u, tiles);
    ptx::wgmma_wait<0>();
    state.pin();
    ptx::warp_arrive(empty(map, base, slot));
    if (++slot == map.stages) slot = 0, parity ^= 1;
  }
  const int64_t index = (int64_t{work.n} * a.heads + work.h) * a.expansion + work.e;
  if (share.identity) {
    float* const to = p.effects.transitions + index * kKey * kKey;
    each_place(state, at,
               [&](float& y, int row, int channel) { to[(share.column + row) * kKey + channel] = y; });
    return;
  }
  state.store(p.effects.ends + work.state(a), a.value_dim, at);
  if (!kDelta && work.column == 0 && threadIdx.x == 0) p.effects.transitions[index] = total;
}

template <class T, int kKey, bool kDelta>
__global__ void __launch_bounds__(serial_threads(128), 1)
    transitions(const __grid_constant__ TransitionParameters p) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const SerialParameters& s = p.serial;
  const Share share = share_of(s, transition_columns(kKey, s.p.a.value_dim, kDelta) / s.tile);
  if (share.identity && blockIdx.y == 0) return;
  start_barriers(s, shared);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), first = s.tile / 16;
  if (warp >= first) {
    ptx::registers_lower<kFeedRegisters>();
    if (warp == first) feed<kDelta, false>(s, shared, share.work);
  } else {
    ptx::registers_raise<kStateRegisters>();
    advance_alone<T, kKey, kDelta>(p, shared, share);
  }
}

template <class T>
const void* transitions_of(bool delta, int key_dim) {
  const auto pointer = [](void (*kernel)(TransitionParameters)) {
    return reinterpret_cast<const void*>(kernel);
  };
  switch (key_dim) {
    case 64:
      return pointer(delta ? transitions<T, 64, true> : transitions<T, 64, false>);
    case 128:
      return pointer(delta ? transitions<T, 128, true> : transitions<T, 128, false>);
    default:
      return pointer(delta ? transitions<T, 256, true> : transitions<T, 256, false>);
  }
}

}  // namespace statescope::cuda::segmented
