// Which kernels a plan launches, and what they are told.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "cuda/kernels.h"

namespace statescope::cuda {

/// In order, with the front end's before and behind. Throws Error(kRefused) for one that this build leaves
/// out.
std::vector<KernelLaunch> launches_of(const Variant& variant, const Problem& problem,
                                      const Geometry& geometry);
std::size_t scratch_bytes_of(const Variant& variant, const Problem& problem, const Geometry& geometry);

/// Pointers by slot, null where a tensor takes no part, and the sizes.
Arguments arguments_of(const Problem& p, const std::function<std::byte*(Slot)>& at, std::byte* scratch);

}  // namespace statescope::cuda
