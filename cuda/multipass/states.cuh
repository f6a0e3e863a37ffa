#pragma once
// Pass 2, from the first chunk to the last: the state before each chunk, and what the chunk writes to it.
//   r = A (V - e^gamma o K S)              gated_delta; r = V for the others
//   S <- e^gamma_C S + K^T (e^(gamma_C - gamma) o beta o r)
// A block is a chain and up to 128 columns of V; a warp owns 16 of them with S^T in its accumulators. What
// one product leaves there is the first operand of the next, so warps meet only where the tiles of the next
// chunk come in.
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::multipass {

/// S^T of a warp: columns of the state are rows here. Row r + 8 half, channels 8 n + c (+ 1) in x[n][2 half
/// (+ 1)].
template <int kKey>
struct WarpState {
  float x[kKey / 8][4];

  __device__ __forceinline__ void load(const float* from, int value_dim, const Lane& at) {
#pragma unroll
    for (int n = 0; n < kKey / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[n][i] = from ? from[int64_t{8 * n + at.c + i % 2} * value_dim + at.r + 8 * (i / 2)] : 0.f;
  }
  __device__ __forceinline__ void store(float* to, int value_dim, const Lane& at) const {
#pragma unroll
    for (int n = 0; n < kKey / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        to[int64_t{8 * n + at.c + i % 2} * value_dim + at.r + 8 * (i / 2)] = x[n][i];
  }
  /// In 16 bits, rows of kKey, by way of `turn` in shared memory.
  template <class T>
  __device__ __forceinline__ void store_words(uint16_t* to, uint32_t turn, int lane, const Lane& at) const {
#pragma unroll
    for (int panel = 0; panel < kKey / 64; ++panel) {
      __syncwarp();
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float(&y)[4] = x[8 * panel + n];
          ptx::store_shared(place(turn, at.element, 8 * half, 8 * n),
                            ptx::pack<T>(y[2 * half], y[2 * half + 1]));
        }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 8 + 4 * i, piece = lane % 8;
        *reinterpret_cast<uint4*>(to + row * kKey + 64 * panel + 8 * piece) =
            ptx::load_shared_uint4(turn + row * 128 + ((piece ^ row % 8) << 4));
      }
    }
  }
  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (int n = 0; n < kKey / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[n][i] *= factor;
  }
  /// d (16 x 32) = S^T times the transposed tile of tokens, from token `first` on. (Half of them at a time:
  /// all would be 32 registers beside the state's.)
  template <class T>
  __device__ __forceinline__ void times_tokens(float (&d)[4][4], uint32_t tile, int first, const Lane& at) {
#pragma unroll
    for (int n = 0; n < kKey / 8; ++n)
      ptx::pin(x[n]);  // or the 16-bit copy of another use is kept, in registers
#pragma unroll
    for (int k = 0; k < kKey; k += 16) {
      uint32_t own[4];
      as_a<T>(own, x[k / 8], x[k / 8 + 1]);
#pragma unroll
      for (int n = 0; n < 32; n += 16) {
        uint32_t tokens[4];
        load_b(tokens, tile + k / 64 * (kChunk * 128), at, k % 64, first + n);
        multiply<T>(d[n / 8], d[n / 8 + 1], own, tokens);
      }
    }
  }
  /// S^T += u (16 x 16, an operand) times 16 tokens of the tile, from token `first` on.
  template <class T>
  __device__ __forceinline__ void add_tokens(const uint32_t (&u)[4], uint32_t tile, int first,
                                             const Lane& at) {
#pragma unroll
    for (int n = 0; n < kKey; n += 16) {
      uint32_t tokens[4];
      load_b_turned(tokens, tile + n / 64 * (kChunk * 128), at, first, n % 64);
      multiply<T>(x[n / 8], x[n / 8 + 1], u, tokens);
    }
  }
};

/// 16 columns of V by 16 tokens, pairs along tokens as in an operand, to their place among 64 tokens of 16
/// values.
__device__ __forceinline__ void turn_words(uint32_t turn, int block, const uint32_t (&x)[4], const Lane& at) {
#pragma unroll
  for (int i = 0; i < 4; ++i)  // columns 8 (i % 2), tokens 8 (i / 2)
    ptx::store_shared(turn + (16 * block + 8 * (i / 2) + at.r) * 32 + 16 * (i % 2) + 2 * at.c,
                      ptx::transpose_8x8(x[i]));
}
/// The 64 tokens to rows of value_dim in device memory.
__device__ __forceinline__ void store_turned(uint16_t* to, int value_dim, uint32_t turn, int lane) {
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = lane / 2 + 16 * i;
    *reinterpret_cast<uint4*>(to + token * value_dim + lane % 2 * 8) =
        ptx::load_shared_uint4(turn + (lane + 32 * i) * 16);
  }
}

template <class T, int kKey, int kValue, bool kDelta>
__global__ void __launch_bounds__(2 * value_tile(kValue), serial_blocks(kKey, kValue))
    states(const __grid_constant__ Parameters p) {
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
  const uint32_t keys = base, values = keys + 2 * rows_bytes(kKey), inverses = values + 2 * rows_bytes(kTile),
                 gates = inverses + (kDelta ? 2 * kSquareBytes : 0),
                 turn = gates + 2 * kGateBytes + warp * kTurnBytes;
  const auto index = [&](int i) { return ((chain.first_chunk + i) * a.heads + h) * a.expansion + e; };
  const auto fetch = [&](int i) {
    const Chunk chunk = chain.chunk(i);
    const int stage = i % 2;
    copy_rows<kKey, kChunk, kThreads>(keys + stage * rows_bytes(kKey),
                                      words(a.k) + key_row(a, chunk.first, from_head, e) * kKey,
                                      int64_t{a.qk_heads} * a.expansion * kKey, chunk.count);
    copy_rows<kTile, kChunk, kThreads>(values + stage * rows_bytes(kTile),
                                       words(a.v) + (chunk.first * a.heads + h) * kValue + tile * kTile,
                                       int64_t{a.heads} * kValue, chunk.count);
    if (kDelta)
      copy_rows<kChunk, kChunk, kThreads>(inverses + stage * kSquareBytes,
                                          p.s.inverse + index(i) * kChunk * kChunk, kChunk, kChunk);
    copy_plain<kGateBytes, kThreads>(gates + stage * kGateBytes, p.s.gates + index(i) * 2 * kChunk);
    ptx::copies_commit();
  };
  if (chunks > 0) fetch(0);

  const int column = tile * kTile + 16 * warp;  // of V, the warp's first
  const int64_t state_at = ((int64_t{n} * a.heads + h) * a.expansion + e) * kKey * kValue + column;
  WarpState<kKey> state;
  state.load(a.h0 ? a.h0 + state_at : nullptr, kValue, Lane(lane));
  for (int i = 0; i < chunks; ++i) {
    ptx::copies_wait<0>();
    __syncthreads();  // everyone has this chunk's tiles and is done with those of the one before
    if (i + 1 < chunks) fetch(i + 1);
    int here = lane;
    asm volatile("" : "+r"(here));  // addresses are computed anew for each chunk: registers are short
    const Lane at(here);
    const int stage = i % 2;
    const uint32_t key = keys + stage * rows_bytes(kKey),
                   value = values + stage * rows_bytes(kTile) + warp / 4 * (kChunk * 128);
    const float* const gamma = reinterpret_cast<const float*>(shared + (gates - base) + stage * kGateBytes);
    const float* const beta = gamma + kChunk;
    const float last = gamma[kChunk - 1];
    state.template store_words<T>(p.s.states + (index(i) * kValue + column) * kKey, turn, lane, at);

    const auto write = [&](int block, const float(&x)[2][4]) {
      uint32_t u[4];  // e^(gamma_C - gamma) o beta o r, transposed
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int token = 16 * block + 8 * (m / 2) + at.c, y = 2 * (m % 2);
        const float2 g = two(gamma + token), b = two(beta + token);
        u[m] = ptx::pack<T>(x[m / 2][y] * ptx::exp2_fast(last - g.x) * b.x,
                            x[m / 2][y + 1] * ptx::exp2_fast(last - g.y) * b.y);
      }
      state.template add_tokens<T>(u, key, 16 * block, at);
    };
    if constexpr (kDelta) {
      uint32_t rest[4][4];  // V - e^gamma o K S
      __syncwarp();         // the state has left `turn`
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        float ks[4][4] = {};
        state.template times_tokens<T>(ks, key, 32 * part, at);
#pragma unroll
        for (int b = 0; b < 2; ++b) {
          const int block = 2 * part + b;
          uint32_t v[4];
          load_a_turned(v, value, at, 16 * (warp % 4), 16 * block);
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const float2 g = two(gamma + 16 * block + 8 * (m / 2) + at.c), x = ptx::unpack<T>(v[m]);
            const float* const y = ks[2 * b + m / 2] + 2 * (m % 2);
            rest[block][m] = ptx::pack<T>(x.x - ptx::exp2_fast(g.x) * y[0], x.y - ptx::exp2_fast(g.y) * y[1]);
          }
        }
      }
      const uint32_t inverse = inverses + stage * kSquareBytes;
      state.scale(ptx::exp2_fast(last));
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        float r[2][4] = {};
#pragma unroll
        for (int k = 0; k <= block; ++k) {  // A is lower triangular
          uint32_t x[4];
          load_b(x, inverse, at, 16 * k, 16 * block);
          multiply<T>(r[0], r[1], rest[k], x);
        }
        uint32_t words[4];
        as_a<T>(words, r[0], r[1]);
        turn_words(turn, block, words, at);
        write(block, r);
      }
      store_turned(p.s.errors + index(i) * kChunk * kValue + column, kValue, turn, lane);
    } else {
      state.scale(ptx::exp2_fast(last));
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        uint32_t v[4];
        load_a_turned(v, value, at, 16 * (warp % 4), 16 * block);
        float x[2][4];
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          const float2 pair = ptx::unpack<T>(v[m]);
          x[m / 2][2 * (m % 2)] = pair.x, x[m / 2][2 * (m % 2) + 1] = pair.y;
        }
        write(block, x);
      }
    }
  }
  if (a.ht) state.store(a.ht + state_at, kValue, Lane(lane));
}

}  // namespace statescope::cuda::multipass
