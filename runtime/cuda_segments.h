// Into how many segments a long sequence is cut, so that few chains fill a GPU, and the tiles of what joins
// the segments (cuda/multipass/segments.cu has the equations). For the variant table and for the kernels:
// host and device code both include this file, so it knows no CUDA.
#pragma once

#include <cstdint>

#include <statescope/variants.h>

#include "runtime/cuda_multipass_gla.h"

namespace statescope::cuda_multipass {

inline constexpr int kMostSegments = 32;

/// The segments as a packed row of sequences that begin with a state: segment s of sequence n is sequence
/// n S + s.
inline Problem segments_of(const Problem& p, std::int64_t segments) {
  Problem cut = p;
  cut.form = Form::kChunked;
  cut.batch = 1, cut.seq_len = p.batch * p.seq_len;
  cut.sequences = p.sequences * segments;
  cut.packed = cut.initial_state = true;
  return cut;
}

/// The first variant of the table that takes the segments as the sequences that they are; not one that would
/// cut them again.
const Variant& forward_of_segments(const Problem& cut, const DeviceLimits& limits);

/// Segments a sequence, 1 where more do not pay. `limits.multiprocessors` 0: not known, 1.
int segments(const Problem& p, const DeviceLimits& limits);

// What a segment does to the state (transitions_hopper.cuh): a block is a segment of a subhead and columns of
// N or of M, whose tiles are those of the serial passes without anything that leaves.

constexpr SerialMap transitions_map(int key_dim, int tile, bool delta) {
  return serial_map(key_dim, tile, delta, false, false, false);
}
/// Columns of N, and of M for gated_delta.
constexpr int transition_columns(int key_dim, int value_dim, bool delta) {
  return value_dim + (delta ? key_dim : 0);
}
/// Columns a block: 128 share their keys, 64 where blocks would be too few or columns too narrow.
constexpr int transition_tile(std::int64_t chains, int key_dim, int value_dim, bool delta,
                              std::uint32_t multiprocessors) {
  const bool narrow = value_dim < 128 || (delta && key_dim < 128);
  return narrow || chains * transition_columns(key_dim, value_dim, delta) / 64 <= multiprocessors ? 64 : 128;
}

/// Joining by matrices: a block walks the segments of a subhead with 8 columns of the state, so that few
/// chains have blocks for every multiprocessor. Eight warps share the channels, and their parts are added at
/// the end.
inline constexpr int kJoinThreads = 256, kJoinColumns = 8;
/// The state's columns, and the warps' parts of the next ones.
constexpr std::uint32_t join_bytes(int key_dim) {
  return (1 + kJoinThreads / 32) * static_cast<std::uint32_t>(key_dim * kJoinColumns * 4);
}

}  // namespace statescope::cuda_multipass
