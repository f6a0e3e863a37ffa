#include "cuda/multipass/kernels_hopper.cuh"

namespace statescope::cuda::multipass {

SerialKernels serial_kernels_bf16(bool delta, int key_dim) {
  return serial_kernels<__nv_bfloat16>(delta, key_dim);
}

}  // namespace statescope::cuda::multipass
