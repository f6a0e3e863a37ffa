// A prepared problem on a Vulkan device.
#pragma once

#include <memory>

#include "runtime/vulkan/gpu.h"
#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {

/// Bytes of the buffer of a slot; 0 when it has none. A step's state is in place in ht, so its h0 has none.
std::size_t buffer_bytes(const Problem& problem, Slot slot);

/// `plan.launches` are `dispatches.list`, in order.
std::unique_ptr<Execution> make_execution(const std::shared_ptr<Gpu>& gpu, const Plan& plan,
                                          const Dispatches& dispatches, int input_sets);

}  // namespace statescope::vulkan
