// Whole layers on a CUDA device: kernels of compute_kernels.cu, products by cuBLASLt, recurrences as
// launches.cpp launches them.
#pragma once

#include <statescope/compute.h>

namespace statescope::cuda {

std::shared_ptr<Compute> make_compute(int device_index);

}  // namespace statescope::cuda
