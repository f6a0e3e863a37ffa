// Tile sizes and shared memory of the chunked CUDA kernels, for the variant table and for the kernels. Host
// and device code both include this file, so it knows no CUDA.
#pragma once

#include <cstdint>

namespace statescope::cuda_chunked {

inline constexpr int kChunk = 64;  ///< tokens a chunk: the 64 rows of a warpgroup matrix product
inline constexpr int kDim = 128;   ///< key and value dimension
/// o is a sum of rows of V with weights sum_e P_ij A_jk, L (L + 1) / 2 of them a head for a sequence of L
/// tokens. Rounding P, A, V' and the parts of o to bf16 puts an error of 3.8e-3 of its usual size on each
/// (all matter alike: parts in float32 leave 3.3e-3), however little the E summands leave of it. Over n
/// independent weights the error of the whole is 3.8e-3 sqrt(n / chi^2_n). It may not pass 5e-3, and for n =
/// 200 it does so on three of ten million inputs, for n = 36 on two of a hundred, for n = 1 (one token) on
/// every other. Fewer are refused.
inline constexpr int kFewestWeights = 200;
/// At least: packed sequences of equal length have the fewest.
constexpr double weights_of(std::int64_t heads, std::int64_t tokens, std::int64_t sequences) {
  const double length = static_cast<double>(tokens) / static_cast<double>(sequences);
  return static_cast<double>(heads * tokens) * (length + 1) / 2;
}
/// When the form is left open, shorter sequences run in the recurrent form: a chunk would be padding mostly.
inline constexpr int kFewestTokens = 15;
inline constexpr int kStages = 3;         ///< key and query tiles: in use, in preparation, in flight
inline constexpr int kValueStages = 2;    ///< value tiles are read at one point of a step only
inline constexpr int kScoreStages = 2;    ///< scores and triangular systems are made a chunk ahead
inline constexpr int kInverseStages = 3;  ///< inverses take longer than a step: two under way, one in use
inline constexpr int kReceiveStages = 2;  ///< parts of o: one being added while the next arrives
inline constexpr int kInverters = 2;      ///< warps that invert, a chunk each
inline constexpr int kThreads =
    512;  ///< four warpgroups: two for the state, one for scores, one of single warps
inline constexpr int kLargestCluster = 8;  ///< blocks, the most that every device grants

/// Shared memory of a block, offsets in bytes. Tiles are rows of 64 16-bit values in 128-byte swizzle.
struct SharedMap {
  static constexpr std::uint32_t kTile = kChunk * kDim * 2;
  static constexpr std::uint32_t kHalf = kTile / 2;  ///< 64 tokens x 64 columns
  static constexpr std::uint32_t kSquare = kChunk * kChunk * 2;
  static constexpr std::uint32_t kPlace = 64;
  static constexpr std::uint32_t kGates = 4 * kChunk * 4;  ///< gamma, e^gamma, e^(gamma_C - gamma), beta

  static constexpr std::uint32_t key = 0;
  static constexpr std::uint32_t query = key + kStages * kTile;
  static constexpr std::uint32_t value = query + kStages * kTile;
  static constexpr std::uint32_t inverse = value + kValueStages * kTile;
  static constexpr std::uint32_t score = inverse + kInverseStages * kSquare;
  static constexpr std::uint32_t scratch = score + kScoreStages * kSquare;
  static constexpr std::uint32_t receive = scratch + kScoreStages * kSquare;
  static constexpr std::uint32_t gates = receive + kReceiveStages * kTile;
  static constexpr std::uint32_t places = gates + kStages * kGates;
  // barriers, 8 bytes each
  static constexpr std::uint32_t full = places + 3 * kPlace;
  static constexpr std::uint32_t empty = full + 8 * kStages;
  static constexpr std::uint32_t value_full = empty + 8 * kStages;
  static constexpr std::uint32_t value_empty = value_full + 8 * kValueStages;
  static constexpr std::uint32_t inverse_full = value_empty + 8 * kValueStages;
  static constexpr std::uint32_t inverse_empty = inverse_full + 8 * kInverseStages;
  static constexpr std::uint32_t score_full = inverse_empty + 8 * kInverseStages;
  static constexpr std::uint32_t score_empty = score_full + 8 * kScoreStages;
  static constexpr std::uint32_t scratch_full = score_empty + 8 * kScoreStages;
  static constexpr std::uint32_t scratch_empty = scratch_full + 8 * kScoreStages;
  static constexpr std::uint32_t receive_full = scratch_empty + 8 * kScoreStages;  ///< [warpgroup][stage]
  static constexpr std::uint32_t receive_free = receive_full + 8 * 2 * kReceiveStages;
  static constexpr std::uint32_t bytes = receive_free + 8 * 2 * kReceiveStages;
};
static_assert(SharedMap::bytes <= 232448, "what a block of compute capability 9.0 can have");

/// Shared memory of the gla kernel. It works on half chunks of 32 tokens, five of them on their way at a
/// time: in flight, at the gates, at the state. All of a half is made in place: scaled queries and keys where
/// the raw ones were, the factors of the scores (16-bit, two rows of 128) in the row that their gate had.
struct GlaMap {
  static constexpr int kHalfTokens = kChunk / 2;
  static constexpr int kStages = 5;       ///< halves: two in flight, two at the gates, one at the state
  static constexpr int kValueStages = 2;  ///< halves of values
  static constexpr int kThreads = 640;    ///< two warpgroups for the state, two at the gates, one that feeds
  static constexpr std::uint32_t kTile = kHalfTokens * kDim * 2;  ///< rows of 64 values in 128-byte swizzle
  static constexpr std::uint32_t kHalf = kTile / 2;               ///< 32 tokens x 64 columns
  static constexpr std::uint32_t kGateRow = kDim * 4;
  static constexpr std::uint32_t kScore = kHalfTokens * kHalfTokens * 2;  ///< rows of 32 in 64-byte swizzle
  static constexpr std::uint32_t kPlace = SharedMap::kPlace;
  static constexpr std::uint32_t kReceive = SharedMap::kTile;
  // within a stage
  static constexpr std::uint32_t query = 0;
  static constexpr std::uint32_t key = kTile;
  static constexpr std::uint32_t gate = 2 * kTile;
  static constexpr std::uint32_t kStage = gate + kHalfTokens * kGateRow;

  static constexpr std::uint32_t stages = 0;
  static constexpr std::uint32_t value = stages + kStages * kStage;
  static constexpr std::uint32_t receive = value + kValueStages * kTile;
  static constexpr std::uint32_t score = receive + kReceiveStages * kReceive;
  static constexpr std::uint32_t decay = score + kStages * kScore;  ///< of a half, a channel each
  static constexpr std::uint32_t blocks =
      decay + kStages * kDim * 4;  ///< of eight tokens: [warp at the gates]
  static constexpr std::uint32_t places = blocks + 8 * kDim * 4;
  static constexpr std::uint32_t tokens = places + 4 * kPlace;  ///< int: rows of the half that count
  // barriers, 8 bytes each
  static constexpr std::uint32_t full = (tokens + kStages * 4 + 7) / 8 * 8;
  static constexpr std::uint32_t ready = full + 8 * kStages;
  static constexpr std::uint32_t empty = ready + 8 * kStages;
  static constexpr std::uint32_t value_full = empty + 8 * kStages;
  static constexpr std::uint32_t value_empty = value_full + 8 * kValueStages;
  static constexpr std::uint32_t receive_full = value_empty + 8 * kValueStages;  ///< [warpgroup][stage]
  static constexpr std::uint32_t receive_free = receive_full + 8 * 2 * kReceiveStages;
  static constexpr std::uint32_t bytes = receive_free + 8 * 2 * kReceiveStages;
};
static_assert(GlaMap::bytes <= 232448, "what a block of compute capability 9.0 can have");

/// Subheads of the next cluster when `left` are still to do: a power of two.
constexpr int cluster_size(int left) {
  int size = kLargestCluster;
  while (size > left) size /= 2;
  return size;
}

}  // namespace statescope::cuda_chunked
