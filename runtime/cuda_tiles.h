// Tile sizes of the CUDA kernels: the variant table computes with them, the kernels are compiled from them.
// Host and device code both include this file, so it knows no CUDA.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <statescope/variants.h>

namespace statescope::cuda_tiles {

// Scans over tokens: the recurrent forward, and the reverse scan of backward.
//
// A warp holds K rows by warp_columns() columns of one subhead's state in registers. Its lanes form a grid of
// key_lanes() by 32 / key_lanes(); a lane owns K / key_lanes() rows of kLaneColumns columns, at most 32 x 2 =
// 64 registers, which leaves as many again under the 128 that a block of 16 warps may use.

inline constexpr int kWarp = 32;
inline constexpr int kLaneColumns = 2;
/// Warps of a block at most: 16 subheads side by side, so that E = 16 still sums o inside one block.
inline constexpr int kMaxScanWarps = 16;
/// Tokens between two states that the scans of backward leave for the gradient kernel. 16 keeps the kernel's
/// per-token accumulators in registers.
inline constexpr int kGradientChunk = 16;

/// K padded to a size that is compiled: 32, 64, 128, 256.
constexpr int padded_key_dim(std::int64_t key_dim) {
  return key_dim <= 32 ? 32 : key_dim <= 64 ? 64 : key_dim <= 128 ? 128 : 256;
}
/// Lanes over K. Few, because sums over K (k S, q S) cross them by shuffles; 256 needs 8 to stay at 32 rows a
/// lane.
constexpr int key_lanes(int padded_key) {
  return padded_key == 256 ? 8 : 4;
}
constexpr int warp_columns(int padded_key) {
  return kWarp / key_lanes(padded_key) * kLaneColumns;
}

/// Shared memory of a scan in bytes, in this order; `channels` is padded_key for gla and 1 otherwise.
///   float32, of the tokens at work:
///     k, q    [tokens][subheads][padded_key] each
///     v or do [tokens][columns]
///     o or dv [tokens][subheads][columns]     one part a subhead, summed in order
///   as stored (`element` bytes), of the tokens that follow, on their way in:
///     k, q    [tokens][subheads][padded_key] each
///     v or do [tokens][columns]
///   float32: e^g and g on its way [tokens][subheads][channels] each, beta and beta on its way
///   [tokens][subheads] each
constexpr std::size_t scan_bytes(int padded_key, int channels, int subheads, int columns, int tokens,
                                 std::size_t element) {
  const std::size_t keys = static_cast<std::size_t>(2 * padded_key * subheads);
  const std::size_t floats = keys + columns + subheads * columns + 2 * subheads * (channels + 1);
  return tokens * (4 * floats + element * (keys + columns));
}

struct ScanShape {
  int subheads = 1;  ///< subheads side by side in a block; further groups of them follow one after the other
  int tiles = 1;     ///< warps over V in a block
  int tokens = 1;    ///< tokens staged at a time; divides kGradientChunk
  std::size_t shared_bytes = 0;
};

inline ScanShape scan_shape(const Problem& p, const DeviceLimits& limits) {
  const int padded = padded_key_dim(p.key_dim);
  const int columns = warp_columns(padded);
  const std::int64_t groups = (p.expansion + kMaxScanWarps - 1) / kMaxScanWarps;
  ScanShape shape;
  shape.subheads = static_cast<int>((p.expansion + groups - 1) / groups);

  // Warps over V share the staged q and k, but a block a multiprocessor comes first: the scan is serial over
  // T.
  std::int64_t blocks = p.sequences * p.heads * (p.value_dim / columns);
  while (shape.subheads * shape.tiles * 2 <= kMaxScanWarps / 2 &&
         p.value_dim % (columns * shape.tiles * 2) == 0 &&
         blocks / 2 >= 4 * std::max<std::int64_t>(limits.multiprocessors, 1)) {
    shape.tiles *= 2;
    blocks /= 2;
  }

  // Two blocks a multiprocessor where there is room.
  const std::size_t limit = limits.shared_memory_per_workgroup;
  const std::size_t budget = limit >= 96 * 1024 ? limit / 2 - 1024 : limit;
  const int channels = gate_per_channel(p.rule) ? padded : 1;
  const auto bytes = [&](int tokens) {
    return scan_bytes(padded, channels, shape.subheads, columns * shape.tiles, tokens, size_of(p.dtype));
  };
  shape.tokens = kGradientChunk;
  while (shape.tokens > 1 && bytes(shape.tokens) > budget) shape.tokens /= 2;
  shape.shared_bytes = bytes(shape.tokens);
  return shape;
}

// Gradients of a chunk (backward).
//
// One thread a channel of K. V passes through shared memory 16 columns at a time (rows of 64 bytes), in two
// buffers.

inline constexpr int kGradientColumns = 16;

constexpr int gradient_threads(std::int64_t key_dim) {
  return static_cast<int>((key_dim + kWarp - 1) / kWarp * kWarp);
}

/// Shared memory in floats, in this order, n = kGradientChunk:
///   do.u, du.u and what their sums lost [n][n] each;  do, u, du [columns][n] each;  q, k [n][threads] each;
///   decay [n][threads or 1];  beta [n];  sums over K of dg [warps][n];
///   S, C [2][threads][columns] each;  do, u, du on their way [n][columns] each
constexpr std::size_t gradient_floats(std::int64_t key_dim, bool per_channel) {
  const std::size_t n = kGradientChunk, threads = gradient_threads(key_dim);
  return 4 * n * n + 6 * kGradientColumns * n + 2 * n * threads + n * (per_channel ? threads : 1) + n +
         threads / kWarp * n + 4 * threads * kGradientColumns;
}

// Step (decoding).
//
// Four warps own a slab of 32 columns (rows of 128 bytes, a full cache line) of a head and walk its subheads;
// each thread holds K / 16 float4 of the state, and as many of the next subhead's on their way. Two slabs
// make a block.

inline constexpr int kStepSlab = 32;
inline constexpr int kStepSlabWarps = 4;
inline constexpr int kStepSlabs = 2;
inline constexpr int kStepThreads = kStepSlabs * kStepSlabWarps * kWarp;
inline constexpr int kStepColumns = kStepSlabs * kStepSlab;
/// Subheads whose q and k are staged at a time.
inline constexpr int kStepSubheads = 8;

/// Shared memory in floats, in this order; channels as for the scans:
///   sums over warps [2][slabs][4][slab];  q, k [subheads][padded_key] each;  decay [subheads][channels];
///   beta [subheads]
constexpr std::size_t step_floats(int padded_key, int channels, int subheads) {
  return 2 * kStepSlabWarps * kStepColumns +
         static_cast<std::size_t>(subheads) * (2 * padded_key + channels + 1);
}
/// Subheads whose q and k a block stages at a time, when so many blocks share those of a head.
constexpr int step_subheads(std::int64_t expansion, int parts) {
  return static_cast<int>(std::min<std::int64_t>((expansion + parts - 1) / parts, kStepSubheads));
}
/// Blocks that share a head's subheads: a cluster, as long as every multiprocessor is to have two blocks.
constexpr int step_parts(std::int64_t expansion, std::int64_t blocks, std::int64_t multiprocessors) {
  constexpr int kMost = 8;  // of a cluster on every device that has them
  int parts = 1;
  while (2 * parts <= kMost && 2 * parts <= expansion && 2 * parts * blocks <= 2 * multiprocessors)
    parts *= 2;
  return parts;
}

// Comparison kernels.
//
// The whole state of a (sub)head in shared memory. Threads form rows of V / 4 float4 columns; the remaining
// factor of 256 walks over K.

inline constexpr int kComparisonThreads = 256;

constexpr int comparison_row_groups(std::int64_t value_dim) {
  return static_cast<int>(kComparisonThreads / (value_dim / 4));
}
/// Tokens staged at a time: long keys stage fewer, so that the tiles stay small beside the state.
constexpr int comparison_tokens(std::int64_t key_dim) {
  return key_dim <= 128 ? 8 : key_dim <= 256 ? 4 : key_dim <= 512 ? 2 : 1;
}
constexpr std::size_t comparison_state_floats(std::int64_t key_dim, std::int64_t value_dim) {
  return static_cast<std::size_t>(key_dim) * static_cast<std::size_t>(value_dim);
}
/// Shared memory beside the state in floats, in this order:
///   sums over row groups of k S and of q S, of even and of odd tokens [4][row groups][V];  q, k [tokens][K]
///   each;  v [tokens][V]; decay [tokens][K or 1];  beta [tokens]
/// A multiple of 4, so that the state behind it is aligned.
constexpr std::size_t comparison_tile_floats(std::int64_t key_dim, std::int64_t value_dim, bool per_channel) {
  const std::size_t tokens = comparison_tokens(key_dim), k = key_dim, v = value_dim;
  const std::size_t floats =
      tokens * (2 * k + (per_channel ? k : 1) + v + 1) + 4 * comparison_row_groups(value_dim) * v;
  return (floats + 3) / 4 * 4;
}

}  // namespace statescope::cuda_tiles
