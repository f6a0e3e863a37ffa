// Matrix products by cuBLASLt, found at run time: programs start where it is not there.
#pragma once

#include <memory>

#include <cuda_runtime_api.h>

#include <statescope/compute.h>

namespace statescope::cuda {

/// A matrix by its first element.
struct DeviceMatrix {
  void* data;
  DType type;
  std::int64_t row_stride, batch_stride;
};

class MatrixProducts {
 public:
  /// Throws Error(kRefused) when the library is not found, with its name.
  MatrixProducts();
  ~MatrixProducts();
  void multiply(const Product& product, const DeviceMatrix& a, const DeviceMatrix& b, const DeviceMatrix& c,
                cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace statescope::cuda
