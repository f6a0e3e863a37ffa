// Shared memory of the gradient pass on compute capability 9.0, for the variant table and for the kernel.
// Host and device code both include this file, so it knows no CUDA.
#pragma once

#include "runtime/cuda_multipass.h"

namespace statescope::cuda_multipass {

/// Whether the pass is compiled for these sizes; others run the general one, there too.
constexpr bool has_hopper_gradients(std::int64_t key_dim, std::int64_t value_dim) {
  return key_dim <= 128 && value_dim <= 128;
}
/// Whether the scores are made where the gradients of the state are: bytes decide once every multiprocessor
/// has a chain, latency before.
constexpr bool scores_made_late(std::int64_t chains, std::int64_t key_dim, std::int64_t value_dim,
                                std::int64_t multiprocessors) {
  return has_hopper_gradients(key_dim, value_dim) && chains > multiprocessors;
}
/// The gradient pass on compute capability 9.0 (multipass/gradients_hopper.cuh): two warpgroups for the
/// gradients, half of the channels each, one for the squares, one of single warps.
inline constexpr int kHopperThreads = 512;
inline constexpr int kTaskStages = 4;    ///< gates: of more chunks than the tiles on their way are part of
inline constexpr int kTermStages = 2;    ///< terms of dg and dbeta: being added, and being made
inline constexpr int kResultStages = 2;  ///< barriers of dq and dk, for either warpgroup
/// Places in shared memory. Tiles of a chunk pass through a ring of slots in the order do, S, D (a slot for
/// every 64 channels), r, dr, K, Q, which is about the order in which they are done with.
struct HopperGradientMap {
  int panels, tiles, slots;    ///< of 64 channels; of a chunk; of the ring
  std::uint32_t slot;          ///< bytes
  std::uint32_t m, n;          ///< squares, 8 KB each
  std::uint32_t tasks, terms;  ///< kTaskStages, kTermStages
  std::uint32_t full, empty;   ///< barriers of the slots, 8 bytes each
  std::uint32_t task_full, task_empty, terms_full, terms_empty, squares_full, squares_empty, tiles_read,
      results_full;
  std::uint32_t bytes;
};
inline constexpr std::uint32_t kTaskBytes = kGateBytes + 32;
/// before [2], after [2], ways [4], the pairs' part of dbeta; eight parts of <S, D>
inline constexpr std::uint32_t kTermBytes = 9 * kChunk * 4 + 32;
constexpr HopperGradientMap hopper_gradient_map(int key_dim, int value_dim, bool delta) {
  HopperGradientMap x{};
  x.panels = key_dim / 64;
  x.tiles = 2 * x.panels + (delta ? 5 : 4);
  x.slot = rows_bytes(key_dim > value_dim ? key_dim : value_dim);
  x.slots = 12;
  x.m = static_cast<std::uint32_t>(x.slots) * x.slot, x.n = x.m + kSquareBytes;
  x.tasks = x.n + kSquareBytes, x.terms = x.tasks + kTaskStages * kTaskBytes;
  x.full = x.terms + kTermStages * kTermBytes;
  x.empty = x.full + 8 * static_cast<std::uint32_t>(x.slots);
  x.task_full = x.empty + 8 * static_cast<std::uint32_t>(x.slots);
  x.task_empty = x.task_full + 8 * kTaskStages;
  x.terms_full = x.task_empty + 8 * kTaskStages;
  x.terms_empty = x.terms_full + 8 * kTermStages;
  x.squares_full = x.terms_empty + 8 * kTermStages, x.squares_empty = x.squares_full + 8;
  x.tiles_read = x.squares_empty + 8, x.results_full = x.tiles_read + 8;
  x.bytes = x.results_full + 2 * 8 * kResultStages;
  return x;
}

}  // namespace statescope::cuda_multipass
