#include "cuda/multipass/kernels.cuh"

namespace statescope::cuda::multipass {

Kernels kernels_bf16_64(bool delta, int value_dim) {
  return kernels_of<__nv_bfloat16, 64>(delta, value_dim);
}

}  // namespace statescope::cuda::multipass
