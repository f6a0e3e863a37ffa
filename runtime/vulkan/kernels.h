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

Dispatches dispatches_of(const Problem& problem, const Choice& choice, const DeviceLimits& limits);

/// Where the state comes from: STATE_ZERO, STATE_H0 and STATE_HT of recurrence.glsl.
enum class StateSource : std::uint32_t { kZero, kH0, kHt };

}  // namespace statescope::vulkan
