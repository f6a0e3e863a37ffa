#include "cuda/multipass/kernels_hopper.cuh"

namespace statescope::cuda::multipass {

SerialKernels serial_kernels_f16(bool delta, int key_dim) {
  return serial_kernels<__half>(delta, key_dim);
}

}  // namespace statescope::cuda::multipass
