// CUDA kernels: the sources of cuda/.
#include <statescope/variants.h>

namespace statescope {

std::span<const Variant> cuda_variants() {
  return {};
}

}  // namespace statescope
