// Matrix products of few rows (vector_products.cu), which need no library.
#pragma once

#include "cuda/matrix_products.h"

namespace statescope::cuda {

inline constexpr int kMostVectors = 4;

/// Whether multiply_vectors() takes it: at most kMostVectors rows times a transposed matrix, whose rows begin
/// at multiples of 16 bytes and are as long.
bool is_vector_product(const Product& product, const DeviceMatrix& a, const DeviceMatrix& b);
void multiply_vectors(const Product& product, const DeviceMatrix& a, const DeviceMatrix& b,
                      const DeviceMatrix& c, cudaStream_t stream);

}  // namespace statescope::cuda
