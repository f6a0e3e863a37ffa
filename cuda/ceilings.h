// The rates that a device reaches when nothing stands in the way: the yardstick of `bench` and `sweep`.
#pragma once

#include <cuda_runtime_api.h>

#include <statescope/device.h>

namespace statescope::cuda {

/// Keeps the stream busy for about `nanoseconds`, so that what is queued behind it later runs without launch
/// gaps.
void enqueue_hold(cudaStream_t stream, std::uint64_t nanoseconds);

/// Copy, float32 and bf16 matrix rates of the current device; well under a second.
Ceilings measure_ceilings(int multiprocessors);

}  // namespace statescope::cuda
