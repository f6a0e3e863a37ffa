// Whole layers on the cpu: a BLAS for the products, plain loops for the rest.
#pragma once

#include <statescope/compute.h>

namespace statescope::cpu {

std::shared_ptr<Compute> make_compute();

/// Memory of an array on the host, as create_storage() gives it.
std::unique_ptr<Storage> make_storage(std::size_t bytes);

/// The array's bytes on the host.
std::span<std::byte> bytes_of(const Array& array);

}  // namespace statescope::cpu
