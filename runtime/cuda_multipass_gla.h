// Tile sizes and shared memory of the passes of gla, whose gate is per channel of K (cuda_multipass.h has
// those of the other rules). Host and device code both include this file, so it knows no CUDA.
#pragma once

#include "runtime/cuda_multipass.h"

namespace statescope::cuda_multipass {

/// Channels of K that a warp works on at a time where gates are: the rows of one matrix product. Its 64
/// tokens of them are 32 values a lane of each of q, k, g and their gradients, which stay in registers.
inline constexpr int kGlaChannels = 16;
inline constexpr std::uint32_t kGlaRowsBytes = kChunk * kGlaChannels * 2;  ///< of q or k
/// The second 32 tokens lie 64 bytes further, so that both halves can be summed at a time.
inline constexpr std::uint32_t kGlaGateBytes = kChunk * kGlaChannels * 4 + 64;
/// q, k and g of a warp.
inline constexpr std::uint32_t kGlaInputBytes = 2 * kGlaRowsBytes + kGlaGateBytes;

/// Prepare: four warps with a share of the channels each. Three blocks of 168 registers a thread.
inline constexpr int kGlaPrepareThreads = 128;
/// Of a warp: inputs with two places for gates, and the scaled q and k on their way out. In the end its part
/// of the scores.
inline constexpr std::uint32_t kGlaPrepareWarpBytes = kGlaInputBytes + kGlaGateBytes + 2 * kGlaRowsBytes;
inline constexpr std::uint32_t kGlaPrepareBytes = kGlaPrepareThreads / 32 * kGlaPrepareWarpBytes;

/// States: a warp owns 32 channels of K by 64 columns of V, 64 registers a lane, which takes 24 loads of
/// operands for 64 products; 16 x 128 would take 36.
constexpr int gla_state_threads(int key_dim, int value_dim) {
  return key_dim / 32 * (value_tile(value_dim) / 64) * 32;
}
/// Blocks that shall share a multiprocessor: 128 registers a thread.
constexpr int gla_state_blocks(int key_dim, int value_dim) {
  return 512 / gla_state_threads(key_dim, value_dim);
}
/// Two on their way while one is at work: the pass waits for memory.
inline constexpr int kGlaStateStages = 3;
/// Stages of keys (or queries), values (or do) and the decays of the chunk.
constexpr std::uint32_t gla_states_bytes(int key_dim, int value_dim) {
  return kGlaStateStages *
         (rows_bytes(key_dim) + rows_bytes(value_tile(value_dim)) + static_cast<std::uint32_t>(key_dim) * 4);
}

/// Outputs (o, or dv): a warp owns 16 columns of V and reads its part of the states itself.
constexpr int gla_output_slab(int key_dim) {
  return key_dim < 128 ? key_dim : 128;  ///< channels at a time
}
constexpr int gla_output_threads(int value_dim) {
  return 2 * value_tile(value_dim);
}
/// Two stages of queries (or keys) and scores; values (or do); of each warp 16 columns of the state.
constexpr std::uint32_t gla_outputs_bytes(int key_dim, int value_dim) {
  const int slab = gla_output_slab(key_dim), tile = value_tile(value_dim);
  return 2 * (rows_bytes(slab) + kSquareBytes) + rows_bytes(tile) +
         static_cast<std::uint32_t>(tile * slab * 2);
}

/// Gradients: a block is 64 channels, so that two fit a multiprocessor of compute capability 9.0 and one
/// fits that of 8.0.
inline constexpr int kGlaGradientThreads = 128;
inline constexpr int kGlaGradientChannels = kGlaGradientThreads / 32 * kGlaChannels;
/// Of a warp: q, k and g, the state before the chunk and the gradient of the one after it.
constexpr std::uint32_t gla_gradient_warp_bytes(int value_dim) {
  return kGlaInputBytes + 2 * static_cast<std::uint32_t>(kGlaChannels * value_dim * 2);
}
/// do and v, their product, and what each warp reads alone.
constexpr std::uint32_t gla_gradients_bytes(int value_dim) {
  return 2 * rows_bytes(value_dim) + kSquareBytes +
         kGlaGradientThreads / 32 * gla_gradient_warp_bytes(value_dim);
}

}  // namespace statescope::cuda_multipass
