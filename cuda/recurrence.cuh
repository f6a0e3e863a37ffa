// What the recurrent kernels share: the kinds of rules, sequences, the layout of a state tile over a warp's
// lanes, and the staging of a few tokens in shared memory.
//
// How to read the recurrent kernels
//   recurrent_forward.cu    o_t = scale sum_j q_tj S_tj, token by token, S in registers           start here
//   recurrent_step.cu       the same for one token, at memory speed
//   recurrent_reverse.cu    backward, first half: dL/dS_t from the last token to the first; dv, dh0
//   recurrent_gradients.cu  backward, second half: dq, dk, dg, dbeta, all chunks of 16 tokens at once
//   comparison.cu           the paper's argument: the whole state in shared memory
// Sizes come from runtime/cuda_tiles.h, which the variant table shares.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/elements.cuh"
#include "cuda/kernels.h"
#include "runtime/cuda_tiles.h"

namespace statescope::cuda {

/// What the kernels are compiled for. `linear` is `ssd` with a decay of one: one multiplication more, four
/// kernels less.
enum class Kind { kScalarDecay, kChannelDecay, kDelta };

inline Kind kind_of(Rule rule) {
  return rule == Rule::kGla          ? Kind::kChannelDecay
         : rule == Rule::kGatedDelta ? Kind::kDelta
                                     : Kind::kScalarDecay;
}

/// Tokens [begin, begin + length) of sequence n, and the number of its first chunk among all chunks.
struct TokenRange {
  std::int64_t begin;
  int length;
  std::int64_t first_chunk;
};

/// Chunks are numbered without a table: sequence n of a packed row starts at begin / 16 + n, which leaves
/// every sequence at least the ceil(length / 16) numbers that it needs.
__host__ __device__ inline std::int64_t chunk_count(const Arguments& a) {
  constexpr int kChunk = cuda_tiles::kGradientChunk;
  if (a.cu_seqlens) return a.tokens / kChunk + a.sequences;
  return static_cast<std::int64_t>(a.sequences) * ((a.seq_len + kChunk - 1) / kChunk);
}

__device__ inline TokenRange token_range(const Arguments& a, int n) {
  constexpr int kChunk = cuda_tiles::kGradientChunk;
  if (a.cu_seqlens) {
    const int begin = a.cu_seqlens[n];
    return {begin, a.cu_seqlens[n + 1] - begin, begin / kChunk + n};
  }
  const std::int64_t chunks = (a.seq_len + kChunk - 1) / kChunk;
  return {static_cast<std::int64_t>(n) * a.seq_len, a.seq_len, n * chunks};
}

/// Backward's scratch, in float32: the states before each chunk, the gradients of the states after each
/// chunk, and for gated_delta what each subhead wrote (w = v - e^g k S) and the gradient of its u = beta w.
/// One value of w per subhead is inherent to the rule: every subhead corrects its own state. Both scans also
/// use `sums` when E exceeds one block.
struct BackwardScratch {
  float *states, *gradients;  ///< [chunks][H][E][K][V]
  float *w, *du;              ///< [tokens][H][E][V]
  float* sums;                ///< [tokens][H][V]
};

struct ScanParameters {
  Arguments a;
  BackwardScratch scratch;
  int subheads, groups, tiles, tokens;
  bool outputs;  ///< forward scan: o and ht are wanted (not in backward)
};

/// A warp's tile of the state: lane (key, value) owns kRows rows and two columns.
template <int kPaddedKey>
struct Lanes {
  static constexpr int kKeyLanes = cuda_tiles::key_lanes(kPaddedKey);
  static constexpr int kRows = kPaddedKey / kKeyLanes;
  static constexpr int kQuads = kRows / 4;
  static constexpr int kTile = cuda_tiles::warp_columns(kPaddedKey);

  int key, value;
  __device__ explicit Lanes(int lane) : key(lane % kKeyLanes), value(lane / kKeyLanes) {}

  /// First of the four consecutive rows of quad i: the lanes read k and q in consecutive 16-byte pieces.
  __device__ int quad_row(int i) const { return (i * kKeyLanes + key) * 4; }
  __device__ int column() const { return value * cuda_tiles::kLaneColumns; }

  __device__ void load(float (&state)[kRows][2], const float* from, int key_dim, int value_dim) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = quad_row(i / 4) + i % 4;
      float2 x = make_float2(0.f, 0.f);
      if (from && row < key_dim)
        x = *reinterpret_cast<const float2*>(from + static_cast<std::int64_t>(row) * value_dim);
      state[i][0] = x.x;
      state[i][1] = x.y;
    }
  }
  __device__ void store(const float (&state)[kRows][2], float* to, int key_dim, int value_dim) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = quad_row(i / 4) + i % 4;
      if (row < key_dim) {
        *reinterpret_cast<float2*>(to + static_cast<std::int64_t>(row) * value_dim) =
            make_float2(state[i][0], state[i][1]);
      }
    }
  }

  /// Sums both columns over the key lanes; every lane gets both.
  __device__ void sum(float& x, float& y) const {
#pragma unroll
    for (int step = 1; step < kKeyLanes; step *= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, step);
      y += __shfl_xor_sync(0xffffffffu, y, step);
    }
  }
  /// The same in half the shuffles: a lane gets column key % 2 alone.
  __device__ float sum_one(float x, float y) const {
    const bool odd = key & 1;
    float mine = odd ? y : x;
    mine += __shfl_xor_sync(0xffffffffu, odd ? x : y, 1);
#pragma unroll
    for (int step = 2; step < kKeyLanes; step *= 2) mine += __shfl_xor_sync(0xffffffffu, mine, step);
    return mine;
  }
};

/// The block's place in a scan's grid, and its staged tokens in shared memory (layout:
/// cuda_tiles::scan_floats).
template <Kind kKind, int kPaddedKey>
struct Scan {
  using L = Lanes<kPaddedKey>;
  static constexpr int kChannels = kKind == Kind::kChannelDecay ? kPaddedKey : 1;

  const ScanParameters& p;
  int head, qk_head, sequence, first_column, columns, subhead, tile, first_subhead = 0;
  float *k, *q, *values, *parts, *decay, *beta;

  __device__ Scan(const ScanParameters& parameters, float* shared) : p(parameters) {
    columns = p.tiles * L::kTile;
    const int value_blocks = p.a.value_dim / columns;
    int block = blockIdx.x;
    first_column = block % value_blocks * columns;
    block /= value_blocks;
    head = block % p.a.heads;
    sequence = block / p.a.heads;
    qk_head = head / (p.a.heads / p.a.qk_heads);
    const int warp = threadIdx.x / cuda_tiles::kWarp;
    subhead = warp % p.subheads;
    tile = warp / p.subheads;

    SharedMemory memory(shared);
    const int rows = p.tokens * p.subheads;
    k = memory.take(rows * kPaddedKey);
    q = memory.take(rows * kPaddedKey);
    values = memory.take(p.tokens * columns);
    parts = memory.take(rows * columns);
    decay = memory.take(rows * kChannels);
    beta = memory.take(rows);
    memory.expect_all_taken(shared);
  }

  __device__ int subheads_here() const { return min(p.subheads, p.a.expansion - first_subhead); }
  __device__ bool active() const { return first_subhead + subhead < p.a.expansion; }
  /// Row (token, head, subhead) of tensors with subheads of heads; the first of them of this group.
  __device__ std::int64_t row(std::int64_t token, int j) const {
    return (token * p.a.heads + head) * p.a.expansion + j;
  }
  /// This warp's corner of a [H][E][K][V] matrix of index n, at the lane's column.
  __device__ std::int64_t corner(std::int64_t n, const L& lanes) const {
    const std::int64_t matrix = (n * p.a.heads + head) * p.a.expansion + first_subhead + subhead;
    return matrix * p.a.key_dim * p.a.value_dim + first_column + tile * L::kTile + lanes.column();
  }

  /// Stages tokens [first, first + count): k, scale q, e^g, beta of the group's subheads, and the block's
  /// columns of `from` (v or do). Rows beyond K are zero, so that padded state rows stay zero.
  __device__ void stage(std::int64_t first, int count, const void* from, bool with_q) const {
    const Arguments& a = p.a;
    constexpr int kQuadsOfRow = kPaddedKey / 4;
    const int here = subheads_here();
    for (int i = threadIdx.x; i < count * here * kQuadsOfRow; i += blockDim.x) {
      const int quad = i % kQuadsOfRow, pair = i / kQuadsOfRow, token = pair / here, j = pair % here;
      const int at = (token * p.subheads + j) * kPaddedKey + quad * 4;
      const bool inside = quad * 4 < a.key_dim;
      const std::int64_t from_row =
          ((first + token) * a.qk_heads + qk_head) * a.expansion + first_subhead + j;
      const std::int64_t index = from_row * a.key_dim + quad * 4;
      const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
      *reinterpret_cast<float4*>(k + at) = inside ? load4(a.k, index, a.dtype) : zero;
      if (with_q) {
        *reinterpret_cast<float4*>(q + at) = inside ? scaled(load4(a.q, index, a.dtype), a.scale) : zero;
      }
      if constexpr (kKind == Kind::kChannelDecay) {
        float4 g = zero;
        if (inside) {
          g = __ldg(reinterpret_cast<const float4*>(a.g + row(first + token, first_subhead + j) * a.key_dim +
                                                    quad * 4));
        }
        *reinterpret_cast<float4*>(decay + at) = make_float4(expf(g.x), expf(g.y), expf(g.z), expf(g.w));
      }
    }
    for (int i = threadIdx.x; i < count * columns / 4; i += blockDim.x) {
      const int token = i * 4 / columns, column = i * 4 % columns;
      *reinterpret_cast<float4*>(values + i * 4) =
          load4(from, ((first + token) * a.heads + head) * a.value_dim + first_column + column, a.dtype);
    }
    if constexpr (kKind != Kind::kChannelDecay) {
      for (int i = threadIdx.x; i < count * here; i += blockDim.x) {
        const int token = i / here, j = i % here;
        const std::int64_t index = row(first + token, first_subhead + j);
        decay[token * p.subheads + j] = a.g ? expf(__ldg(a.g + index)) : 1.f;
        if constexpr (kKind == Kind::kDelta) beta[token * p.subheads + j] = __ldg(a.beta + index);
      }
    }
  }

  /// Adds the subheads' parts of `count` tokens in the order of j and writes them to `to` ([tokens][H][V]);
  /// groups of subheads after the first go on from `sums`, which the same thread wrote.
  __device__ void write_sums(std::int64_t first, int count, void* to) const {
    const int here = subheads_here();
    const bool last = first_subhead + here == p.a.expansion;
    for (int i = threadIdx.x; i < count * columns; i += blockDim.x) {
      const int token = i / columns, column = i % columns;
      const std::int64_t index = ((first + token) * p.a.heads + head) * p.a.value_dim + first_column + column;
      float sum = first_subhead > 0 ? p.scratch.sums[index] : 0.f;
      for (int j = 0; j < here; ++j) sum += parts[(token * p.subheads + j) * columns + column];
      if (last) {
        store1(to, index, p.a.dtype, sum);
      } else {
        p.scratch.sums[index] = sum;
      }
    }
  }
};

/// The kernel of a kind and padded key dimension.
using KernelPointer = const void*;
KernelPointer forward_scan_kernel(Kind kind, int padded_key);
KernelPointer reverse_scan_kernel(Kind kind, int padded_key);
KernelPointer gradient_kernel(Kind kind);
KernelPointer step_kernel(Kind kind, int padded_key);

struct GradientParameters {
  Arguments a;
  BackwardScratch scratch;
};

/// Picks an instantiation: `pick` is called with the kind and the padded key dimension as integral constants.
/// Keeps the list of what is compiled in one place.
template <typename Pick>
KernelPointer instantiation(Kind kind, int padded_key, Pick pick) {
  const auto of_kind = [&](auto kind_constant) -> KernelPointer {
    switch (padded_key) {
      case 32:
        return pick(kind_constant, std::integral_constant<int, 32>());
      case 64:
        return pick(kind_constant, std::integral_constant<int, 64>());
      case 128:
        return pick(kind_constant, std::integral_constant<int, 128>());
      default:
        return pick(kind_constant, std::integral_constant<int, 256>());
    }
  };
  switch (kind) {
    case Kind::kScalarDecay:
      return of_kind(std::integral_constant<Kind, Kind::kScalarDecay>());
    case Kind::kChannelDecay:
      return of_kind(std::integral_constant<Kind, Kind::kChannelDecay>());
    default:
      return of_kind(std::integral_constant<Kind, Kind::kDelta>());
  }
}

}  // namespace statescope::cuda
