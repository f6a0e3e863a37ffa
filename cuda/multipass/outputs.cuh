#pragma once
// Pass 3 of forward, every chunk of every head at once:
//   O = scale sum_e [(e^gamma o Q) S + P (beta o r)]
// A block is a chunk of a head and up to 128 columns of V; it walks the subheads in order and keeps o in
// registers, a warp 16 tokens by half of the columns. Tiles of the next subhead come in while one is at work.
#include "cuda/multipass/states.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, int kValue, bool kDelta>
__global__ void __launch_bounds__(kOutputThreads) outputs(const __grid_constant__ Parameters p) {
  constexpr int kTile = output_tile(kValue), kTiles = kValue / kTile, kSlabs = kKey / 64, kWidth = kTile / 2;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int tile = blockIdx.x % kTiles, h = blockIdx.x / kTiles % a.heads;
  const int64_t number = blockIdx.x / kTiles / a.heads;
  const Chunk chunk = chunk_of(a, number);
  const int from_head = key_head(a, h);
  if (chunk.count == 0) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t base = ptx::shared_address(shared);
  const auto index = [&](int e) { return (number * a.heads + h) * a.expansion + e; };
  // Steps: for each subhead its slabs of 64 channels (Q and S^T), then P, r and the gates.
  constexpr int kSteps = kSlabs + 1;
  constexpr uint32_t kStage = output_stage_bytes(kValue);
  const auto fetch = [&](int step) {
    const int e = step / kSteps, s = step % kSteps;
    const uint32_t to = base + step % kOutputStages * kStage, second = to + kSquareBytes;
    if (s < kSlabs) {
      copy_rows<64, kChunk, kOutputThreads>(
          to, words(a.q) + key_row(a, chunk.first, from_head, e) * kKey + 64 * s,
          int64_t{a.qk_heads} * a.expansion * kKey, chunk.count);
      copy_rows<64, kTile, kOutputThreads>(
          second, p.s.states + (index(e) * kValue + tile * kTile) * kKey + 64 * s, kKey, kTile);
    } else {
      copy_rows<64, kChunk, kOutputThreads>(to, p.s.scores + index(e) * kChunk * kChunk, kChunk, kChunk);
      if (kDelta)
        copy_rows<kTile, kChunk, kOutputThreads>(
            second, p.s.errors + index(e) * kChunk * kValue + tile * kTile, kValue, kChunk);
      else
        copy_rows<kTile, kChunk, kOutputThreads>(
            second, words(a.v) + (chunk.first * a.heads + h) * kValue + tile * kTile,
            int64_t{a.heads} * kValue, chunk.count);
    }
    // gates are wanted with the last slab and with P
    copy_plain<kGateBytes, kOutputThreads>(second + rows_bytes(kTile), p.s.gates + index(e) * 2 * kChunk);
    ptx::copies_commit();
  };

  const Lane at(lane);
  const int token = 16 * (warp % 4), column = warp / 4 * kWidth;
  float o[kWidth / 8][4] = {}, x[kWidth / 8][4] = {};
  const int steps = a.expansion * kSteps;
#pragma unroll
  for (int step = 0; step < kOutputStages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    ptx::copies_wait<kOutputStages - 2>();
    __syncthreads();  // everyone has this step's tiles and is done with those of the one before
    if (step + kOutputStages - 1 < steps)
      fetch(step + kOutputStages - 1);
    else
      ptx::copies_commit();  // so that the wait counts on
    const uint32_t from = base + step % kOutputStages * kStage, second = from + kSquareBytes;
    const float* const gamma = reinterpret_cast<const float*>(shared + (second - base) + rows_bytes(kTile));
    const float* const beta = gamma + kChunk;
    if (step % kSteps < kSlabs) {
#pragma unroll
      for (int k = 0; k < 64; k += 16) {
        uint32_t q[4];
        load_a(q, from, at, token, k);
#pragma unroll
        for (int n = 0; n < kWidth; n += 16) {
          uint32_t s[4];
          load_b(s, second, at, k, column + n);
          multiply<T>(x[n / 8], x[n / 8 + 1], q, s);
        }
      }
      if (step % kSteps == kSlabs - 1) {
        const float upper = ptx::exp2_fast(gamma[token + at.r]),
                    lower = ptx::exp2_fast(gamma[token + 8 + at.r]);
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
          o[n][0] += upper * x[n][0], o[n][1] += upper * x[n][1];
          o[n][2] += lower * x[n][2], o[n][3] += lower * x[n][3];
          x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0;
        }
      }
    } else {
#pragma unroll
      for (int k = 0; k < kChunk; k += 16) {
        if (k > token) continue;  // P is lower triangular
        uint32_t scores[4];
        load_a_turned(scores, from, at, token, k);
        if (kDelta) {
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const float2 b = two(beta + k + 8 * (m / 2) + at.c), y = ptx::unpack<T>(scores[m]);
            scores[m] = ptx::pack<T>(b.x * y.x, b.y * y.y);
          }
        }
#pragma unroll
        for (int n = 0; n < kWidth; n += 16) {
          uint32_t r[4];
          load_b_turned(r, second + (column + n) / 64 * (kChunk * 128), at, k, (column + n) % 64);
          multiply<T>(o[n / 8], o[n / 8 + 1], scores, r);
        }
      }
    }
  }
  ptx::copies_wait<0>();
#pragma unroll
  for (int n = 0; n < kWidth / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = token + 8 * half + at.r;
      if (t >= chunk.count) continue;
      const int64_t to = ((chunk.first + t) * a.heads + h) * kValue + tile * kTile + column + 8 * n + at.c;
      static_cast<uint32_t*>(a.o)[to / 2] =
          ptx::pack<T>(a.scale * o[n][2 * half], a.scale * o[n][2 * half + 1]);
    }
}

}  // namespace statescope::cuda::multipass
