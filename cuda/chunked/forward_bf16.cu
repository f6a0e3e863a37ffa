#include "cuda/chunked/forward.cuh"

namespace statescope::cuda::chunked {

const void* forward_kernel_bf16(bool gated_delta, int log_cluster) {
  return forward_kernel<__nv_bfloat16>(gated_delta, log_cluster);
}

}  // namespace statescope::cuda::chunked
