#pragma once
// Pass 3, from the last chunk to the first: dS, the gradient of the state, and through it that of what was
// written.
//   dU = scale P^T dO + e^(gamma_C - gamma) o (K dS)
//   dR = A^T (beta o dU) = this subhead's part of dV      (dR = dU without correction)
//   dS <- e^gamma_C dS + scale (e^gamma o Q)^T dO - (e^gamma o K)^T dR
// A block is laid out as in pass 2, dS^T in the accumulators.
#include "cuda/multipass/states.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, int kValue, bool kDelta>
__global__ void __launch_bounds__(2 * value_tile(kValue), serial_blocks(kKey, kValue))
    state_gradients(const __grid_constant__ Parameters p) {
  constexpr int kTile = value_tile(kValue), kThreads = 2 * kTile, kTiles = kValue / kTile;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int tile = blockIdx.x % kTiles, subhead = blockIdx.x / kTiles;
  const int e = subhead % a.expansion, h = subhead / a.expansion % a.heads,
            n = subhead / a.expansion / a.heads;
  const int from_head = key_head(a, h);
  const Chain chain = chain_of(a, n);
  const int chunks = chain.chunks(), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t base = ptx::shared_address(shared);
  const uint32_t keys = base, queries = keys + 2 * rows_bytes(kKey), outputs = queries + rows_bytes(kKey),
                 score = outputs + rows_bytes(kTile), inverse = score + kSquareBytes,
                 gates = inverse + (kDelta ? kSquareBytes : 0),
                 turn = gates + 2 * kGateBytes + warp * kTurnBytes;
  const auto index = [&](int i) { return ((chain.first_chunk + i) * a.heads + h) * a.expansion + e; };
  const auto fetch_rows = [&](uint32_t to, const void* from, const Chunk& chunk) {
    copy_rows<kKey, kChunk, kThreads>(to, words(from) + key_row(a, chunk.first, from_head, e) * kKey,
                                      int64_t{a.qk_heads} * a.expansion * kKey, chunk.count);
  };
  const auto fetch_keys = [&](int i) {  // read from the beginning to the end of a step: two stages
    const int stage = i % 2;
    fetch_rows(keys + stage * rows_bytes(kKey), a.k, chain.chunk(i));
    copy_plain<kGateBytes, kThreads>(gates + stage * kGateBytes, p.s.gates + index(i) * 2 * kChunk);
    ptx::copies_commit();
  };
  const auto fetch_queries = [&](int i) {  // read at the end of a step, and asked for at its beginning
    fetch_rows(queries, a.q, chain.chunk(i));
    ptx::copies_commit();
  };
  const auto fetch_rest = [&](int i) {  // read in the first half of a step: one
    const Chunk chunk = chain.chunk(i);
    copy_rows<kTile, kChunk, kThreads>(outputs,
                                       words(a.d_o) + (chunk.first * a.heads + h) * kValue + tile * kTile,
                                       int64_t{a.heads} * kValue, chunk.count);
    copy_rows<kChunk, kChunk, kThreads>(score, p.s.scores + index(i) * kChunk * kChunk, kChunk, kChunk);
    if (kDelta)
      copy_rows<kChunk, kChunk, kThreads>(inverse, p.s.inverse + index(i) * kChunk * kChunk, kChunk, kChunk);
    ptx::copies_commit();
  };
  if (chunks > 0) fetch_keys(chunks - 1), fetch_rest(chunks - 1);

  const int column = tile * kTile + 16 * warp;
  const int64_t state_at = ((int64_t{n} * a.heads + h) * a.expansion + e) * kKey * kValue + column;
  WarpState<kKey> gradient;
  gradient.load(a.dht ? a.dht + state_at : nullptr, kValue, Lane(lane));
  for (int i = chunks - 1; i >= 0; --i) {
    ptx::copies_wait<0>();
    __syncthreads();  // everyone has this chunk's tiles and is done with those of the one after
    fetch_queries(i);
    if (i > 0) fetch_keys(i - 1);
    int here = lane;
    asm volatile("" : "+r"(here));  // addresses are computed anew for each chunk: registers are short
    const Lane at(here);
    const int stage = i % 2;
    const uint32_t key = keys + stage * rows_bytes(kKey);
    const float* const gamma = reinterpret_cast<const float*>(shared + (gates - base) + stage * kGateBytes);
    const float* const beta = gamma + kChunk;
    const float last = gamma[kChunk - 1];
    gradient.template store_words<T>(p.s.gradients + (index(i) * kValue + column) * kKey, turn, lane, at);

    const uint32_t output = outputs + warp / 4 * (kChunk * 128);
    uint32_t du[4][4];  // beta o dU, transposed, as operands
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      float later[4][4] = {};
      gradient.template times_tokens<T>(later, key, 32 * part, at);
#pragma unroll
      for (int block = 2 * part; block < 2 * part + 2; ++block) {
        float y[2][4] = {};  // P^T dO
#pragma unroll
        for (int k = block; k < 4; ++k) {  // P is lower triangular
          uint32_t d_o[4], scores[4];
          load_a_turned(d_o, output, at, 16 * (warp % 4), 16 * k);
          load_b(scores, score, at, 16 * k, 16 * block);
          multiply<T>(y[0], y[1], d_o, scores);
        }
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          const int token = 16 * block + 8 * (m / 2) + at.c, z = 2 * (m % 2);
          const float2 g = two(gamma + token), b = two(beta + token);
          const float* const x = later[2 * (block - 2 * part) + m / 2] + z;
          du[block][m] = ptx::pack<T>(b.x * (a.scale * y[m / 2][z] + ptx::exp2_fast(last - g.x) * x[0]),
                                      b.y * (a.scale * y[m / 2][z + 1] + ptx::exp2_fast(last - g.y) * x[1]));
        }
      }
    }
    gradient.scale(ptx::exp2_fast(last));
    __syncwarp();  // the gradient has left `turn`
#pragma unroll
    for (int block = 0; block < 4; ++block) {
      if constexpr (kDelta) {
        float r[2][4] = {};
#pragma unroll
        for (int k = block; k < 4; ++k) {
          uint32_t x[4];
          load_b_turned(x, inverse, at, 16 * k, 16 * block);
          multiply<T>(r[0], r[1], du[k], x);
        }
        uint32_t u[4];
        as_a<T>(u, r[0], r[1]);
        turn_words(turn, block, u, at);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          const float2 g = two(gamma + 16 * block + 8 * (m / 2) + at.c);
          const float* const y = r[m / 2] + 2 * (m % 2);
          u[m] = ptx::pack<T>(-ptx::exp2_fast(g.x) * y[0], -ptx::exp2_fast(g.y) * y[1]);
        }
        gradient.template add_tokens<T>(u, key, 16 * block, at);
      } else {
        turn_words(turn, block, du[block], at);
      }
    }
    store_turned(p.s.dv + index(i) * kChunk * kValue + column, kValue, turn, lane);
#pragma unroll
    for (int block = 0; block < 4; ++block) {  // scale e^gamma o dO, transposed, in the place of dU
      load_a_turned(du[block], output, at, 16 * (warp % 4), 16 * block);
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const float2 g = two(gamma + 16 * block + 8 * (m / 2) + at.c), x = ptx::unpack<T>(du[block][m]);
        du[block][m] = ptx::pack<T>(a.scale * ptx::exp2_fast(g.x) * x.x, a.scale * ptx::exp2_fast(g.y) * x.y);
      }
    }
    if (i > 0)
      ptx::copies_wait<1>();  // for the queries
    else
      ptx::copies_wait<0>();
    __syncthreads();  // everyone has them, and is done with do, the scores and the inverse
    if (i > 0) fetch_rest(i - 1);
#pragma unroll
    for (int block = 0; block < 4; ++block)
      gradient.template add_tokens<T>(du[block], queries, 16 * block, at);
  }
  if (a.dh0) gradient.store(a.dh0 + state_at, kValue, Lane(lane));
}

}  // namespace statescope::cuda::multipass
