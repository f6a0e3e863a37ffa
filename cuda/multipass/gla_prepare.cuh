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
// A warp walks the channels of its chunk, sixteen at a time, with P in its accumulators. A lane has channels
// 4 c to 4 c + 3 of token r of each eight (lane = 4 r + c): what it holds of X is both a first and a second
// operand.
#include "cuda/multipass/gla_tiles.cuh"

namespace statescope::cuda::multipass {

/// Four channels of a token, as two pairs of operands.
struct Pairs {
  uint32_t x[2];
};

/// P in the accumulators of one warp; tiles are of eight tokens.
template <class T>
struct GlaScores {
  float far[2][4][4];     // rows 32 + 16 b by column tile n: the halves of the chunk
  float middle[2][2][4];  // rows 32 s + 16 by column tiles 4 s, 4 s + 1
  float near[4][4];       // rows of tiles 2 b, 2 b + 1 by columns of tile 2 b
  float last[4][2];       // rows of tile 2 b + 1 by columns of the same

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
    near[b][0] += left ? upper[0] : 0.f, near[b][1] += right ? upper[1] : 0.f;
    last[b][0] += left ? lower[2] : 0.f, last[b][1] += right ? lower[3] : 0.f;
  }
  __device__ __forceinline__ void store(uint16_t* to, float scale, const Lane& at) const {
    const auto put = [&](int row, int column, float left, float right) {
      *reinterpret_cast<uint32_t*>(to + (row + at.r) * kChunk + column + at.c) =
          ptx::pack<T>(scale * left, scale * right);
    };
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int b = 0; b < 2; ++b) {
#pragma unroll
        for (int n = 0; n < 4; ++n)
          put(32 + 16 * b + 8 * half, 8 * n, far[b][n][2 * half], far[b][n][2 * half + 1]);
#pragma unroll
        for (int n = 0; n < 2; ++n)
          put(32 * b + 16 + 8 * half, 32 * b + 8 * n, middle[b][n][2 * half], middle[b][n][2 * half + 1]);
      }
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        put(16 * b + 8 * half, 16 * b, near[b][2 * half], near[b][2 * half + 1]);
        put(16 * b + 8 * half, 16 * b + 8, half ? last[b][0] : 0.f, half ? last[b][1] : 0.f);
      }
    }
  }
};

template <class T, int kKey>
__global__ void __launch_bounds__(kGlaPrepareThreads, 3)
    gla_prepare(const __grid_constant__ GlaParameters p) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int64_t index = int64_t{blockIdx.x} * (kGlaPrepareThreads / 32) + warp;
  if (index >= p.parts) return;
  const int e = index % a.expansion, h = index / a.expansion % a.heads;
  const Chunk chunk = chunk_of(a, index / a.expansion / a.heads);
  if (chunk.count == 0) return;
  const int from_head = key_head(a, h);
  const uint32_t base = ptx::shared_address(shared) + warp * (kGlaPrepareBytes / (kGlaPrepareThreads / 32));
  const uint32_t turn = base + kGlaInputBytes + kGlaGateBytes;
  GlaInput(base).fetch<kKey>(a, chunk, from_head, h, e, 0, lane);

  const Lane at(lane);
  const int r = lane / 4, c = lane % 4;
  GlaScores<T> scores = {};
#pragma unroll 1
  for (int channel = 0; channel < kKey; channel += kGlaChannels) {
    const int place = channel / kGlaChannels % 2;
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
    if (channel + kGlaChannels < kKey)
      GlaInput(base, 1 - place).fetch<kKey>(a, chunk, from_head, h, e, channel + kGlaChannels, lane);

    // gamma of row `row` of tile n
    const auto gamma_of = [&](int n, int row) {
      return ptx::load_shared_float4(input.g + gate_at(8 * n + row, 4 * c));
    };
    // x decayed between token r of tile n and the pivot, natural order
    const auto decayed = [&](int n, const Pairs& from, const float4& pivot) {
      const float2 left = ptx::unpack<T>(from.x[0]), right = ptx::unpack<T>(from.x[1]);
      const float4 g = gamma_of(n, r);
      return float4{left.x * decay_between(g.x, pivot.x), left.y * decay_between(g.y, pivot.y),
                    right.x * decay_between(g.z, pivot.z), right.y * decay_between(g.w, pivot.w)};
    };
    const auto operand = [](const float4& x) {
      return Pairs{{ptx::pack<T>(x.x, x.y), ptx::pack<T>(x.z, x.w)}};
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
          x[t] = operand(decayed(n, from, gamma_of(n, span + half - 1)));
        }
        scores.add_masked(b, x, x, pair(at.c), pair(at.c + 1));
      }
    }
    const Pairs none = {{0, 0}};
#pragma unroll
    for (int b = 0; b < 4; ++b) {  // of 16
      const float4 pivot = gamma_of(2 * b, 7);
      scores.add(scores.near[b], none, operand(decayed(2 * b + 1, q[2 * b + 1], pivot)),
                 operand(decayed(2 * b, k[2 * b], pivot)));
    }
#pragma unroll
    for (int s = 0; s < 2; ++s) {  // of 32
      const float4 pivot = gamma_of(4 * s + 1, 7);
      const Pairs upper = operand(decayed(4 * s + 2, q[4 * s + 2], pivot)),
                  lower = operand(decayed(4 * s + 3, q[4 * s + 3], pivot));
#pragma unroll
      for (int n = 0; n < 2; ++n)
        scores.add(scores.middle[s][n], upper, lower, operand(decayed(4 * s + n, k[4 * s + n], pivot)));
    }
    {  // of 64
      const float4 pivot = gamma_of(3, 7);
      Pairs rows[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) rows[n] = operand(decayed(4 + n, q[4 + n], pivot));
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const Pairs columns = operand(decayed(n, k[n], pivot));
#pragma unroll
        for (int b = 0; b < 2; ++b) scores.add(scores.far[b][n], rows[2 * b], rows[2 * b + 1], columns);
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
      const float4 x = decayed(n, q[n], start), y = decayed(n, k[n], end);
      const uint32_t to = turn + (8 * n + r) * 32 + 2 * at.c;
      ptx::store_shared(to, ptx::pack<T>(a.scale * x.x, a.scale * x.z));
      ptx::store_shared(to + 16, ptx::pack<T>(a.scale * x.y, a.scale * x.w));
      ptx::store_shared(to + kGlaRowsBytes, ptx::pack<T>(y.x, y.z));
      ptx::store_shared(to + kGlaRowsBytes + 16, ptx::pack<T>(y.y, y.w));
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
  scores.store(p.s.scores + index * kChunk * kChunk, a.scale, at);
}

}  // namespace statescope::cuda::multipass
