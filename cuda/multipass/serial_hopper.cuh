#pragma once
// What the two serial passes share on compute capability 9.0: who works on what, the warp that asks for
// tiles, and the state in a warpgroup's accumulators.
//
// Everything is transposed. A warpgroup has 64 columns of V of the state, all of K: S^T, or its gradient.
// What a product leaves there, rounded to 16 bits, is the next product's register operand, so that the chain
// over chunks never waits for shared memory. Its 16-bit copy leaves through shared memory while products read
// the registers.
#include "cuda/multipass/hopper.h"
#include "cuda/multipass/tiles.cuh"
#include "cuda/multipass/warpgroup.cuh"

namespace statescope::cuda::multipass {

constexpr uint32_t kPanelBytes = kChunk * 128;  ///< 64 rows of 64 16-bit values

/// A block's chain and columns of V.
struct Work {
  int n, h, e, column;
  Chain chain;
  /// Of sequence `sequence`; subheads are counted over all heads.
  __device__ __forceinline__ Work(const Arguments& a, int sequence, int subhead, int first_column)
      : n(sequence),
        h(subhead / a.expansion),
        e(subhead % a.expansion),
        column(first_column),
        chain(chain_of(a, sequence)) {}
  __device__ __forceinline__ explicit Work(const SerialParameters& s)
      : Work(s.p.a, blockIdx.x / (s.p.a.value_dim / s.tile) / (s.p.a.heads * s.p.a.expansion),
             blockIdx.x / (s.p.a.value_dim / s.tile) % (s.p.a.heads * s.p.a.expansion),
             blockIdx.x % (s.p.a.value_dim / s.tile) * s.tile) {}
  /// Of a chunk in the scratch arrays.
  __device__ __forceinline__ int index(const Arguments& a, int chunk) const {
    return (static_cast<int>(chain.first_chunk + chunk) * a.heads + h) * a.expansion + e;
  }
  /// Element (0, column) of this chain's float32 state.
  __device__ __forceinline__ int64_t state(const Arguments& a) const {
    return ((int64_t{n} * a.heads + h) * a.expansion + e) * a.key_dim * a.value_dim + column;
  }
};

/// Barriers of a stage.
__device__ __forceinline__ uint32_t full(const SerialMap& map, uint32_t base, int slot) {
  return base + map.barriers + kStageBarrierBytes * slot;
}
__device__ __forceinline__ uint32_t empty(const SerialMap& map, uint32_t base, int slot) {
  return full(map, base, slot) + 8;
}
/// P is there, where it is made in the block.
__device__ __forceinline__ uint32_t scored(const SerialMap& map, uint32_t base, int slot) {
  return full(map, base, slot) + 16;
}

/// One warp asks for the tiles of each chunk and makes the factors of its tokens, all <= 1:
///   [0] e^gamma, [1] e^(gamma_C - gamma) (o beta forward), [2] beta; [3] is gamma
/// kQueries: Q comes too, and P unless kScores says that it is made here.
template <bool kDelta, bool kReverse, bool kQueries = kReverse, bool kScores = false>
struct Feeder {
  const SerialParameters& s;
  const Work& work;
  const uint32_t base;
  const int chunks, lane;
  int it = 0, slot = 0, parity = 1;
  float2 gamma, beta;  // of tokens 2 lane and 2 lane + 1, on their way while the warp waits

  __device__ __forceinline__ Feeder(const SerialParameters& s_, uint8_t* shared, const Work& work_)
      : s(s_),
        work(work_),
        base(ptx::shared_address(shared)),
        chunks(work_.chain.chunks()),
        lane(threadIdx.x % 32) {
    if (chunks > 0) load_gates();
  }
  __device__ __forceinline__ int chunk() const { return kReverse ? chunks - 1 - it : it; }
  __device__ __forceinline__ void load_gates() {
    const float2* const from =
        reinterpret_cast<const float2*>(s.p.s.gates) + int64_t{work.index(s.p.a, chunk())} * kChunk;
    gamma = from[lane], beta = from[32 + lane];
  }
  __device__ __forceinline__ bool done() const { return it >= chunks; }
  /// Whether `step` would not wait.
  __device__ __forceinline__ bool ready() const {
    return ptx::barrier_test(empty(s.map, base, slot), parity);
  }
  /// Asks for the next chunk.
  __device__ __forceinline__ void step() {
    const Arguments& a = s.p.a;
    const SerialMap& map = s.map;
    const uint32_t to = base + slot * map.stage, arrived = full(map, base, slot);
    ptx::barrier_wait(empty(map, base, slot), parity);
    if (lane == 0) {
      const int key_row = key_head(a, work.h) * a.expansion + work.e, batch = a.cu_seqlens ? 0 : work.n,
                begin = a.cu_seqlens ? static_cast<int>(work.chain.begin) : 0,
                token = begin + chunk() * kChunk, row = work.index(a, chunk()) * kChunk;
      ptx::barrier_arrive_expect(arrived, map.stage);
      ptx::copy_tile_5d(to, &s.key, arrived, 0, token, 0, key_row, batch);
      if (kQueries) ptx::copy_tile_5d(to + map.value / 2, &s.query, arrived, 0, token, 0, key_row, batch);
      ptx::copy_tile_5d(to + map.value, &s.value, arrived, 0, token, work.column / 64, work.h, batch);
      if (kQueries && !kScores) ptx::copy_tile_5d(to + map.score, &s.score, arrived, 0, row, 0, 0, 0);
      if (kDelta) ptx::copy_tile_5d(to + map.inverse, &s.inverse, arrived, 0, row, 0, 0, 0);
    }
    __syncwarp();
    const float last = __shfl_sync(~0u, gamma.y, 31);
    const uint32_t factors = base + map.factors + slot * kFactorBytes + 8 * lane;
    float2 after = {ptx::exp2_fast(last - gamma.x), ptx::exp2_fast(last - gamma.y)};
    if (!kReverse) after.x *= beta.x, after.y *= beta.y;
    ptx::store_shared(factors, float2{ptx::exp2_fast(gamma.x), ptx::exp2_fast(gamma.y)});
    ptx::store_shared(factors + 4 * kChunk, after);
    if (kQueries) ptx::store_shared(factors + 8 * kChunk, beta);
    if (kScores) ptx::store_shared(factors + 12 * kChunk, gamma);
    ptx::warp_arrive(arrived);
    ++it;
    if (!done()) load_gates();
    if (++slot == map.stages) slot = 0, parity ^= 1;
  }
};
template <bool kDelta, bool kReverse, bool kQueries = kReverse>
__device__ __forceinline__ void feed(const SerialParameters& s, uint8_t* shared, const Work& work) {
  for (Feeder<kDelta, kReverse, kQueries> feeder(s, shared, work); !feeder.done();) feeder.step();
}

/// A thread of a warpgroup, and its places in the tiles.
struct Thread {
  int wg, tid, c;     // first column of this lane in an 8 x 8 tile of a result
  uint32_t turned;    // of a tile [token][64 columns of V], read or written transposed: 16 tokens on, 2048 on
  uint32_t straight;  // of a tile [64 columns of V][64 channels]: 16 channels on, ^ 32
  __device__ __forceinline__ Thread()
      : wg(__shfl_sync(~0u, threadIdx.x / 128, 0)), tid(threadIdx.x % 128), c(2 * (tid % 4)) {
    const int lane = tid % 32, warp = tid / 32;
    const int token = lane % 8 + 8 * (lane / 16), row = 16 * warp + lane % 16;
    turned = token * 128 + ((2 * warp + lane / 8 % 2 ^ lane % 8) << 4);
    straight = row * 128 + ((lane / 16 ^ lane % 8) << 4);
  }
};

/// Operand [64 columns of V] x [64 tokens] from the warpgroup's columns of a stage's tile of values.
__device__ __forceinline__ void load_values(uint32_t (&x)[16], uint32_t tile, const Thread& at) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    ptx::load_matrix_x4_transposed(*reinterpret_cast<uint32_t(*)[4]>(&x[4 * k]),
                                   tile + at.wg * kPanelBytes + at.turned + k * 2048);
}
/// Factors of the tokens that a thread has in such an operand: x[m / 2] for element m.
__device__ __forceinline__ void load_factors(float2 (&x)[8], const float* factors) {
#pragma unroll
  for (int j = 0; j < 8; ++j) x[j] = two(factors + 8 * j);
}

/// d (64 columns of V by 64 tokens) += `words`, a 16-bit S^T of 16 kSteps channels, times the transposed tile
/// of tokens from its first panel on.
template <class T, int kSteps>
__device__ __forceinline__ void times_tokens(float (&d)[32], const uint32_t* words, uint64_t tokens,
                                             bool first) {
#pragma unroll
  for (int k = 0; k < kSteps; ++k)
    ptx::wgmma_n64<T>(d, &words[4 * k], tokens + k / 4 * (kPanelBytes / 16) + k % 4 * 2, !first || k > 0);
  ptx::wgmma_commit();
}
/// x - factors o y in 16 bits: with e^gamma and K S what is left of V.
template <class T>
__device__ __forceinline__ void subtract_scaled(uint32_t (&x)[16], const float2 (&factors)[8],
                                                const float (&y)[32]) {
#pragma unroll
  for (int m = 0; m < 16; ++m) {
    const float2 g = factors[m / 2], v = ptx::unpack<T>(x[m]);
    x[m] = ptx::pack<T>(v.x - g.x * y[2 * m], v.y - g.y * y[2 * m + 1]);
  }
}
/// factors o x in 16 bits
template <class T>
__device__ __forceinline__ void scale_values(uint32_t (&to)[16], const float2 (&factors)[8],
                                             const float (&x)[32]) {
#pragma unroll
  for (int m = 0; m < 16; ++m)
    to[m] = ptx::pack<T>(factors[m / 2].x * x[2 * m], factors[m / 2].y * x[2 * m + 1]);
}
template <class T>
__device__ __forceinline__ void scale_values(uint32_t (&to)[16], const float2 (&factors)[8],
                                             const uint32_t (&x)[16]) {
#pragma unroll
  for (int m = 0; m < 16; ++m) {
    const float2 v = ptx::unpack<T>(x[m]);
    to[m] = ptx::pack<T>(factors[m / 2].x * v.x, factors[m / 2].y * v.y);
  }
}

/// S^T of a warpgroup: row v = 16 warp + lane / 4 (+ 8), channel 64 panel + 8 n + c (+ 1) at
/// x[panel][4 n + 2 (row + 8) + (channel + 1)].
template <class T, int kKey>
struct WarpgroupState {
  static constexpr int kPanels = kKey / 64;
  float x[kPanels][32];

  template <class Visit>
  __device__ __forceinline__ void each(const Thread& at, int value_dim, Visit visit) {
    const int64_t first = 64 * at.wg + 16 * (at.tid / 32) + at.tid % 32 / 4;
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
#pragma unroll
      for (int i = 0; i < 32; ++i)
        visit(x[panel][i],
              first + 8 * (i / 2 % 2) + int64_t{64 * panel + 8 * (i / 4) + at.c + i % 2} * value_dim);
  }
  __device__ __forceinline__ void load(const float* from, int value_dim, const Thread& at) {
    each(at, value_dim, [&](float& y, int64_t i) { y = from ? from[i] : 0.f; });
  }
  __device__ __forceinline__ void store(float* to, int value_dim, const Thread& at) {
    each(at, value_dim, [&](float& y, int64_t i) { to[i] = y; });
  }
  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
#pragma unroll
      for (int i = 0; i < 32; ++i) x[panel][i] *= factor;
  }
  __device__ __forceinline__ void pin() {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) ptx::pin(x[panel]);
  }
  /// S^T in 16 bits, panels from `first` on, as operands.
  template <int kWords>
  __device__ __forceinline__ void round(uint32_t (&words)[kWords], int first) const {
#pragma unroll
    for (int m = 0; m < kWords; ++m) {
      const float(&y)[32] = x[first + m / 16];
      words[m] = ptx::pack<T>(y[2 * (m % 16)], y[2 * (m % 16) + 1]);
    }
    ptx::pin(words);
  }
  /// Writes the 16-bit S^T to `out` (this thread's place in it), once `free` returns, and starts d = S^T
  /// times the transposed tile of keys when kMultiply. kAtOnce panels are in registers in 16 bits at a time;
  /// when all have been, and before the last products start, `rounded` may change S^T.
  template <bool kMultiply, int kAtOnce, class Rounded, class Free>
  __device__ __forceinline__ void copy(float (&d)[32], uint64_t keys, uint32_t out, Rounded rounded,
                                       Free free) {
#pragma unroll
    for (int first = 0; first < kPanels; first += kAtOnce) {
      uint32_t words[kAtOnce * 16];
      round(words, first);
      if (first + kAtOnce == kPanels) rounded();
      if constexpr (kMultiply) {
        ptx::wgmma_fence();
        times_tokens<T, kAtOnce * 4>(d, words, keys + first * (kPanelBytes / 16), first == 0);
      }
      if (first == 0) free();
#pragma unroll
      for (int k = 0; k < kAtOnce * 4; ++k)
        ptx::store_matrix_x4((out + (first + k / 4) * kPanelBytes) ^ (k % 4 * 32), &words[4 * k]);
      if (kMultiply && first + kAtOnce < kPanels) ptx::wgmma_wait<0>();  // `words` are wanted again
    }
  }
  /// Starts S^T += u (64 columns of V by 64 tokens, an operand) times the tile of tokens.
  __device__ __forceinline__ void add_tokens(uint32_t (&u)[16], uint32_t tile) {
    const uint64_t tokens = ptx::operand(tile, kPanelBytes, 1024);
    pin();
    ptx::pin(u);
    ptx::wgmma_fence();
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        ptx::wgmma_n64_outer<T>(x[panel], &u[4 * k], tokens + panel * (kPanelBytes / 16) + k * (2048 / 16),
                                1);
    ptx::wgmma_commit();
  }
};

/// Zeros for the tokens from `count` on of an operand [64 columns of V] x [64 tokens]. They are the next
/// sequence's.
__device__ __forceinline__ void clear_tail(uint32_t (&x)[16], int count, int c) {
#pragma unroll
  for (int m = 0; m < 16; ++m) {
    const int token = 16 * (m / 4) + 8 * (m / 2 % 2) + c;
    x[m] = token >= count ? 0 : token + 1 >= count ? x[m] & 0xffff : x[m];
  }
}

/// What a warpgroup sends to device memory: its 16-bit state, then r or dr, once a chunk each.
struct Sender {
  const SerialParameters& s;
  const Work& work;
  const Thread& at;
  uint32_t state, result;  // the warpgroup's places in shared memory
  __device__ __forceinline__ Sender(const SerialParameters& s_, const Work& work_, const Thread& at_,
                                    uint32_t base)
      : s(s_),
        work(work_),
        at(at_),
        state(base + s_.map.state + at_.wg * 128 * s_.p.a.key_dim),
        result(base + s_.map.result + at_.wg * kPanelBytes) {}

  __device__ __forceinline__ void meet() const { ptx::named_barrier(1 + at.wg, 128); }
  /// The state of the chunk before has left. kResults: r or dr leave too and may still be on their way.
  template <bool kResults>
  __device__ __forceinline__ void state_free() const {
    if (at.tid == 0) ptx::stores_wait_read<kResults ? 1 : 0>();
    meet();
  }
  /// Sends the state. After it, the place of r or dr is free.
  __device__ __forceinline__ void send_state(int chunk) const {
    ptx::fence_async_proxy();
    if (at.tid == 0) ptx::stores_wait_read<0>();
    meet();
    if (at.tid == 0) {
      const Arguments& a = s.p.a;
      ptx::store_tile_5d(&s.state, state, 0, work.index(a, chunk) * a.value_dim + work.column + 64 * at.wg, 0,
                         0, 0);
      ptx::stores_commit();
    }
  }
  /// Pairs along tokens, as in an operand [64 columns of V] x [64 tokens].
  __device__ __forceinline__ void send_result(int chunk, const uint32_t (&words)[16]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      ptx::store_matrix_x4_transposed(result + at.turned + k * 2048, words[4 * k], words[4 * k + 1],
                                      words[4 * k + 2], words[4 * k + 3]);
    ptx::fence_async_proxy();
    meet();
    if (at.tid == 0) {
      ptx::store_tile_5d(&s.result, result, 0, work.index(s.p.a, chunk) * kChunk, work.column / 64 + at.wg, 0,
                         0);
      ptx::stores_commit();
    }
  }
  __device__ __forceinline__ void finish() const {
    if (at.tid == 0) ptx::stores_wait();
  }
};

/// Barriers of all stages; every thread of the block.
__device__ __forceinline__ void start_barriers(const SerialParameters& s, uint8_t* shared) {
  const uint32_t base = ptx::shared_address(shared);
  if (base % 1024 != 0) __trap();
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < s.map.stages; ++slot) {
      ptx::barrier_init(full(s.map, base, slot), 1 + ptx::kWarpArrivals);
      ptx::barrier_init(empty(s.map, base, slot), s.tile / 16 * ptx::kWarpArrivals);
      ptx::barrier_init(scored(s.map, base, slot), 4 * ptx::kWarpArrivals);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();
}

}  // namespace statescope::cuda::multipass
