#include "cuda/multipass/gradients_hopper.cuh"

namespace statescope::cuda::multipass {

const void* gradients_hopper_f16(bool delta, int key_dim, int value_dim) {
  return gradients_hopper_kernel<__half>(delta, key_dim, value_dim);
}

}  // namespace statescope::cuda::multipass
