// The front end (problem.h) before any implementation of the recurrence: expanded q and k go to scratch
// memory, from which the recurrence's kernels then read.
#pragma once

#include <cstddef>
#include <vector>

#include "cuda/kernels.h"

namespace statescope::cuda {

/// Scratch memory of the front end itself; the recurrence's follows it.
std::size_t front_end_bytes(const Problem& problem);

/// The launches of the recurrence, with the front end's before them.
std::vector<KernelLaunch> behind_front_end(const Problem& problem, std::vector<KernelLaunch> recurrence);

}  // namespace statescope::cuda
