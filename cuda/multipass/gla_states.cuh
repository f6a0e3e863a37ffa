#pragma once
// gla, pass 2, the serial one: the state before each chunk from the first to the last, and for backward, in
// other blocks of the same launch, its gradient from the last to the first.
//   S <- diag(e^gamma_C) S + (K e^(gamma_C - gamma))^T V
//   D <- diag(e^gamma_C) D + (scale Q e^gamma)^T dO
// One text for both: rows of keys or queries, which pass 1 has decayed, times rows of v or do.
#include "cuda/multipass/gla_tiles.cuh"

namespace statescope::cuda::multipass {

/// Blocks of twice as many chains in backward: the second half are the gradients.
template <class T, int kKey, int kValue>
__global__ void __launch_bounds__(gla_state_threads(kKey, kValue), gla_state_blocks(kKey, kValue))
    gla_states(const __grid_constant__ GlaParameters p) {
  constexpr int kTile = value_tile(kValue), kThreads = gla_state_threads(kKey, kValue),
                kTiles = kValue / kTile;
  constexpr uint32_t kStage = rows_bytes(kKey) + rows_bytes(kTile) + kKey * 4;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int chains = a.sequences * a.heads * a.expansion * kTiles;
  const bool reverse = blockIdx.x >= chains;
  const int block = blockIdx.x - (reverse ? chains : 0);
  const int tile = block % kTiles, subhead = block / kTiles;
  const int e = subhead % a.expansion, h = subhead / a.expansion % a.heads,
            n = subhead / a.expansion / a.heads;
  const Chain chain = chain_of(a, n);
  const int chunks = chain.chunks(), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t base = ptx::shared_address(shared);
  const uint16_t *const rows = reverse ? p.s.queries : p.s.keys, *const values = words(reverse ? a.d_o : a.v);
  uint16_t* const to = reverse ? p.s.gradients : p.s.states;
  const auto chunk_at = [&](int step) { return reverse ? chunks - 1 - step : step; };
  const auto index = [&](int i) { return ((chain.first_chunk + i) * a.heads + h) * a.expansion + e; };
  const auto fetch = [&](int step) {
    const int i = chunk_at(step);
    const Chunk chunk = chain.chunk(i);
    const uint32_t stage = base + step % kGlaStateStages * kStage;
    copy_rows<kKey, kChunk, kThreads>(stage, rows + index(i) * kChunk * kKey, kKey, kChunk);
    copy_rows<kTile, kChunk, kThreads>(stage + rows_bytes(kKey),
                                       values + (chunk.first * a.heads + h) * kValue + tile * kTile,
                                       int64_t{a.heads} * kValue, chunk.count);
    copy_plain<kKey * 4, kThreads>(stage + rows_bytes(kKey) + rows_bytes(kTile),
                                   p.s.decays + index(i) * kKey);
    ptx::copies_commit();
  };
  for (int step = 0; step < kGlaStateStages - 1; ++step)
    if (step < chunks) fetch(step);

  const Lane at(lane);
  const int channel = warp % (kKey / 32) * 32, column = warp / (kKey / 32) * 64;
  // Row r + 8 half of sixteen channels is channel 2 r + half.
  const int64_t state_at = ((int64_t{n} * a.heads + h) * a.expansion + e) * kKey * kValue +
                           int64_t{channel + 2 * at.r} * kValue + tile * kTile + column + at.c;
  float x[2][8][4];
  const float* const start = reverse ? a.dht : a.h0;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        const float2 y =
            start ? *reinterpret_cast<const float2*>(start + state_at + (16 * m + half) * kValue + 8 * v)
                  : float2{0, 0};
        x[m][v][2 * half] = y.x, x[m][v][2 * half + 1] = y.y;
      }
  for (int step = 0; step < chunks; ++step) {
    if (step + kGlaStateStages - 2 < chunks)
      ptx::copies_wait<kGlaStateStages - 2>();
    else
      ptx::copies_wait<0>();
    __syncthreads();  // everyone has this chunk's tiles and is done with those of the one before
    if (step + kGlaStateStages - 1 < chunks) fetch(step + kGlaStateStages - 1);
    const int stage = step % kGlaStateStages;
    const uint32_t key = base + stage * kStage, value = key + rows_bytes(kKey);
    const float* const decays =
        reinterpret_cast<const float*>(shared + stage * kStage + rows_bytes(kKey) + rows_bytes(kTile)) +
        channel + at.r;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint16_t* const out =
          to + gla_fragment<kKey, kValue>(index(chunk_at(step)), channel + 16 * m, tile * kTile + column);
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        uint32_t y[4];
        as_a<T>(y, x[m][2 * v], x[m][2 * v + 1]);
        reinterpret_cast<uint4*>(out)[v * 32 + lane] = {y[0], y[1], y[2], y[3]};
      }
      const float upper = decays[16 * m], lower = decays[16 * m + 8];
#pragma unroll
      for (int v = 0; v < 8; ++v)
        x[m][v][0] *= upper, x[m][v][1] *= upper, x[m][v][2] *= lower, x[m][v][3] *= lower;
    }
#pragma unroll
    for (int k = 0; k < kChunk; k += 16) {
      uint32_t own[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
        load_a_turned(own[m], key + channel / 64 * (kChunk * 128), at, channel % 64 + 16 * m, k);
#pragma unroll
      for (int v = 0; v < 64; v += 16) {
        uint32_t y[4];
        load_b_turned(y, value + column / 64 * (kChunk * 128), at, k, v);
#pragma unroll
        for (int m = 0; m < 2; ++m) multiply<T>(x[m][v / 8], x[m][v / 8 + 1], own[m], y);
      }
    }
  }
  float* const end = reverse ? a.dh0 : a.ht;
  if (!end) return;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int v = 0; v < 8; ++v)
        *reinterpret_cast<float2*>(end + state_at + (16 * m + half) * kValue + 8 * v) = {
            x[m][v][2 * half], x[m][v][2 * half + 1]};
}

}  // namespace statescope::cuda::multipass
