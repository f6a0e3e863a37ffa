// The chunked kernels of shaders/chunked*.comp as dispatches.
#pragma once

#include "runtime/vulkan/kernels.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {

/// As dispatches_of(), for a choice of a chunked variant.
Dispatches chunked(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                   const LaunchBounds& bounds);
Dispatches chunked_backward(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                            const LaunchBounds& bounds);

/// Workgroups along one dimension, the most that every device has.
inline constexpr std::int64_t kMostWorkgroups = 65535;

/// The slots [begin, end) of `all` that a launch covers (chunked.glsl).
struct Slots {
  std::int64_t begin, end, all;
};

/// A launch of module <family>_<kernel>, without what only some kernels have: the constants and push
/// constants of chunked.glsl. `products`: the module comes with and without cooperative matrices.
Dispatch chunked_dispatch(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                          const vulkan_chunked::Tiles& tiles, const char* family, const std::string& kernel,
                          const Slots& slots, std::uint32_t workgroup_size, bool products = true);

/// Of the kernel that makes P: a workgroup goes over as many of a head's subheads as leave every
/// multiprocessor work enough.
std::array<std::uint32_t, 3> scores_workgroups(const Problem& problem, const DeviceInfo& device,
                                               bool cooperative, std::uint32_t slots);

/// The workgroups, constants and shared memory of chunked_gates.comp, of `gates` gates a token.
void set_gates(Dispatch& dispatch, std::uint32_t gates, std::uint32_t slots);

/// The constants of a kernel that carries a state.
void set_serial_tile(Dispatch& dispatch, const vulkan_chunked::Tiles& tiles,
                     const vulkan_chunked::SerialTile& tile);

}  // namespace statescope::vulkan
