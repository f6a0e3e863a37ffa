#include "cuda/segmented/transitions.cuh"

namespace statescope::cuda::segmented {

const void* transitions_f16(bool delta, int key_dim) {
  return transitions_of<__half>(delta, key_dim);
}

}  // namespace statescope::cuda::segmented
