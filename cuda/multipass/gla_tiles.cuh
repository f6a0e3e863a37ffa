#pragma once
// What the passes of gla share: how a warp gets its 64 tokens by 16 channels of q, k and g, and how states
// lie in device memory.
#include "cuda/multipass/gla_parameters.h"
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::multipass {

/// Place of the 16 x 16 block (channels, columns of V) of a state among all: 32 lanes of 16 bytes, each what
/// it holds of the block as a first operand.
template <int kKey, int kValue>
__device__ __forceinline__ int64_t gla_fragment(int64_t index, int channels, int columns) {
  return ((index * (kKey / 16) + channels / 16) * (kValue / 16) + columns / 16) * 256;
}

/// Byte offset of the gate of a token, row of eight in a tile, in a warp's tiles: rows of 16 floats whose
/// 16-byte pieces are permuted, so that lanes that read every other token meet in no more than two. (Tile and
/// row apart: the tile is known to the compiler.)
__device__ __forceinline__ uint32_t gate_at(int tile, int row, int channel) {
  return tile * 512 + tile / 4 * 64 + row * 64 + ((channel / 4 ^ row / 2) << 4) + channel % 4 * 4;
}

/// A warp's tile: q and k as rows of 16 values, and g.
struct GlaInput {
  uint32_t q, k, g;
  /// The gates in the given of several places, one behind the other.
  __device__ __forceinline__ explicit GlaInput(uint32_t base, int gates = 0)
      : q(base), k(base + kGlaRowsBytes), g(base + 2 * kGlaRowsBytes + gates * kGlaGateBytes) {}

  /// Starts the copies of 16 channels of a chunk; zeros for tokens that it lacks.
  template <int kKey>
  __device__ __forceinline__ void fetch(const Arguments& a, const Chunk& chunk, int from_head, int h, int e,
                                        int channel, int lane) const {
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each fetch: registers are short
    const int64_t stride = int64_t{a.qk_heads} * a.expansion * kKey;
    const int64_t row = key_row(a, chunk.first, from_head, e) * kKey + channel + lane % 2 * 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = lane / 2 + 16 * i;
      const bool exists = token < chunk.count;
      ptx::copy_or_zero(q + token * 32 + lane % 2 * 16, words(a.q) + row + token * stride, exists);
      ptx::copy_or_zero(k + token * 32 + lane % 2 * 16, words(a.k) + row + token * stride, exists);
    }
    const int64_t gate_stride = int64_t{a.heads} * a.expansion * kKey;
    const float* const gates =
        a.g + ((chunk.first * a.heads + h) * a.expansion + e) * kKey + channel + lane % 4 * 4;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int token = lane / 4 + 8 * i;
      ptx::copy_or_zero(g + gate_at(i, lane / 4, lane % 4 * 4), gates + token * gate_stride,
                        token < chunk.count);
    }
    ptx::copies_commit();
  }
  /// Gates become cumulated gates in units of ln 2: a lane has a channel and 32 tokens.
  __device__ __forceinline__ void cumulate(int lane) const {
    const int channel = lane % 16;
    const uint32_t half = g + lane / 16 * gate_at(4, 0, 0);
    float x[32], sum = 0;
#pragma unroll
    for (int i = 0; i < 32; ++i)
      x[i] = __uint_as_float(ptx::load_shared(half + gate_at(i / 8, i % 8, channel)));
#pragma unroll
    for (int i = 0; i < 32; ++i) x[i] = sum += binary_gate(x[i]);
    const float other = __shfl_xor_sync(~0u, sum, 16), before = lane < 16 ? 0.f : other;
#pragma unroll
    for (int i = 0; i < 32; ++i)
      ptx::store_shared(half + gate_at(i / 8, i % 8, channel), __float_as_uint(x[i] + before));
  }
};

/// Two products of pairs, rounded to T.
template <class T>
__device__ __forceinline__ uint32_t times_pairs(uint32_t a, uint32_t b) {
  using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
  const Pair x = __hmul2(reinterpret_cast<const Pair&>(a), reinterpret_cast<const Pair&>(b));
  return reinterpret_cast<const uint32_t&>(x);
}

/// The decay between two tokens whichever comes first: cumulated gates fall.
__device__ __forceinline__ float decay_between(float gamma, float other) {
  return ptx::exp2_fast(-fabsf(gamma - other));
}

}  // namespace statescope::cuda::multipass
