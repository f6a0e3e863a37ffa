// Vulkan kernels: GLSL compute shaders of shaders/.
#include <statescope/variants.h>

namespace statescope {

std::span<const Variant> vulkan_variants() {
  return {};
}

}  // namespace statescope
