#include "cuda/multipass/kernels.cuh"

namespace statescope::cuda::multipass {

Kernels kernels_f16_64(bool delta, int value_dim) {
  return kernels_of<__half, 64>(delta, value_dim);
}

}  // namespace statescope::cuda::multipass
