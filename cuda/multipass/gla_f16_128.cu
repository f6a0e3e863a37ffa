#include "cuda/multipass/gla_kernels.cuh"

namespace statescope::cuda::multipass {

GlaKernels gla_kernels_f16_128(int value_dim) {
  return gla_kernels_of<__half, 128>(value_dim);
}

}  // namespace statescope::cuda::multipass
