// Tile sizes and shared memory of the chunked CUDA kernels in several passes, for the variant table and for
// the kernels. Host and device code both include this file, so it knows no CUDA.
#pragma once

#include <cstdint>

#include <statescope/problem.h>

namespace statescope::cuda_multipass {

inline constexpr int kChunk = 64;  ///< tokens a chunk
/// Columns of V that a block of the serial passes owns, sixteen a warp: eight warps share one tile of keys,
/// and two such blocks fit a multiprocessor of compute capability 9.0 in registers and shared memory.
inline constexpr int kWidestTile = 128;
/// Channels of K that the gradient pass has in shared memory at a time. S and its gradient, and Q and K,
/// stand side by side in rows of 128 bytes.
inline constexpr int kSlab = 32;
inline constexpr int kPrepareThreads = 128;
inline constexpr int kValuesThreads = 256;

inline constexpr std::uint32_t kSquareBytes = kChunk * kChunk * 2;
inline constexpr std::uint32_t kGateBytes = 2 * kChunk * 4;  ///< cumulated gates and betas of a chunk

/// Chunks are numbered without a table: sequence n of a packed row starts at begin / 64 + n, which leaves
/// every sequence at least the numbers that it needs.
inline std::int64_t chunks_of(const Problem& p) {
  if (p.packed) return p.seq_len / kChunk + p.sequences;
  return p.sequences * ((p.seq_len + kChunk - 1) / kChunk);
}

constexpr int value_tile(int value_dim) {
  return value_dim < kWidestTile ? value_dim : kWidestTile;
}
constexpr std::uint32_t rows_bytes(int columns) {
  return static_cast<std::uint32_t>(kChunk * columns * 2);
}

/// K; Q, then the triangular system and its inverse; gates. Without scores no Q, and the system in the place
/// of K.
constexpr std::uint32_t prepare_bytes(int key_dim, bool scores = true) {
  return (scores ? rows_bytes(key_dim) : 0) + rows_bytes(key_dim < 128 ? 128 : key_dim) + 3 * kChunk * 4;
}
/// What a warp of the serial passes turns its results in, so that they leave in rows of 128 bytes.
inline constexpr std::uint32_t kTurnBytes = 2048;
/// Blocks of the serial passes that shall share a multiprocessor: what the compiler holds the registers to. K
/// of 256 takes 128 registers a thread for the state alone.
constexpr int serial_blocks(int key_dim, int value_dim) {
  return key_dim > 128 ? 1 : value_dim >= kWidestTile ? 2 : 3;
}
/// Two stages of K, V, the inverse and the gates.
constexpr std::uint32_t states_bytes(int key_dim, int value_dim, bool delta) {
  return 2 * (rows_bytes(key_dim) + rows_bytes(value_tile(value_dim)) + (delta ? kSquareBytes : 0) +
              kGateBytes) +
         value_tile(value_dim) / 16 * kTurnBytes;
}
/// Two stages of K and the gates; one of Q, do, the scores and the inverse. At K = V = 128 and in the
/// gradient pass the count of stages is what 99 KB allow, a block's share of compute capability 8.6 and 8.9.
constexpr std::uint32_t state_gradients_bytes(int key_dim, int value_dim, bool delta) {
  return 2 * (rows_bytes(key_dim) + kGateBytes) + rows_bytes(key_dim) + rows_bytes(value_tile(value_dim)) +
         (delta ? 2 : 1) * kSquareBytes + value_tile(value_dim) / 16 * kTurnBytes;
}

// The serial passes on compute capability 9.0: warpgroup products, the copy engine. A block is a chain and a
// tile of 64 or 128 columns of V, 64 a warpgroup, and one warp more that asks for tiles.

inline constexpr std::uint32_t kHopperSharedBytes = 232448;  ///< what a block of 9.0 can have
constexpr int serial_threads(int tile) {
  return 2 * tile + 128;
}
/// Registers a thread of the state's warpgroups and of the other; 168 at launch, which three warpgroups
/// share.
inline constexpr int kStateRegisters = 232, kFeedRegisters = 40;
/// Where the other makes scores too.
inline constexpr int kFewerStateRegisters = 224, kScoreRegisters = 56;
/// Columns of V that a block can have: 128 share their keys, but at K = 256 the tiles of state_gradients then
/// do not fit twice.
constexpr int widest_serial_tile(int key_dim, int value_dim, bool gradients) {
  return value_dim < 128 || (gradients && key_dim > 128) ? 64 : 128;
}
/// Columns of V a block: 64 where wider tiles would leave multiprocessors without a block (0: not known).
constexpr int serial_tile(std::int64_t chains, int value_dim, std::uint32_t multiprocessors) {
  return value_dim < 128 || chains * (value_dim / 128) < static_cast<std::int64_t>(multiprocessors) ? 64
                                                                                                    : 128;
}
/// Shared memory of a block in bytes: stages of tiles [K, Q, V or do, P, A], the 16-bit state and r, dr or o
/// on their way out, factors of the tokens and barriers of each stage.
struct SerialMap {
  int stages = 0;
  std::uint32_t value = 0, score = 0, inverse = 0, stage = 0;  ///< offsets in a stage, and its size
  std::uint32_t state = 0, result = 0, factors = 0, barriers = 0, bytes = 0;
  std::uint32_t made = 0;  ///< two places for P where the block makes it, in turn
};
inline constexpr std::uint32_t kFactorBytes = 4 * kChunk * 4, kStageBarrierBytes = 3 * 8;
/// `queries`: Q and P come too. `state`, `result`: what leaves. `made`: P does not come but is made.
constexpr SerialMap serial_map(int key_dim, int tile, bool delta, bool queries, bool state, bool result,
                               bool made = false) {
  constexpr int kMostStages = 3;  // one at work, two on their way
  SerialMap map;
  map.value = (queries ? 2 : 1) * rows_bytes(key_dim);
  map.score = map.value + rows_bytes(tile);
  map.inverse = map.score + (queries && !made ? kSquareBytes : 0);
  map.stage = map.inverse + (delta ? kSquareBytes : 0);
  const std::uint32_t leaving = (state ? static_cast<std::uint32_t>(tile * key_dim * 2) : 0) +
                                (result ? rows_bytes(tile) : 0) + (made ? 2 * kSquareBytes : 0);
  while (map.stages < kMostStages &&
         (map.stages + 1) * (map.stage + kFactorBytes + kStageBarrierBytes) + leaving <= kHopperSharedBytes)
    ++map.stages;
  const std::uint32_t stages = static_cast<std::uint32_t>(map.stages);
  map.state = stages * map.stage;
  map.factors = map.state + leaving;
  map.result = map.factors - rows_bytes(tile), map.made = map.factors - 2 * kSquareBytes;
  map.barriers = map.factors + stages * kFactorBytes;
  map.bytes = map.barriers + stages * kStageBarrierBytes;
  return map;
}
constexpr SerialMap states_map(int key_dim, int tile, bool delta) {
  return serial_map(key_dim, tile, delta, false, true, delta);
}
constexpr SerialMap state_gradients_map(int key_dim, int tile, bool delta) {
  return serial_map(key_dim, tile, delta, true, true, true);
}
/// Where P is made, dr leaves through the place of do, so that three stages fit at K = V = 128.
constexpr SerialMap state_gradients_scores_map(int key_dim, int tile, bool delta) {
  return serial_map(key_dim, tile, delta, true, true, false, true);
}
/// States and outputs in one pass, for one subhead a head and few chains: 64 columns of V a block.
constexpr SerialMap single_map(int key_dim, bool delta) {
  return serial_map(key_dim, 64, delta, true, false, true);
}

/// Outputs: eight warps, each 16 tokens by half of the columns; three stages, so that two are on their way.
inline constexpr int kOutputThreads = 256;
inline constexpr int kOutputStages = 3;
constexpr int output_tile(int value_dim) {
  return value_tile(value_dim);
}
/// 64 channels of Q and of S^T, or P and r; and the gates.
constexpr std::uint32_t output_stage_bytes(int value_dim) {
  return kSquareBytes + rows_bytes(output_tile(value_dim)) + kGateBytes;
}
constexpr std::uint32_t outputs_bytes(int value_dim) {
  return kOutputStages * output_stage_bytes(value_dim);
}

/// Warps of one role of the gradient pass, and the 16-row tiles of each: a warp keeps its rows of do, r or dr
/// in registers, V / 4 of them a tile.
constexpr int role_tiles(int value_dim) {
  return value_dim > 128 ? 1 : 2;
}
constexpr int role_warps(int value_dim) {
  return kChunk / 16 / role_tiles(value_dim);
}
constexpr int gradient_roles(bool delta) {
  return delta ? 3 : 2;
}
constexpr int gradient_threads(int value_dim, bool delta) {
  return 32 * role_warps(value_dim) * gradient_roles(delta);
}
/// Slabs that have a place of their own; two more take that of the tiles.
constexpr int early_slabs(int value_dim) {
  return value_dim == 128 ? 1 : 2;
}
constexpr std::uint32_t slab_bytes(int value_dim) {
  return static_cast<std::uint32_t>((value_dim + kChunk) * 128);
}
/// The tiles of the first phase, whose place becomes that of the later slabs.
constexpr std::uint32_t gradient_tiles_bytes(int value_dim, bool delta) {
  const std::uint32_t tiles = gradient_roles(delta) * rows_bytes(value_dim),
                      slabs = 2 * slab_bytes(value_dim);
  return tiles > slabs ? tiles : slabs;
}
constexpr std::uint32_t gradient_sums_bytes(int value_dim) {
  return static_cast<std::uint32_t>((13 + 2 * role_warps(value_dim)) * kChunk + 16) * 4;
}
/// Tiles or two slabs, early slabs, the part of dk that the third role hands over, gates, terms of dg and
/// dbeta.
constexpr std::uint32_t gradients_bytes(int value_dim, bool delta) {
  return gradient_tiles_bytes(value_dim, delta) +
         static_cast<std::uint32_t>(early_slabs(value_dim)) * slab_bytes(value_dim) +
         (delta ? kChunk * kSlab * 4 : 0) + kGateBytes + gradient_sums_bytes(value_dim);
}

}  // namespace statescope::cuda_multipass
