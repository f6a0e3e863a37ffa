#include "cuda/multipass/gla_kernels.cuh"

namespace statescope::cuda::multipass {

GlaKernels gla_kernels_bf16_64(int value_dim) {
  return gla_kernels_of<__nv_bfloat16, 64>(value_dim);
}

}  // namespace statescope::cuda::multipass
