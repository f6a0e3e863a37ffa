#include "cuda/multipass/kernels.cuh"

namespace statescope::cuda::multipass {

Kernels kernels_bf16_256(bool delta, int value_dim) {
  return kernels_of<__nv_bfloat16, 256>(delta, value_dim);
}

}  // namespace statescope::cuda::multipass
