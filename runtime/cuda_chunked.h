// Tile sizes and shared memory of the chunked CUDA kernels, for the variant table and for the kernels. Host
// and device code both include this file, so it knows no CUDA.
#pragma once

#include <cstdint>

namespace statescope::cuda_chunked {

inline constexpr int kChunk = 64;  ///< tokens a chunk: the 64 rows of a warpgroup matrix product
inline constexpr int kDim = 128;   ///< key and value dimension
/// Fewer tokens run in the recurrent form, in float32 throughout. In bf16 the scores and each subhead's part
/// of o are rounded before they are added; over a handful of tokens whose parts nearly cancel, the error of
/// the sum is not averaged out (T = 1, E = 8: 7.5e-3 measured, 5e-3 allowed).
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

/// Subheads of the next cluster when `left` are still to do: a power of two.
constexpr int cluster_size(int left) {
  int size = kLargestCluster;
  while (size > left) size /= 2;
  return size;
}

}  // namespace statescope::cuda_chunked
