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
  using Operand = uint32_t[4];
  const int lane, r, c;
  uint32_t square;            // M, in shared memory
  uint32_t q[8][2], k[8][2];  // pairs of tokens by channel: those of two tiles are an operand
  float gamma[8][4];
  float dq[8][4] = {}, dk[8][4] = {}, dg[8][4];

  static constexpr uint32_t kOnes = 0x3f803f80u;
  // Ones of an 8 x 8 tile of a second operand: where k >= n, where k < n, and within halves of four, two and
  // one tokens the former in second halves and the latter in first.
  uint32_t from, before, inside4, inside2, inside1;

  __device__ __forceinline__ GlaSpans(int l, uint32_t m) : lane(l), r(l / 4), c(l % 4), square(m) {
    const auto pair = [&](auto&& holds) {
      return (holds(2 * c, r) ? 0x3f80u : 0u) | (holds(2 * c + 1, r) ? 0x3f800000u : 0u);
    };
    from = pair([](int x, int n) { return x >= n; });
    before = pair([](int x, int n) { return x < n; });
    inside4 = pair([](int x, int n) { return n < 4 ? x < n : x >= n; });
    inside2 = pair([](int x, int n) { return x / 2 == n / 2 && (n / 2 % 2 ? x >= n : x < n); });
    inside1 = pair([](int x, int n) { return x == n && n % 2; });
  }

  __device__ __forceinline__ void load(const GlaInput& input) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int token = 8 * n + 2 * c;
      const auto turn = [&](uint32_t(&x)[2], uint32_t at) {
        const uint32_t first = ptx::load_shared(at), second = ptx::load_shared(at + 32);
        x[0] = __byte_perm(first, second, 0x5410), x[1] = __byte_perm(first, second, 0x7632);
      };
      turn(q[n], input.q + token * 32 + 4 * r);
      turn(k[n], input.k + token * 32 + 4 * r);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint2 g = ptx::load_shared_uint2(input.g + gate_at(n, 2 * c + i, 2 * r));
        gamma[n][i] = __uint_as_float(g.x), gamma[n][2 + i] = __uint_as_float(g.y);
      }
    }
  }
  /// gamma of both channels at token 2 c + i of tile n, c of the lane `quad` of these four.
  __device__ __forceinline__ float2 gamma_of(int n, int i, int quad) const {
    return {__shfl_sync(~0u, gamma[n][i], (lane & ~3) + quad),
            __shfl_sync(~0u, gamma[n][2 + i], (lane & ~3) + quad)};
  }

  // dg += f (16 channels x block b of 16 tokens) times a matrix of ones, or its half in tile n.
  __device__ __forceinline__ void sum_tile(int n, const Operand& f, uint32_t ones) {
    ptx::mma_half<__nv_bfloat16>(dg[n], f[n % 2 * 2], f[n % 2 * 2 + 1], ones);
  }
  __device__ __forceinline__ void sum(int n, const Operand& f, uint32_t upper, uint32_t lower) {
    ptx::mma<__nv_bfloat16>(dg[n], f, upper, lower);
  }
  __device__ __forceinline__ void sum_from(int b, const Operand& f) {
    sum(2 * b, f, from, kOnes), sum_tile(2 * b + 1, f, from);
  }
  __device__ __forceinline__ void sum_before(int b, const Operand& f) {
    sum_tile(2 * b, f, before), sum(2 * b + 1, f, kOnes, before);
  }
  __device__ __forceinline__ void sum_all(int b, const Operand& f) {
    sum(2 * b, f, kOnes, kOnes), sum(2 * b + 1, f, kOnes, kOnes);
  }
  /// f = x o y in bf16. (Of f16 the product has not the range.)
  static __device__ __forceinline__ void contribute(Operand& f, const Operand& x, const float (&left)[4],
                                                    const float (&right)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const y = (i / 2 ? right : left) + i % 2 * 2;
      if constexpr (std::is_same_v<T, __half>) {
        const float2 z = ptx::unpack<T>(x[i]);
        f[i] = ptx::pack<__nv_bfloat16>(z.x * y[0], z.y * y[1]);
      } else {
        f[i] = times_pairs<T>(x[i], ptx::pack<T>(y[0], y[1]));
      }
    }
  }

  /// The first terms, from the state and to it: dq and dk hold dO S^T and V D^T.
  __device__ __forceinline__ void decay_ends(float scale) {
    const float2 end = gamma_of(7, 1, 3);
#pragma unroll
    for (int b = 0; b < 4; ++b) {
#pragma unroll
      for (int n = 2 * b; n < 2 * b + 2; ++n)
#pragma unroll
        for (int y = 0; y < 4; ++y) {
          dq[n][y] *= scale * ptx::exp2_fast(gamma[n][y]);
          dk[n][y] *= decay_between(gamma[n][y], y / 2 ? end.y : end.x);
        }
      Operand own, f;
      raw(own, b, q, q);
      contribute(f, own, dq[2 * b], dq[2 * b + 1]);
      sum_from(b, f);
#pragma unroll
      for (int other = 0; other < b; ++other) sum_all(other, f);
      raw(own, b, k, k);
      contribute(f, own, dk[2 * b], dk[2 * b + 1]);
      sum_before(b, f);
#pragma unroll
      for (int other = b + 1; other < 4; ++other) sum_all(other, f);
    }
  }

  /// Block b, its first tile of one of q and k and its second of another.
  static __device__ __forceinline__ void raw(Operand& x, int b, const uint32_t (&left)[8][2],
                                             const uint32_t (&right)[8][2]) {
    x[0] = left[2 * b][0], x[1] = left[2 * b][1], x[2] = right[2 * b + 1][0], x[3] = right[2 * b + 1][1];
  }
  /// x becomes X of block b; the decays to the pivots of its two tiles are left in `factor`.
  __device__ __forceinline__ void decay_block(Operand& x, int b, const float2& left, const float2& right,
                                              float (&factor)[2][4]) const {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const float2& pivot = t ? right : left;
#pragma unroll
      for (int i = 0; i < 4; ++i)
        factor[t][i] = decay_between(gamma[2 * b + t][i], i / 2 ? pivot.y : pivot.x);
#pragma unroll
      for (int i = 0; i < 2; ++i)
        x[2 * t + i] = times_pairs<T>(ptx::pack<T>(factor[t][2 * i], factor[t][2 * i + 1]), x[2 * t + i]);
    }
  }
  /// Adds block b's Y to dq (second half) or dk.
  template <bool kSecond>
  __device__ __forceinline__ void add_block(int b, const float (&factor)[2][4], const float (&left)[4],
                                            const float (&right)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      (kSecond ? dq : dk)[2 * b][i] += factor[0][i] * left[i];
      (kSecond ? dq : dk)[2 * b + 1][i] += factor[1][i] * right[i];
    }
  }
  /// The part of M by which block `rows` (second half) meets block `columns`, as a second operand.
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
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      raw(y[b], 2 + b, q, q);
      decay_block(y[b], 2 + b, pivot, pivot, second[b]);
    }
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      float first[2][4], left[4] = {}, right[4] = {};
      raw(x[b], b, k, k);
      decay_block(x[b], b, pivot, pivot, first);
#pragma unroll
      for (int other = 0; other < 2; ++other) {
        load_back(m, 2 + other, b);
        multiply<T>(left, right, y[other], m);
      }
      add_block<false>(b, first, left, right);
      contribute(f, x[b], left, right);
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
      add_block<true>(2 + b, second[b], left, right);
      contribute(f, y[b], left, right);
      sum_from(2 + b, f);
      if (b == 1) sum_all(2, f);
    }
  }
  /// Spans of 32 tokens.
  __device__ __forceinline__ void add_middle() {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int first = 2 * s, second = 2 * s + 1;
      const float2 pivot = gamma_of(2 * first + 1, 1, 3);
      float factor[2][4], other[2][4];
      Operand x, y, m, f;
      raw(x, first, k, k);
      decay_block(x, first, pivot, pivot, factor);
      raw(y, second, q, q);
      decay_block(y, second, pivot, pivot, other);
      {
        float left[4] = {}, right[4] = {};
        load_back(m, second, first);
        multiply<T>(left, right, y, m);
        add_block<false>(first, factor, left, right);
        contribute(f, x, left, right);
        sum_before(first, f);
      }
      float left[4] = {}, right[4] = {};
      load_forth(m, second, first);
      multiply<T>(left, right, x, m);
      add_block<true>(second, other, left, right);
      contribute(f, y, left, right);
      sum_from(second, f);
    }
  }
  /// Spans of at most 16 tokens and what a token has of itself. On the diagonal a block of M and its
  /// transpose stand together, so that one product serves both halves.
  __device__ __forceinline__ void add_near() {
    uint32_t m[4][4];
    const uint32_t itself = c == r / 2 ? (r % 2 ? 0xffff0000u : 0xffffu) : 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) {  // spans of 16
      Operand turned, x, f;
      load_forth(m[b], b, b);
      load_back(turned, b, b);
#pragma unroll
      for (int i = 0; i < 4; ++i) m[b][i] |= turned[i];
      raw(x, b, k, k);
      ptx::mma_half<T>(dq[2 * b], x[0], x[1], m[b][0] & itself);
      ptx::mma_half<T>(dq[2 * b + 1], x[2], x[3], m[b][3] & itself);
      raw(x, b, q, q);
      ptx::mma_half<T>(dk[2 * b], x[0], x[1], m[b][0] & itself);
      ptx::mma_half<T>(dk[2 * b + 1], x[2], x[3], m[b][3] & itself);

      const float2 pivot = gamma_of(2 * b, 1, 3);
      float factor[2][4], y[2][4] = {};
      raw(x, b, k, q);
      decay_block(x, b, pivot, pivot, factor);
      ptx::mma_half<T>(y[0], x[2], x[3], m[b][1]);
      ptx::mma_half<T>(y[1], x[0], x[1], m[b][2]);
#pragma unroll
      for (int i = 0; i < 4; ++i) dk[2 * b][i] += factor[0][i] * y[0][i];
#pragma unroll
      for (int i = 0; i < 4; ++i) dq[2 * b + 1][i] += factor[1][i] * y[1][i];
      contribute(f, x, y[0], y[1]);
      sum_tile(2 * b, f, before), sum_tile(2 * b + 1, f, from);
    }
#pragma unroll 1
    for (int half = 4; half >= 2; half /= 2) {
      const bool second = c & half / 2;
      const int last = (half == 4 ? 0 : c & 2) + half / 2 - 1;  // lane of the pivot
      const uint32_t mask =
          half == 4 ? (c / 2 != r / 4 ? ~0u : 0) : (c / 2 == r / 4 && c % 2 != r / 2 % 2 ? ~0u : 0);
      const uint32_t inside = half == 4 ? inside4 : inside2;
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        float factor[2][4], y[2][4] = {};
        Operand x, f;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int n = 2 * b + i / 2;
          x[i] = second ? q[n][i % 2] : k[n][i % 2];
        }
        decay_block(x, b, gamma_of(2 * b, 1, last), gamma_of(2 * b + 1, 1, last), factor);
        ptx::mma_half<T>(y[0], x[0], x[1], m[b][0] & mask);
        ptx::mma_half<T>(y[1], x[2], x[3], m[b][3] & mask);
#pragma unroll
        for (int t = 0; t < 2; ++t)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            ptx::add_to_either(dq[2 * b + t][i], dk[2 * b + t][i], factor[t][i], y[t][i], second);
        contribute(f, x, y[0], y[1]);
        sum_tile(2 * b, f, inside), sum_tile(2 * b + 1, f, inside);
      }
    }
    const uint32_t mask = c == r / 2 ? ~itself : 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) {  // of two: the second token's decay is all there is
      float factor[2][2], y[2][4] = {};
      Operand x, f;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = 2 * b + i / 2, y0 = i % 2 * 2;
        factor[i / 2][i % 2] = decay_between(gamma[n][y0 + 1], gamma[n][y0]);
        x[i] = times_pairs<T>(ptx::pack<T>(1.f, factor[i / 2][i % 2]),
                              __byte_perm(k[n][i % 2], q[n][i % 2], 0x7610));
      }
      ptx::mma_half<T>(y[0], x[0], x[1], m[b][0] & mask);
      ptx::mma_half<T>(y[1], x[2], x[3], m[b][3] & mask);
#pragma unroll
      for (int t = 0; t < 2; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          dk[2 * b + t][2 * i] += y[t][2 * i];
          dq[2 * b + t][2 * i + 1] += factor[t][i] * y[t][2 * i + 1];
        }
      contribute(f, x, y[0], y[1]);
      sum_tile(2 * b, f, inside1), sum_tile(2 * b + 1, f, inside1);
    }
  }
};

}  // namespace statescope::cuda::multipass
