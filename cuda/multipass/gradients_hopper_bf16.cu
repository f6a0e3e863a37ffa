#include "cuda/multipass/gradients_hopper.cuh"

namespace statescope::cuda::multipass {

const void* gradients_hopper_bf16(bool delta, int key_dim, int value_dim) {
  return gradients_hopper_kernel<__nv_bfloat16>(delta, key_dim, value_dim);
}

}  // namespace statescope::cuda::multipass
