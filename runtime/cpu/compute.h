// Whole layers on the cpu: a BLAS for the products, plain loops for the rest.
#pragma once

#include <statescope/compute.h>

namespace statescope::cpu {

std::shared_ptr<Compute> make_compute();

/// The array's bytes on the host.
std::span<std::byte> bytes_of(const Array& array);

}  // namespace statescope::cpu
