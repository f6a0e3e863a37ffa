// Tile sizes of the chunked Vulkan kernels (shaders/chunked*.comp): for the variant table, which says what
// they cost, and for the host side, which gives them to the shaders. Knows no Vulkan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <statescope/variants.h>

namespace statescope::vulkan_chunked {

/// 16-bit problems of fewer tokens run in the recurrent form, in float32 throughout: the chunked kernels hand
/// on states and corrected values in 16 bits, and over a handful of tokens whose parts nearly cancel the
/// error of the sum is not averaged out.
inline constexpr std::int64_t kFewestTokens = 16;

/// The depth that chunked_outputs.comp multiplies at a time.
inline constexpr std::uint32_t kSlab = 64;

/// Empty when the device multiplies matrices of this type as the kernels want it, else what is missing.
std::string matrices_missing(DType dtype, const DeviceLimits& limits);

/// Of the factors of products of this type. The kernels' 16 x 16 tiles are made of such matrices: sides of 8
/// or 16.
const MatrixShape& matrix_shape(DType dtype, const DeviceLimits& limits);
bool makes_tiles(const MatrixShape& shape);

/// The subgroup that multiplies a tile: 32 invocations, or what the device has nearest to it.
std::uint32_t matrix_subgroup(const DeviceLimits& limits);

/// How a workgroup carries a state, or its gradient.
struct SerialTile {
  std::uint32_t columns = 0;      ///< of V
  std::uint32_t shares = 1;       ///< teams of cooperative matrices that carry 16 columns together
  std::uint32_t invocations = 0;  ///< of the workgroup
};

struct Tiles {
  bool cooperative = false;          ///< products by cooperative matrices
  std::uint32_t chunk = 0;           ///< C, tokens
  std::uint32_t workgroup_size = 0;  ///< invocations, of every kernel but gates, invert and states
  std::uint32_t subgroup_size = 0;   ///< asked for; 0: whatever the device has
  std::uint32_t team_size = 0;       ///< invocations that work on one 16 x 16 tile at a time
  std::uint32_t invert_size = 0;     ///< invocations that invert a chunk's system
  SerialTile states;                 ///< how a state is carried
  std::uint32_t outputs_tile = 0;    ///< columns of V of a workgroup that makes o
  std::uint32_t scores_levels = 0;   ///< gla: tiles of scaled rows in shared memory at a time
  std::size_t scores_bytes = 0;      ///< shared memory of each kernel
  std::size_t invert_bytes = 0;
  std::size_t states_bytes = 0;
  std::size_t outputs_bytes = 0;
};

/// Of the kernels that a problem takes, the most shared memory.
std::size_t largest_bytes(const Problem& problem, const Tiles& tiles);

/// The widest that fit the device's shared memory, of which `bytes` are taken, and its registers; with few
/// chains narrower ones, so that no multiprocessor is idle.
SerialTile serial_tile(const Problem& problem, const Tiles& tiles, const DeviceLimits& limits,
                       const std::function<std::size_t(std::uint32_t columns)>& bytes);

/// The largest chunk, and then the largest tiles, that fit the device's shared memory; where none fits, the
/// smallest there are.
Tiles tiles_of(const Problem& problem, const DeviceLimits& limits, bool cooperative,
               std::uint32_t most_chunk = 64);

}  // namespace statescope::vulkan_chunked
