#include "cuda/multipass/kernels.cuh"

namespace statescope::cuda::multipass {

Kernels kernels_f16_256(bool delta, int value_dim) {
  return kernels_of<__half, 256>(delta, value_dim);
}

}  // namespace statescope::cuda::multipass
