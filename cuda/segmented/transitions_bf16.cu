#include "cuda/segmented/transitions.cuh"

namespace statescope::cuda::segmented {

const void* transitions_bf16(bool delta, int key_dim) {
  return transitions_of<__nv_bfloat16>(delta, key_dim);
}

}  // namespace statescope::cuda::segmented
