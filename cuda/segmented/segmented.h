// Forward over segments of long sequences (host side).
#pragma once

#include "cuda/kernels.h"

namespace statescope::cuda {

std::span<const Implementation> segmented_implementations();

}  // namespace statescope::cuda
