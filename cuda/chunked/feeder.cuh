#pragma once
// One warp asks the copy engine for tiles and cumulates the gates of each chunk.
#include "cuda/chunked/schedule.cuh"

namespace statescope::cuda::chunked {

/// The next chunk to ask for, its gates already on the way to registers.
template <bool kDelta>
struct Feeder {
  const Parameters& p;
  const uint32_t base;
  Place& place;
  int e, lane;
  int chunk, end;                            // of the place's segment
  int value_token, value_head, value_batch;  // of the chunk last fed
  float g0, g1, b0, b1;                      // gates and betas of tokens 2 lane and 2 lane + 1

  /// Steps to the next chunk of this worker and starts loading its gates.
  __device__ __forceinline__ void advance() {
    if (++chunk >= end) {
      if (!next_segment<32>(p, place, 2)) return;
      chunk = place.segment.begin, end = place.segment.end;
    }
    const int t = chunk * kChunk + 2 * lane, stride = p.heads * p.expansion;
    const size_t at = size_t(place.segment.first_row + t) * stride + place.segment.h * p.expansion + e;
    g0 = g1 = b0 = b1 = 0;
    if (t < place.segment.tokens) {
      if (p.g) g0 = p.g[at];
      if (kDelta) b0 = p.beta[at];
    }
    if (t + 1 < place.segment.tokens) {
      if (p.g) g1 = p.g[at + stride];
      if (kDelta) b1 = p.beta[at + stride];
    }
  }
  /// Key and query tiles and the gates of the chunk, into `slot`.
  __device__ __forceinline__ void feed(int slot, int parity) {
    const uint32_t full = base + SharedMap::full + 8 * slot;
    const Segment& s = place.segment;
    const int t = (p.cu_seqlens ? s.first_row : 0) + chunk * kChunk, batch = p.cu_seqlens ? 0 : s.n;
    value_token = t, value_head = s.h, value_batch = batch;
    ptx::barrier_wait(base + SharedMap::empty + 8 * slot, parity);
    if (lane == 0) {
      const int row = (s.h * p.qk_heads / p.heads) * p.expansion + e;
      ptx::barrier_arrive_expect(full, 2 * SharedMap::kTile);
      ptx::copy_tile_5d(base + SharedMap::key + slot * SharedMap::kTile, &p.key, full, 0, t, 0, row, batch);
      ptx::copy_tile_5d(base + SharedMap::query + slot * SharedMap::kTile, &p.query, full, 0, t, 0, row,
                        batch);
    }
    __syncwarp();
    g0 = binary_gate(g0), g1 = binary_gate(g1);
    float sum = g0 + g1;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const float other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    const float last = __shfl_sync(~0u, sum, 31), c1 = sum, c0 = sum - g1;
    const int token = chunk * kChunk + 2 * lane;
    const uint32_t at = base + SharedMap::gates + slot * SharedMap::kGates + 8 * lane;
    ptx::store_shared(at, float2{c0, c1});
    ptx::store_shared(at + 256, float2{ptx::exp2_fast(c0), ptx::exp2_fast(c1)});
    // tokens past the end add nothing to the state
    ptx::store_shared(at + 512, float2{token < s.tokens ? ptx::exp2_fast(last - c0) : 0.f,
                                       token + 1 < s.tokens ? ptx::exp2_fast(last - c1) : 0.f});
    if (kDelta) ptx::store_shared(at + 768, float2{b0, b1});
    ptx::warp_arrive(full);
  }
  /// The value tile of the chunk last fed, the `it`-th of this block.
  __device__ __forceinline__ void feed_value(int it) {
    if (lane == 0) {
      const int at = it % kValueStages;
      const uint32_t full = base + SharedMap::value_full + 8 * at;
      ptx::barrier_wait(base + SharedMap::value_empty + 8 * at, ((it / kValueStages) & 1) ^ 1);
      ptx::barrier_arrive_expect(full, SharedMap::kTile);
      ptx::copy_tile_5d(base + SharedMap::value + at * SharedMap::kTile, &p.value, full, 0, value_token, 0,
                        value_head, value_batch);
    }
    __syncwarp();
  }
};

/// The feeding warp: key and query tiles two chunks ahead of the state warpgroups, value tiles one.
template <bool kDelta>
__device__ __forceinline__ void feed(Feeder<kDelta> feeder, int chunks) {
  int slot = 0, parity = 1;
  if (chunks > 0) feeder.advance();
  for (int it = 0; it < chunks; ++it) {
    if (it > 0) feeder.feed_value(it - 1);
    feeder.feed(slot, parity);
    if (it + 1 < chunks) feeder.advance();  // its gates arrive while the warp waits
    if (++slot == kStages) slot = 0, parity ^= 1;
  }
  if (chunks > 0) feeder.feed_value(chunks - 1);
}

}  // namespace statescope::cuda::chunked
