#include "cuda/chunked/gla_forward.cuh"

namespace statescope::cuda::chunked {

const void* gla_kernel_f16(int log_cluster) {
  return gla_kernel<__half>(log_cluster);
}

}  // namespace statescope::cuda::chunked
