#include "cuda/multipass/kernels.cuh"

namespace statescope::cuda::multipass {

Kernels kernels_f16_128(bool delta, int value_dim) {
  return kernels_of<__half, 128>(delta, value_dim);
}

}  // namespace statescope::cuda::multipass
