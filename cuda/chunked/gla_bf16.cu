#include "cuda/chunked/gla_forward.cuh"

namespace statescope::cuda::chunked {

const void* gla_kernel_bf16(int log_cluster) {
  return gla_kernel<__nv_bfloat16>(log_cluster);
}

}  // namespace statescope::cuda::chunked
