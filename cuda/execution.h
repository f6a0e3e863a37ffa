// Planning and running on one CUDA device; the current device is set by the caller, or by the execution
// itself.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include <cuda_runtime_api.h>

#include <statescope/device.h>

namespace statescope::cuda {

/// Picks the variant and asks the compiled kernels for registers, shared memory and occupancy.
Plan make_plan(const Problem& problem, const DeviceInfo& device);
/// The same with a variant that need not be the preferred one, but must take the problem on this device.
Plan make_plan(const Problem& problem, const DeviceInfo& device, const Choice& choice);

/// What the compiler made of each launch of a plan.
std::vector<CompiledKernel> compile(const Plan& plan);

/// `trace`: time() records begins with CUPTI, which load_activity() has found, in place of events.
std::unique_ptr<Execution> make_execution(const Plan& plan, int device_index, int input_sets, bool trace);

/// Scratch memory of a plan, and its launches on tensors that lie where `at` says (null: takes no part)
/// without waiting. What in_place_of() names is at one address. The scratch memory's first
/// plain_scratch_bytes() may be anything, the others are zero.
std::size_t scratch_bytes(const Plan& plan);
std::size_t plain_scratch_bytes(const Plan& plan);
void enqueue(const Plan& plan, const std::function<std::byte*(Slot)>& at, std::byte* scratch,
             cudaStream_t stream);

}  // namespace statescope::cuda
