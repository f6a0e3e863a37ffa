#pragma once
// gla, pass 1, every chunk of every subhead at once: what does not depend on the state.
//   scale Q e^gamma,  K e^(gamma_C - gamma),  e^gamma_C
//   P_ij = scale sum_c Q_ic K_jc e^(gamma_ic - gamma_jc), j <= i
// The decay sits inside the sum. A pivot between j and i splits it into two factors that are both <= 1. In a
// span of 2 h tokens the last token of the first half is the pivot between the halves: rows of
//   X = Q e^(gamma - pivot) in second halves, K e^(pivot - gamma) in first halves
// times each other are the part of P that crosses the middle of a span. h = 32, 16, 8, 4, 2, 1 covers all
// pairs i > j, each once, and i = j has no decay.
//
// A block is a chunk, so that rows of q, k and g are read whole; a warp takes sixteen channels at a time,
// with its part of P in the accumulators. A lane has channels 4 c to 4 c + 3 of token r of each eight (lane =
// 4 r + c): what it holds of X is both a first and a second operand.
#include "cuda/multipass/gla_tiles.cuh"

namespace statescope::cuda::multipass {

/// Four channels of a token, as two pairs of operands.
struct Pairs {
  uint32_t x[2];
};

/// P in the accumulators of one warp, its part of the sum over channels; tiles are of eight tokens.
template <class T>
struct GlaScores {
  static constexpr int kParts = 18;
  float x[kParts][4];
  // rows 32 + 16 b by column tile n: the halves of the chunk
  static constexpr int far(int b, int n) { return 4 * b + n; }
  // rows 32 s + 16 by column tile 4 s + n
  static constexpr int middle(int s, int n) { return 8 + 2 * s + n; }
  // rows of tiles 2 b, 2 b + 1 by columns of tile 2 b
  static constexpr int near(int b) { return 12 + b; }
  // rows of tile 2 b + 1 by columns of the same, two values a lane from 2 (b % 2) on
  static constexpr int last(int b) { return 16 + b / 2; }

  static __device__ __forceinline__ void add(float (&d)[4], const Pairs& upper, const Pairs& lower,
                                             const Pairs& columns) {
    const uint32_t rows[4] = {upper.x[0], lower.x[0], upper.x[1], lower.x[1]};
    ptx::mma<T>(d, rows, columns.x[0], columns.x[1]);
  }
  /// Tiles 2 b and 2 b + 1 with themselves, of a product the elements that `left` and `right` say (columns
  /// 2 c and 2 c + 1 of row r).
  __device__ __forceinline__ void add_masked(int b, const Pairs* rows, const Pairs* columns, bool left,
                                             bool right) {
    float upper[4] = {}, lower[4] = {};
    add(upper, rows[0], rows[1], columns[0]);
    add(lower, rows[0], rows[1], columns[1]);
    x[near(b)][0] += left ? upper[0] : 0.f, x[near(b)][1] += right ? upper[1] : 0.f;
    x[last(b)][b % 2 * 2] += left ? lower[2] : 0.f, x[last(b)][b % 2 * 2 + 1] += right ? lower[3] : 0.f;
  }
  __device__ __forceinline__ void leave(uint32_t to, int lane) const {
#pragma unroll
    for (int i = 0; i < kParts; ++i) ptx::store_shared(to + (i * 32 + lane) * 16, x[i]);
  }
};

/// Sums the warps' parts, which lie `stride` bytes apart in shared memory, in their order, and stores P: a
/// warp the rows of one of the kinds of blocks.
template <class T>
__device__ __forceinline__ void gla_store_scores(uint16_t* to, uint32_t from, uint32_t stride, float scale,
                                                 int warp, int lane) {
  using Scores = GlaScores<T>;
  const Lane at(lane);
  const auto sum = [&](int part) {
    float4 x = ptx::load_shared_float4(from + (part * 32 + lane) * 16);
#pragma unroll
    for (uint32_t w = 1; w < kGlaPrepareThreads / 32; ++w) {
      const float4 y = ptx::load_shared_float4(from + w * stride + (part * 32 + lane) * 16);
      x.x += y.x, x.y += y.y, x.z += y.z, x.w += y.w;
    }
    return x;
  };
  const auto put = [&](int row, int column, float left, float right) {
    *reinterpret_cast<uint32_t*>(to + (row + at.r) * kChunk + column + at.c) =
        ptx::pack<T>(scale * left, scale * right);
  };
  const auto put_block = [&](int row, int column, const float4& x) {
    put(row, column, x.x, x.y), put(row + 8, column, x.z, x.w);
  };
  if (warp < 2) {
#pragma unroll
    for (int n = 0; n < 4; ++n) put_block(32 + 16 * warp, 8 * n, sum(Scores::far(warp, n)));
  } else if (warp == 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      put_block(i / 2 * 32 + 16, i / 2 * 32 + i % 2 * 8, sum(Scores::middle(i / 2, i % 2)));
  } else {
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const float4 last = sum(Scores::last(b));
      put_block(16 * b, 16 * b, sum(Scores::near(b)));
      put_block(16 * b, 16 * b + 8, {0, 0, b % 2 ? last.z : last.x, b % 2 ? last.w : last.y});
    }
  }
}

template <class T, int kKey>
__global__ void __launch_bounds__(kGlaPrepareThreads, 3)
    gla_prepare(const __grid_constant__ GlaParameters p) {
  constexpr int kAtATime = kGlaPrepareThreads / 32 * kGlaChannels;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int64_t index = blockIdx.x;
  const int e = index % a.expansion, h = index / a.expansion % a.heads;
  const Chunk chunk = chunk_of(a, index / a.expansion / a.heads);
  if (chunk.count == 0) return;
  const int from_head = key_head(a, h);
  const uint32_t base = ptx::shared_address(shared) + warp * kGlaPrepareWarpBytes;
  const uint32_t turn = base + kGlaInputBytes + kGlaGateBytes;
  GlaInput(base).fetch<kKey>(a, chunk, from_head, h, e, warp * kGlaChannels, lane);

  const Lane at(lane);
  const int r = lane / 4, c = lane % 4;
  GlaScores<T> scores = {};
#pragma unroll 1
  for (int step = 0; step < kKey / kAtATime; ++step) {
    const int channel = step * kAtATime + warp * kGlaChannels, place = step % 2;
    const GlaInput input(base, place);
    ptx::copies_wait<0>();
    __syncwarp();
    input.cumulate(lane);
    __syncwarp();
    Pairs q[8], k[8];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const uint2 x = ptx::load_shared_uint2(input.q + (8 * n + r) * 32 + 8 * c),
                  y = ptx::load_shared_uint2(input.k + (8 * n + r) * 32 + 8 * c);
      q[n] = {{x.x, x.y}}, k[n] = {{y.x, y.y}};
    }
    __syncwarp();  // everyone has read; cumulated gates stay where they are, registers are short
    if (step + 1 < kKey / kAtATime)
      GlaInput(base, 1 - place).fetch<kKey>(a, chunk, from_head, h, e, channel + kAtATime, lane);

    // gamma of row `row` of tile n
    const auto gamma_of = [&](int n, int row) {
      return ptx::load_shared_float4(input.g + gate_at(n, row, 4 * c));
    };
    float4 gamma[8];
#pragma unroll
    for (int n = 0; n < 8; ++n) gamma[n] = gamma_of(n, r);
    // The decays of the four channels between token r of tile n and the pivot
    const auto decay = [&](int n, const float4& pivot) {
      const float4& g = gamma[n];
      return float4{decay_between(g.x, pivot.x), decay_between(g.y, pivot.y), decay_between(g.z, pivot.z),
                    decay_between(g.w, pivot.w)};
    };
    const auto decayed = [&](int n, const Pairs& from, const float4& pivot) {
      const float4 x = decay(n, pivot);
      return Pairs{{times_pairs<T>(ptx::pack<T>(x.x, x.y), from.x[0]),
                    times_pairs<T>(ptx::pack<T>(x.z, x.w), from.x[1])}};
    };

#pragma unroll
    for (int b = 0; b < 4; ++b) scores.add_masked(b, q + 2 * b, k + 2 * b, at.c == r, at.c + 1 == r);
#pragma unroll 1
    for (int half = 1; half <= 4; half *= 2) {  // spans of 2, 4 and 8 tokens
      const bool second = r & half;
      const int span = r & ~(2 * half - 1);
      const auto pair = [&](int column) {
        return second && (column & ~(2 * half - 1)) == span && !(column & half);
      };
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        Pairs x[2];
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          const int n = 2 * b + t;
          const Pairs from = {{second ? q[n].x[0] : k[n].x[0], second ? q[n].x[1] : k[n].x[1]}};
          x[t] = decayed(n, from, gamma_of(n, span + half - 1));
        }
        scores.add_masked(b, x, x, pair(at.c), pair(at.c + 1));
      }
    }
    const Pairs none = {{0, 0}};
#pragma unroll
    for (int b = 0; b < 4; ++b) {  // of 16
      const float4 pivot = gamma_of(2 * b, 7);
      scores.add(scores.x[scores.near(b)], none, decayed(2 * b + 1, q[2 * b + 1], pivot),
                 decayed(2 * b, k[2 * b], pivot));
    }
#pragma unroll
    for (int s = 0; s < 2; ++s) {  // of 32
      const float4 pivot = gamma_of(4 * s + 1, 7);
      const Pairs upper = decayed(4 * s + 2, q[4 * s + 2], pivot),
                  lower = decayed(4 * s + 3, q[4 * s + 3], pivot);
#pragma unroll
      for (int n = 0; n < 2; ++n)
        scores.add(scores.x[scores.middle(s, n)], upper, lower, decayed(4 * s + n, k[4 * s + n], pivot));
    }
    {  // of 64
      const float4 pivot = gamma_of(3, 7);
      Pairs rows[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) rows[n] = decayed(4 + n, q[4 + n], pivot);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const Pairs columns = decayed(n, k[n], pivot);
#pragma unroll
        for (int b = 0; b < 2; ++b)
          scores.add(scores.x[scores.far(b, n)], rows[2 * b], rows[2 * b + 1], columns);
      }
    }

    // What the other passes multiply with, channels in their order: 4 c and 4 c + 2 are positions 2 c and
    // 2 c + 1, the others eight further.
    const float4 end = gamma_of(7, 7), start = {0, 0, 0, 0};
    float* const decays = p.s.decays + index * kKey + channel + at.c;
    if (r == 0) {
      *reinterpret_cast<float2*>(decays) = {ptx::exp2_fast(end.x), ptx::exp2_fast(end.z)};
      *reinterpret_cast<float2*>(decays + 8) = {ptx::exp2_fast(end.y), ptx::exp2_fast(end.w)};
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float4 x = decay(n, start), y = decay(n, end);
      const float2 q0 = ptx::unpack<T>(q[n].x[0]), q1 = ptx::unpack<T>(q[n].x[1]),
                   k0 = ptx::unpack<T>(k[n].x[0]), k1 = ptx::unpack<T>(k[n].x[1]);
      const uint32_t to = turn + (8 * n + r) * 32 + 2 * at.c;
      ptx::store_shared(to, ptx::pack<T>(a.scale * x.x * q0.x, a.scale * x.z * q1.x));
      ptx::store_shared(to + 16, ptx::pack<T>(a.scale * x.y * q0.y, a.scale * x.w * q1.y));
      ptx::store_shared(to + kGlaRowsBytes, ptx::pack<T>(y.x * k0.x, y.z * k1.x));
      ptx::store_shared(to + kGlaRowsBytes + 16, ptx::pack<T>(y.y * k0.y, y.w * k1.y));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = lane / 2 + 16 * i;
      const int64_t to = (index * kChunk + token) * kKey + channel + lane % 2 * 8;
      const uint32_t from = turn + token * 32 + lane % 2 * 16;
      *reinterpret_cast<uint4*>(p.s.queries + to) = ptx::load_shared_uint4(from);
      *reinterpret_cast<uint4*>(p.s.keys + to) = ptx::load_shared_uint4(from + kGlaRowsBytes);
    }
  }
  __syncwarp();  // the inputs' place is free
  scores.leave(base, lane);
  __syncthreads();
  gla_store_scores<T>(p.s.scores + index * kChunk * kChunk, ptx::shared_address(shared), kGlaPrepareWarpBytes,
                      a.scale, warp, lane);
}

}  // namespace statescope::cuda::multipass
