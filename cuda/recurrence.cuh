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
  std::byte *next_k, *next_q, *next_values;
  float *next_g, *next_beta;
  int element;  ///< bytes

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
    element = p.a.dtype == DType::kF32 ? 4 : 2;

    SharedMemory memory(shared);
    const int rows = p.tokens * p.subheads;
    k = memory.take(rows * kPaddedKey);
    q = memory.take(rows * kPaddedKey);
    values = memory.take(p.tokens * columns);
    parts = memory.take(rows * columns);
    const auto take_stored = [&](int elements) {
      return reinterpret_cast<std::byte*>(memory.take(elements * element / 4));
    };
    next_k = take_stored(rows * kPaddedKey);
    next_q = take_stored(rows * kPaddedKey);
    next_values = take_stored(p.tokens * columns);
    decay = memory.take(rows * kChannels);
    next_g = memory.take(rows * kChannels);
    beta = memory.take(rows);
    next_beta = memory.take(rows);
    memory.expect_all_taken(shared);

    // Rows beyond K are zero for good, so that padded rows of the state stay zero.
    const int padding = kPaddedKey - p.a.key_dim;
    for (int i = threadIdx.x; i < rows * padding; i += blockDim.x) {
      const int at = i / padding * kPaddedKey + p.a.key_dim + i % padding;
      k[at] = q[at] = 0.f;
      if constexpr (kKind == Kind::kChannelDecay) decay[at] = 0.f;
    }
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

  /// Starts to bring in tokens [first, first + count): k, q, g, beta of the warp's subhead, and the block's
  /// columns of `from` (v or do), while the tokens before are at work. The warps over V of a subhead share
  /// its tokens.
  __device__ void fetch(std::int64_t first, int count, const void* from, bool with_q) const {
    const Arguments& a = p.a;
    const int lane = threadIdx.x % 32;
    if (active()) {
      const int j = first_subhead + subhead, bytes = a.key_dim * element;
      const std::int64_t stride = static_cast<std::int64_t>(a.qk_heads) * a.expansion * bytes;
      const std::int64_t offset =
          first * stride + (static_cast<std::int64_t>(qk_head) * a.expansion + j) * bytes;
      const std::int64_t gate = row(first, j), gate_stride = static_cast<std::int64_t>(a.heads) * a.expansion;
#pragma unroll 1
      for (int token = tile; token < count; token += p.tiles) {
        const int at = token * p.subheads + subhead;
        const std::int64_t source = offset + token * stride;
        std::byte *to_k = next_k + at * kPaddedKey * element, *to_q = next_q + at * kPaddedKey * element;
#pragma unroll 1
        for (int piece = lane * 16; piece < bytes; piece += 512) {
          copy_async<16>(to_k + piece, static_cast<const std::byte*>(a.k) + source + piece);
          if (with_q) copy_async<16>(to_q + piece, static_cast<const std::byte*>(a.q) + source + piece);
        }
        if constexpr (kKind == Kind::kChannelDecay) {
          const float* g = a.g + (gate + token * gate_stride) * a.key_dim;
#pragma unroll 1
          for (int i = lane * 4; i < a.key_dim; i += 128) copy_async<16>(next_g + at * kPaddedKey + i, g + i);
        }
      }
      if (kKind != Kind::kChannelDecay && tile == 0 && lane < count) {
        const int at = lane * p.subheads + subhead;
        if (a.g) copy_async<4>(next_g + at, a.g + gate + lane * gate_stride);
        if constexpr (kKind == Kind::kDelta)
          copy_async<4>(next_beta + at, a.beta + gate + lane * gate_stride);
      }
    }
    const int row_pieces = columns * element / 16;
#pragma unroll 1
    for (int i = threadIdx.x; i < count * row_pieces; i += blockDim.x) {
      const int token = i / row_pieces, piece = i % row_pieces * 16;
      const std::int64_t index = ((first + token) * a.heads + head) * a.value_dim + first_column;
      copy_async<16>(next_values + token * columns * element + piece,
                     static_cast<const std::byte*>(from) + index * element + piece);
    }
  }

  /// Turns `count` tokens that have arrived into float32: k, scale q, v or do, e^g, beta.
  __device__ void unpack(int count, bool with_q) const {
    const Arguments& a = p.a;
    const int lane = threadIdx.x % 32;
    if (active()) {
#pragma unroll 1
      for (int token = tile; token < count; token += p.tiles) {
        const int at = (token * p.subheads + subhead) * kPaddedKey;
#pragma unroll 1
        for (int i = at + lane * 4; i < at + a.key_dim; i += 128) {
          *reinterpret_cast<float4*>(k + i) = read4(next_k, i, a.dtype);
          if (with_q) *reinterpret_cast<float4*>(q + i) = scaled(read4(next_q, i, a.dtype), a.scale);
          if constexpr (kKind == Kind::kChannelDecay) {
            const float4 g = *reinterpret_cast<const float4*>(next_g + i);
            *reinterpret_cast<float4*>(decay + i) = make_float4(expf(g.x), expf(g.y), expf(g.z), expf(g.w));
          }
        }
      }
      if (kKind != Kind::kChannelDecay && tile == 0 && lane < count) {
        const int at = lane * p.subheads + subhead;
        decay[at] = a.g ? expf(next_g[at]) : 1.f;
        if constexpr (kKind == Kind::kDelta) beta[at] = next_beta[at];
      }
    }
#pragma unroll 1
    for (int i = threadIdx.x * 4; i < count * columns; i += blockDim.x * 4) {
      *reinterpret_cast<float4*>(values + i) = read4(next_values, i, a.dtype);
    }
  }

  /// Adds the subheads' parts of `count` tokens in the order of j and writes them to `to` ([tokens][H][V]);
  /// groups of subheads after the first go on from `sums`, which the same thread wrote.
  __device__ void write_sums(std::int64_t first, int count, void* to) const {
    const int here = subheads_here();
    const bool last = first_subhead + here == p.a.expansion;
#pragma unroll 1
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
/// `outputs`: o and ht are wanted; backward wants the states alone.
KernelPointer forward_scan_kernel(Kind kind, int padded_key, bool outputs);
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
