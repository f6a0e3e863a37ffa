#pragma once
// What one warp of gla's gradient pass does for its 16 channels and 64 tokens: everything between tokens of
// the chunk. The pairs are taken apart as pass 1 does (gla_prepare.cuh): in a span of 2 h tokens, with the
// last token of its first half as pivot,
//   X = Q e^(gamma - pivot) in second halves, K e^(pivot - gamma) in first halves
// and with M = scale tril(dO V^T) the rows of Y are, of the other half of the span,
//   Y_i = sum_j M_ij X_j (second), Y_j = sum_i M_ij X_i (first)
//   dq_i += e^(gamma_i - pivot) Y_i,  dk_j += e^(pivot - gamma_j) Y_j
// X o Y is what of <O, dO> comes into a token through the middle of the span, or leaves it that way. So it is
// part of dg of every token between it and the middle: of t <= i in the second half, of t > j in the first.
// All of that are sums; nothing that large is subtracted again.
//
// All is transposed, channels are rows: what a lane holds of X as a first operand it also holds of Y in the
// accumulators, the same channels and tokens. Sums over tokens are products with matrices of ones, in bf16
// for its range.
#include "cuda/multipass/gla_tiles.cuh"

namespace statescope::cuda::multipass {

/// Tiles n are of eight tokens. Element y of a lane (r, c): token 2 c + y % 2, channel 2 r + y / 2.
template <class T>
struct GlaSpans {
  const int lane, r, c;
  uint32_t square;            // M below the diagonal, in shared memory
  uint32_t q[8][2], k[8][2];  // pairs of channels by token
  float gamma[8][4];
  float dq[8][4] = {}, dk[8][4] = {}, dg[8][4];

  static constexpr uint32_t kOnes = 0x3f803f80u;
  uint32_t from, before;  // ones where k >= n, or k < n, of an 8 x 8 tile of a second operand
  uint32_t inside4, inside2,
      inside1;  // the same within halves of four and two tokens, `from` in second halves

  __device__ __forceinline__ GlaSpans(int l, uint32_t m) : lane(l), r(l / 4), c(l % 4), square(m) {
    const auto pair = [&](auto&& holds) {
      return (holds(2 * c, r) ? 0x3f80u : 0u) | (holds(2 * c + 1, r) ? 0x3f800000u : 0u);
    };
    from = pair([](int x, int n) { return x >= n; });
    before = pair([](int x, int n) { return x < n; });
    inside4 = pair([](int x, int n) { return n < 4 ? x < n : x >= n; });
    inside1 = pair([](int x, int n) { return x == n && n % 2; });
    inside2 = pair([](int x, int n) { return x / 2 == n / 2 && (n / 2 % 2 ? x >= n : x < n); });
  }

  __device__ __forceinline__ void load(const GlaInput& input) {
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = 8 * n + 2 * c + i;
        q[n][i] = ptx::load_shared(input.q + token * 32 + 4 * r);
        k[n][i] = ptx::load_shared(input.k + token * 32 + 4 * r);
        const uint2 g = ptx::load_shared_uint2(input.g + gate_at(token, 2 * r));
        gamma[n][i] = __uint_as_float(g.x), gamma[n][2 + i] = __uint_as_float(g.y);
      }
  }
  __device__ __forceinline__ float value(const uint32_t (&x)[8][2], int n, int y) const {
    const float2 pair = ptx::unpack<T>(x[n][y % 2]);
    return y / 2 ? pair.y : pair.x;
  }
  /// gamma of both channels at token 2 c + i of tile n, c of the lane `quad` of these four.
  __device__ __forceinline__ float2 gamma_of(int n, int i, int quad) const {
    return {__shfl_sync(~0u, gamma[n][i], (lane & ~3) + quad),
            __shfl_sync(~0u, gamma[n][2 + i], (lane & ~3) + quad)};
  }

  // dg += f (16 channels x block b of 16 tokens) times a matrix of ones.
  using Operand = uint32_t[4];
  __device__ __forceinline__ void sum(int n, const Operand& f, uint32_t upper, uint32_t lower) {
    ptx::mma<__nv_bfloat16>(dg[n], f, upper, lower);
  }
  __device__ __forceinline__ void sum_from(int b, const Operand& f) {
    sum(2 * b, f, from, kOnes), sum(2 * b + 1, f, 0, from);
  }
  __device__ __forceinline__ void sum_before(int b, const Operand& f) {
    sum(2 * b, f, before, 0), sum(2 * b + 1, f, kOnes, before);
  }
  __device__ __forceinline__ void sum_all(int b, const Operand& f) {
    sum(2 * b, f, kOnes, kOnes), sum(2 * b + 1, f, kOnes, kOnes);
  }

  /// The first terms, from the state and to it: dq and dk hold dO S^T and V D^T.
  __device__ __forceinline__ void decay_ends(float scale) {
    const float2 end = gamma_of(7, 1, 3);
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      float f[2][4], g[2][4];
#pragma unroll
      for (int t = 0; t < 2; ++t)
#pragma unroll
        for (int y = 0; y < 4; ++y) {
          const int n = 2 * b + t;
          dq[n][y] *= scale * ptx::exp2_fast(gamma[n][y]);
          dk[n][y] *= decay_between(gamma[n][y], y / 2 ? end.y : end.x);
          f[t][y] = value(q, n, y) * dq[n][y], g[t][y] = value(k, n, y) * dk[n][y];
        }
      Operand into, out;
      as_a<__nv_bfloat16>(into, f[0], f[1]);
      as_a<__nv_bfloat16>(out, g[0], g[1]);
      sum_from(b, into);
      sum_before(b, out);
#pragma unroll
      for (int other = 0; other < 4; ++other) {
        if (other < b) sum_all(other, into);
        if (other > b) sum_all(other, out);
      }
    }
  }
  /// A token with itself. `diagonal`: M_ii.
  __device__ __forceinline__ void add_diagonal(const float* diagonal) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 m = two(diagonal + 8 * n + 2 * c);
#pragma unroll
      for (int y = 0; y < 4; ++y) {
        const float x = y % 2 ? m.y : m.x;
        dq[n][y] += x * value(k, n, y), dk[n][y] += x * value(q, n, y);
      }
    }
  }

  /// Block b's factors and its X; kSecond of what half it is.
  template <bool kSecond>
  __device__ __forceinline__ void block_x(int b, const float2& pivot, float (&factor)[2][4],
                                          Operand& x) const {
    float y[2][4];
#pragma unroll
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = 2 * b + t;
        factor[t][i] = decay_between(gamma[n][i], i / 2 ? pivot.y : pivot.x);
        y[t][i] = factor[t][i] * (kSecond ? value(q, n, i) : value(k, n, i));
      }
    as_a<T>(x, y[0], y[1]);
  }
  /// Adds block b's Y to dq (second half) or dk; leaves X o Y in f.
  template <bool kSecond>
  __device__ __forceinline__ void block_y(int b, const float (&factor)[2][4], const float (&left)[4],
                                          const float (&right)[4], Operand& f) {
    float y[2][4];
#pragma unroll
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = 2 * b + t;
        const float z = factor[t][i] * (t ? right[i] : left[i]);
        (kSecond ? dq : dk)[n][i] += z;
        y[t][i] = z * (kSecond ? value(q, n, i) : value(k, n, i));
      }
    as_a<__nv_bfloat16>(f, y[0], y[1]);
  }
  /// The part of a matrix M by which block `rows` (second half) meets block `columns`, as a second operand.
  __device__ __forceinline__ void load_forth(Operand& m, int rows, int columns) const {
    load_b(m, square, Lane(lane), 16 * columns, 16 * rows);
  }
  __device__ __forceinline__ void load_back(Operand& m, int rows, int columns) const {
    load_b_turned(m, square, Lane(lane), 16 * rows, 16 * columns);
  }

  /// The span of all 64 tokens.
  __device__ __forceinline__ void add_far() {
    const float2 pivot = gamma_of(3, 1, 3);
    float second[2][2][4];
    Operand x[2], y[2], m, f;
    block_x<true>(2, pivot, second[0], y[0]), block_x<true>(3, pivot, second[1], y[1]);
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      float first[2][4], left[4] = {}, right[4] = {};
      block_x<false>(b, pivot, first, x[b]);
#pragma unroll
      for (int other = 0; other < 2; ++other) {
        load_back(m, 2 + other, b);
        multiply<T>(left, right, y[other], m);
      }
      block_y<false>(b, first, left, right, f);
      sum_before(b, f);
      if (b == 0) sum_all(1, f);
    }
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      float left[4] = {}, right[4] = {};
#pragma unroll
      for (int other = 0; other < 2; ++other) {
        load_forth(m, 2 + b, other);
        multiply<T>(left, right, x[other], m);
      }
      block_y<true>(2 + b, second[b], left, right, f);
      sum_from(2 + b, f);
      if (b == 1) sum_all(2, f);
    }
  }
  /// Spans of 32 tokens.
  __device__ __forceinline__ void add_middle() {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const float2 pivot = gamma_of(4 * s + 1, 1, 3);
      float first[2][4], second[2][4];
      Operand x, y, m;
      block_x<false>(2 * s, pivot, first, x);
      block_x<true>(2 * s + 1, pivot, second, y);
      float left[4] = {}, right[4] = {}, down[4] = {}, downright[4] = {};
      load_back(m, 2 * s + 1, 2 * s);
      multiply<T>(left, right, y, m);
      load_forth(m, 2 * s + 1, 2 * s);
      multiply<T>(down, downright, x, m);
      block_y<false>(2 * s, first, left, right, x);
      block_y<true>(2 * s + 1, second, down, downright, y);
      sum_before(2 * s, x);
      sum_from(2 * s + 1, y);
    }
  }
  /// What is the same in all spans that lie in one 16-token block: which tokens of this lane are second
  /// halves, their pivots, the part of M, and where to sum.
  template <class Second, class Pivot>
  __device__ __forceinline__ void add_near(int b, Second second, Pivot pivot_of, const uint32_t (&m)[4],
                                           uint32_t early, uint32_t late) {
    float factor[2][4], raw[2][4], y[2][4];
    Operand x;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const int n = 2 * b + t;
      const float2 pivot = pivot_of(n);
      uint32_t pair[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) pair[i] = second(t, i) ? q[n][i] : k[n][i];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 z = ptx::unpack<T>(pair[i % 2]);
        raw[t][i] = i / 2 ? z.y : z.x;
        factor[t][i] = decay_between(gamma[n][i], i / 2 ? pivot.y : pivot.x);
        y[t][i] = factor[t][i] * raw[t][i];
      }
    }
    as_a<T>(x, y[0], y[1]);
    float z[2][4] = {};
    ptx::mma<T>(z[0], x, m[0], m[1]);
    ptx::mma<T>(z[1], x, m[2], m[3]);
#pragma unroll
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = 2 * b + t;
        z[t][i] *= factor[t][i];
        if (second(t, i % 2))
          dq[n][i] += z[t][i];
        else
          dk[n][i] += z[t][i];
        z[t][i] *= raw[t][i];
      }
    Operand f;
    as_a<__nv_bfloat16>(f, z[0], z[1]);
    sum(2 * b, f, early, 0), sum(2 * b + 1, f, 0, late);
  }
  /// Spans of 16 tokens and fewer.
  __device__ __forceinline__ void add_near() {
    uint32_t m[4][4];  // the blocks of M on the diagonal with their transposes
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      Operand turned;
      load_forth(m[b], b, b);
      load_back(turned, b, b);
#pragma unroll
      for (int i = 0; i < 4; ++i) m[b][i] |= turned[i];
      const float2 pivot = gamma_of(2 * b, 1, 3);
      const uint32_t across[4] = {0, m[b][1], m[b][2], 0};
      add_near(
          b, [](int t, int) { return t == 1; }, [&](int) { return pivot; }, across, before, from);
    }
#pragma unroll 1
    for (int half = 4; half >= 2; half /= 2) {
      const bool second = c & half / 2;
      const int span = half == 4 ? 0 : c & 2;  // the first lane of the span
      const uint32_t mask =
          half == 4 ? (c / 2 != r / 4 ? ~0u : 0) : (c / 2 == r / 4 && c % 2 != r / 2 % 2 ? ~0u : 0);
      const uint32_t inside = half == 4 ? inside4 : inside2;
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const uint32_t own[4] = {m[b][0] & mask, 0, 0, m[b][3] & mask};
        add_near(
            b, [&](int, int) { return second; }, [&](int n) { return gamma_of(n, 1, span + half / 2 - 1); },
            own, inside, inside);
      }
    }
    const uint32_t mask = c == r / 2 ? (r % 2 ? 0xffffu : 0xffff0000u) : 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const uint32_t own[4] = {m[b][0] & mask, 0, 0, m[b][3] & mask};
      add_near(
          b, [](int, int i) { return i == 1; },
          [&](int n) {
            return float2{gamma[n][0], gamma[n][2]};
          },
          own, inside1, inside1);
    }
  }
};

}  // namespace statescope::cuda::multipass
