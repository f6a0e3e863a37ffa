#pragma once
// The gate warpgroups of gla: group x takes half x (32 tokens) of every chunk, a warp eight of its tokens, a
// lane four channels of them. w_i = e^{g_i}; everything else is products of w, so nothing ever exceeds one
// and no difference of cumulated gates is formed:
//   a_i = w_0 ... w_i  from the block's start,  b_j = w_{j+1} ... w_7  to its end,  D = a_7, of eight tokens
//   Q e^gamma           = Q a times the D of the blocks before (in the half)
//   K e^(gamma_C-gamma) = K b times the D of the blocks after, e^gamma_C = the product of all four D
// and P = tril(sum_c Q_ic K_jc w_{j+1} ... w_i) in three parts:
//   8 x 8 blocks on the diagonal: t_j = K_j is multiplied by w_i step by step, P_ij is the sum of Q_i t_j
//   over
//     the channels, and what is left of t_j at the end is K_j b_j;
//   8 x 8 blocks beside them, in the same sixteen tokens: (Q a) (K b)^T, on the matrix unit;
//   the 16 x 16 block of the later sixteen with the earlier: the same with the D between.
#include "cuda/chunked/schedule.cuh"

namespace statescope::cuda::chunked {

/// Sums up to 36 values over the 32 lanes of a warp, all at once: values merge in pairs, half of the lanes
/// going on with either. Value m of the first 32 ends in the lane whose number is m with its five bits
/// reversed, the four last in lanes 0, 16, 8, 24 in the same way.
struct WarpSums {
  int lane;
  float waiting[5];  // a sum of each round that has no partner yet
  float first;       // of values 0 to 31
  __device__ __forceinline__ float merge(int round, float low, float high) const {
    const int distance = 16 >> round;
    const bool up = lane & distance;
    const float keep = up ? high : low, give = up ? low : high;
    return keep + __shfl_xor_sync(~0u, give, distance);
  }
  /// `count` values came before.
  __device__ __forceinline__ void add(int count, float x) {
#pragma unroll
    for (int round = 0; round < 5; ++round) {
      if (count >> round & 1) {
        x = merge(round, waiting[round], x);
      } else {
        waiting[round] = x;
        return;
      }
    }
    first = x;
  }
  /// Values 32 to 35, each in eight lanes.
  __device__ __forceinline__ float last() const {
    float x = waiting[2];
#pragma unroll
    for (int round = 2; round < 5; ++round) x += __shfl_xor_sync(~0u, x, 16 >> round);
    return x;
  }
};

template <class T>
__device__ __forceinline__ float4 unpack4(uint2 x) {
  const float2 a = ptx::unpack<T>(x.x), b = ptx::unpack<T>(x.y);
  return {a.x, a.y, b.x, b.y};
}
template <class T>
__device__ __forceinline__ uint2 pack4(float4 x) {
  return {ptx::pack<T>(x.x, x.y), ptx::pack<T>(x.z, x.w)};
}
__device__ __forceinline__ float4 times(float4 a, float4 b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ __forceinline__ float4 exp4(float4 g) {
  return {ptx::exp2_fast(kLog2E * g.x), ptx::exp2_fast(kLog2E * g.y), ptx::exp2_fast(kLog2E * g.z),
          ptx::exp2_fast(kLog2E * g.w)};
}
__device__ __forceinline__ float dot(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

/// One warp's eight tokens: scales Q and K in place, leaves the factors of the blocks beside the diagonal in
/// the rows of g, and the diagonal block in P.
template <class T>
struct GateBlock {
  using Map = GlaMap;
  uint32_t tiles, score, blocks, decay;  // of the half; `blocks` the D of its four blocks
  int n, lane;                           // block of the half

  // A lane's channels 4 lane to 4 lane + 3 of token i of the block.
  __device__ __forceinline__ uint32_t raw(int i) const {  // of Q; K lies a tile further
    return tiles + lane / 16 * Map::kHalf + (8 * n + i) * 128 + ((lane / 2 % 8 ^ i) << 4) + lane % 2 * 8;
  }
  __device__ __forceinline__ uint32_t gate(int i) const {
    return tiles + Map::gate + (8 * n + i) * Map::kGateRow + 16 * lane;
  }
  /// A row of factors, 0 for the block in the same sixteen tokens, 1 for the other sixteen: 256 bytes of what
  /// was the gate of the same token, so it overwrites nothing that another warp still needs. 16 bytes are
  /// moved by the token as in 128-byte swizzle, for ldmatrix.
  __device__ __forceinline__ uint32_t factor(int i, int level) const {
    return tiles + Map::gate + (8 * n + i) * Map::kGateRow + level * 256 + lane / 16 * 128 +
           ((lane / 2 % 8 ^ i) << 4) + lane % 2 * 8;
  }
  __device__ __forceinline__ float4 whole(int block) const {
    return ptx::load_shared_float4(blocks + block * (kDim * 4) + 16 * lane);
  }

  /// Tokens from `valid` on are not of this sequence: they let the state be and add nothing.
  __device__ __forceinline__ void clear(int valid) const {
    for (int i = max(0, valid - 8 * n); i < 8; ++i) {
      ptx::store_shared(gate(i), float4{});
      ptx::store_shared(raw(i) + Map::kTile, uint2{});
    }
  }
  __device__ __forceinline__ void sum_gates() const {
    float4 sum = ptx::load_shared_float4(gate(0));
#pragma unroll
    for (int i = 1; i < 8; ++i) {
      const float4 g = ptx::load_shared_float4(gate(i));
      sum = {sum.x + g.x, sum.y + g.y, sum.z + g.z, sum.w + g.w};
    }
    ptx::store_shared(blocks + n * (kDim * 4) + 16 * lane, exp4(sum));
  }
  __device__ __forceinline__ void scale() const {
    const float4 one{1, 1, 1, 1};
    // from the half's start to the block's; between the block and the other sixteen tokens
    float4 before = one, beside = one;
    if (n >= 1) before = whole(0);
    if (n >= 2) before = times(before, whole(1));
    if (n == 3) beside = whole(2), before = times(before, beside);
    if (n == 0) beside = whole(1);
    float4 key[8], from_start = one;
    WarpSums sums{lane};
    float4 g = ptx::load_shared_float4(gate(0));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint2 q16 = ptx::load_shared_uint2(raw(i)), k16 = ptx::load_shared_uint2(raw(i) + Map::kTile);
      const float4 w = exp4(g);
#pragma unroll
      for (int j = 0; j < i; ++j) key[j] = times(key[j], w);
      const float4 q = unpack4<T>(q16);
      key[i] = unpack4<T>(k16);
      from_start = times(from_start, w);
      if (i < 7) g = ptx::load_shared_float4(gate(i + 1));
      __syncwarp();  // the gate's row has been read by all lanes
#pragma unroll
      for (int j = 0; j <= i; ++j) sums.add(i * (i + 1) / 2 + j, dot(q, key[j]));
      const float4 qa = times(q, from_start);
      ptx::store_shared(raw(i), pack4<T>(times(qa, before)));
      if (n % 2 == 1) ptx::store_shared(factor(i, 0), pack4<T>(qa));
      if (n >= 2) ptx::store_shared(factor(i, 1), pack4<T>(times(qa, beside)));
    }
    const float last = sums.last();
    store_diagonal(sums.first, __brev(lane) >> 27);
    if (lane % 8 == 0) store_diagonal(last, 32 + (__brev(lane) >> 27));
    float4 after = one;
    if (n <= 2) after = whole(3);
    if (n <= 1) after = times(after, whole(2));
    if (n == 0) after = times(after, beside), ptx::store_shared(decay + 16 * lane, times(after, from_start));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      ptx::store_shared(raw(i) + Map::kTile, pack4<T>(times(key[i], after)));
      if (n % 2 == 0) ptx::store_shared(factor(i, 0), pack4<T>(key[i]));
      if (n < 2) ptx::store_shared(factor(i, 1), pack4<T>(times(key[i], beside)));
    }
  }
  /// Value m of the lower triangle, row by row.
  __device__ __forceinline__ void store_diagonal(float x, int m) const {
    int i = 0;
#pragma unroll
    for (int row = 1; row < 8; ++row) i += m >= row * (row + 1) / 2;
    const int j = m - i * (i + 1) / 2;
    ptx::store_shared_16(score + (8 * n + i) * 64 + ((n ^ i / 2) << 4) + 2 * j, ptx::pack<T>(x, 0));
  }
  /// The blocks of P that are not on the diagonal, once all four warps have left their factors: warps 0 and 1
  /// take eight columns each of the 16 x 16 block, warps 2 and 3 an 8 x 8 block each, as the upper half of a
  /// product of 16 rows.
  __device__ __forceinline__ void multiply() const {
    const bool far = n < 2;
    const int row = far ? 16 : 16 * (n - 2) + 8, column = far ? 8 * n : 16 * (n - 2);
    const int l = lane % 8, m = lane / 8;  // ldmatrix: row l of tile m
    const uint32_t factors = tiles + Map::gate + (far ? 256 : 0);
    const uint32_t a_at = factors + (row + l + (far ? m % 2 * 8 : 0)) * Map::kGateRow + ((m / 2 ^ l) << 4),
                   b_at = factors + (column + l) * Map::kGateRow + ((m ^ l) << 4);
    float d[2][4] = {};
#pragma unroll
    for (int k = 0; k < kDim / 32; ++k) {
      uint32_t a[4], b[4];
      ptx::load_matrix_x4(b, (b_at ^ (k % 2 << 6)) + k / 2 * 128);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        ptx::load_matrix_x4(a, (a_at ^ ((2 * k + h) % 4 << 5)) + k / 2 * 128);
        if constexpr (std::is_same_v<T, __half>)
          ptx::mma_f16(d[h], a, b[2 * h], b[2 * h + 1]);
        else
          ptx::mma_bf16(d[h], a, b[2 * h], b[2 * h + 1]);
      }
    }
    const int r = lane / 4;
    const uint32_t to = score + (row + r) * 64 + ((column / 8 ^ r / 2) << 4) + lane % 4 * 4;
    ptx::store_shared(to, ptx::pack<T>(d[0][0] + d[1][0], d[0][1] + d[1][1]));
    if (far) ptx::store_shared(to + 8 * 64, ptx::pack<T>(d[0][2] + d[1][2], d[0][3] + d[1][3]));
  }
};

template <class T>
__device__ __forceinline__ void gate(uint8_t* shared, uint32_t base, int chunks) {
  using Map = GlaMap;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0) - 8, x = warp / 4;
  // what lies above the diagonal of P is zero for good
  for (int i = threadIdx.x - 256; i < Map::kStages * int(Map::kScore) / 4; i += 256)
    ptx::store_shared(base + Map::score + 4 * i, 0u);
  ptx::named_barrier(1, 256);
  int stage = x, parity = 0;
  for (int it = 0; it < chunks; ++it) {
    GateBlock<T> block;
    block.tiles = base + Map::stages + stage * Map::kStage,
    block.score = base + Map::score + stage * Map::kScore;
    block.blocks = base + Map::blocks + x * 4 * kDim * 4, block.decay = base + Map::decay + stage * kDim * 4;
    block.n = warp % 4, block.lane = threadIdx.x % 32;
    ptx::barrier_wait(base + Map::full + 8 * stage, parity);
    const int valid = reinterpret_cast<const int*>(shared + Map::tokens)[stage];
    if (valid < 8 * block.n + 8) block.clear(valid);
    block.sum_gates();
    ptx::named_barrier(4 + x, 128);
    block.scale();
    ptx::named_barrier(4 + x, 128);
    block.multiply();
    ptx::fence_async_proxy();
    ptx::barrier_arrive(base + Map::ready + 8 * stage);
    if ((stage += 2) >= Map::kStages) stage -= Map::kStages, parity ^= 1;
  }
}

}  // namespace statescope::cuda::chunked
