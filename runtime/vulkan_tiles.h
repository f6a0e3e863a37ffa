// Sizes of the Vulkan kernels that both the variant table and the launches compute with. Knows no Vulkan.
#pragma once

#include <cstddef>
#include <cstdint>

#include <statescope/variants.h>

namespace statescope::vulkan_tiles {

/// Shared memory in bytes of a scan that sums o or dv over subheads (recurrent_tile.glsl). A single subhead
/// writes its own directly; GLSL still wants an array, of one quad.
inline std::size_t partial_sum_bytes(const Geometry& g) {
  return g.subheads == 1 ? 16 : std::size_t(4) * g.chunk * g.subheads * g.value_tile;
}

// recurrent_gradients.comp: a chunk of 16 tokens keeps its per-token sums in registers; V passes through
// shared memory 16 columns at a time.
inline constexpr std::uint32_t kGradientChunk = 16;
inline constexpr std::uint32_t kGradientColumns = 16;

/// Shared memory in bytes: do . u and du . u and what their sums lost; do, u, du; decays and beta; four
/// tokens of a row over K, and their sums by 16 threads each.
constexpr std::size_t gradient_bytes(std::int64_t key_dim) {
  constexpr std::size_t n = kGradientChunk;
  return 4 * (4 * n * n + 3 * n * kGradientColumns + 2 * n + 4 * static_cast<std::size_t>(key_dim) + 4 * n);
}

}  // namespace statescope::vulkan_tiles
