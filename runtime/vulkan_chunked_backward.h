// Tile sizes of the kernels that the chunked backward has beside forward's (shaders/chunked_reverse.comp,
// chunked_pairs.comp, chunked_gradients.comp, ...): for the variant table and for the host side, as
// vulkan_chunked.h.
#pragma once

#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan_chunked {

inline constexpr std::size_t kThroughs = 16;  ///< chunked_gradients.comp's parts of <S, D>

struct BackwardTiles {
  Tiles forward;                       ///< of the kernels that backward shares with it
  std::uint32_t teams = 0;             ///< of a workgroup
  SerialTile reverse;                  ///< how the gradient of a state is carried
  std::uint32_t columns = 0;           ///< of V, in shared memory at a time, of pairs and gradients
  std::uint32_t gradient_columns = 0;  ///< of gradients where it reads the state's gradient; of gla's always
  std::uint32_t key_tile = 0;          ///< channels of K of a workgroup that makes dq and dk
  std::uint32_t gradients_size = 0;    ///< its invocations
  std::uint32_t values_tile = 0;       ///< columns of V of a workgroup that makes dv
  std::uint32_t gate_subheads = 0;     ///< subheads of a workgroup that makes dg and dbeta
  std::size_t reverse_bytes = 0;       ///< shared memory of each kernel
  std::size_t pairs_bytes = 0;
  std::size_t gradients_bytes = 0;
  std::size_t values_bytes = 0;
  std::size_t gate_gradients_bytes = 0;
};

/// Of the kernels that a problem takes, the most shared memory.
std::size_t largest_bytes(const Problem& problem, const BackwardTiles& tiles);

/// The largest chunk, and then the largest tiles, that fit the device's shared memory; where none fits, the
/// smallest there are.
BackwardTiles backward_tiles_of(const Problem& problem, const DeviceLimits& limits, bool cooperative);

}  // namespace statescope::vulkan_chunked
