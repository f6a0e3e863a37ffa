// From a problem and the geometry that the variant table gave it to dispatches: which module, which
// constants.
#pragma once

#include <bit>
#include <map>
#include <string>
#include <vector>

#include <statescope/variants.h>

#include "runtime/vulkan/pipeline.h"

namespace statescope::vulkan {

/// One dispatch. Push constants by name, as 32-bit words.
struct Dispatch {
  std::string kernel;  ///< Launch::kernel
  PipelineRequest pipeline;
  std::map<std::string, std::uint32_t> push_constants;
  std::map<std::string, std::string> aliases;  ///< bindings whose buffer has another name: binding -> buffer
  std::array<std::uint32_t, 3> workgroups{1, 1, 1};
  std::size_t shared_memory_bytes = 0;  ///< as the variant table has it
};

/// A buffer of the kernels' own, by the name of its binding. One of size 0 is bound, but not used at this
/// problem.
struct Scratch {
  std::string name;
  std::size_t bytes = 0;
};

struct Dispatches {
  std::vector<Dispatch> list;  ///< in order, each after the one before is done
  std::vector<Scratch> scratch;
};

/// The most that one launch does. Desktops end a submission that takes longer than two seconds (Windows) to
/// ten (Linux). A small integrated GPU runs these kernels at about 1e11 flop/s, and at a few microseconds a
/// token whatever the size: either bound is about a second there.
struct LaunchBounds {
  double flop = 1e11;
  std::int64_t tokens = 1 << 18;
  /// Of all loops of one invocation together; llvmpipe silently leaves every loop once it has counted 65535.
  std::int64_t loop_iterations = std::int64_t(1) << 62;
  /// Of one buffer of the kernels' own; this is what every device has at least.
  std::size_t buffer_bytes = std::size_t(1) << 27;
};

/// The bounds of a device.
LaunchBounds launch_bounds(const PhysicalDevice& physical);

/// `choice` is what the variant table gave for the problem and the limits of `device`.
Dispatches dispatches_of(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                         const LaunchBounds& bounds = {});

}  // namespace statescope::vulkan
