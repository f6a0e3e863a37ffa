#include "runtime/vulkan/matrix_units.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "runtime/vulkan/chain.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {
namespace {

std::vector<VkCooperativeMatrixPropertiesKHR> enumerate(VkPhysicalDevice device) {
  std::uint32_t count = 0;
  vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(device, &count, nullptr);
  VkCooperativeMatrixPropertiesKHR blank{};
  blank.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  std::vector<VkCooperativeMatrixPropertiesKHR> found(count, blank);
  vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(device, &count, found.data());
  found.resize(count);
  return found;
}

/// The largest shape of these factors that has f16 sums too, of those that make tiles where there is one; all
/// zero: there is none.
MatrixShape best_shape(const std::vector<VkCooperativeMatrixPropertiesKHR>& found,
                       VkComponentTypeKHR factor) {
  const auto order = [](const MatrixShape& x) {
    return std::tuple(vulkan_chunked::makes_tiles(x), x.m * x.n * x.k, x.m, x.n);
  };
  MatrixShape best{0, 0, 0};
  for (const VkCooperativeMatrixPropertiesKHR& x : found) {
    const bool fits = x.AType == factor && x.BType == factor && x.CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                      x.ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && x.scope == VK_SCOPE_SUBGROUP_KHR &&
                      !x.saturatingAccumulation;
    // What sums are turned to on their way to memory, whatever the factors.
    const bool narrow_sums = std::ranges::any_of(found, [&](const VkCooperativeMatrixPropertiesKHR& y) {
      return y.CType == VK_COMPONENT_TYPE_FLOAT16_KHR && y.scope == VK_SCOPE_SUBGROUP_KHR &&
             y.MSize == x.MSize && y.NSize == x.NSize;
    });
    const MatrixShape shape{x.MSize, x.NSize, x.KSize};
    if (fits && narrow_sums && order(shape) > order(best)) best = shape;
  }
  return best;
}

bool asked_for_software_matrices() {
  const char* value = std::getenv("STATESCOPE_SOFTWARE_MATRICES");
  return value && std::strcmp(value, "1") == 0;
}

std::string text(const MatrixShape& x) {
  return std::to_string(x.m) + "x" + std::to_string(x.n) + "x" + std::to_string(x.k);
}

}  // namespace

void find_matrix_units(PhysicalDevice& device) {
  if (!device.extensions.contains(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) return;
  const bool has_bfloat16 = device.extensions.contains(VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME);
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  MatrixFeatures found;
  found.matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
  found.memory_model.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES;
  found.float16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
  found.bfloat16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR;
  chain(features, found.matrix);
  chain(features, found.memory_model);
  chain(features, found.float16);
  if (has_bfloat16) chain(features, found.bfloat16);
  vkGetPhysicalDeviceFeatures2(device.handle, &features);
  if (!found.matrix.cooperativeMatrix) return;

  const std::vector<VkCooperativeMatrixPropertiesKHR> enumerated = enumerate(device.handle);
  const MatrixShape f16 = best_shape(enumerated, VK_COMPONENT_TYPE_FLOAT16_KHR);
  MatrixShape bf16{0, 0, 0};
  if (found.bfloat16.shaderBFloat16Type && found.bfloat16.shaderBFloat16CooperativeMatrix)
    bf16 = best_shape(enumerated, VK_COMPONENT_TYPE_BFLOAT16_KHR);

  std::string lacks;  // what the shaders need beside the matrices themselves
  if (!STATESCOPE_COOPERATIVE_MATRIX_SHADERS)
    lacks = "left out of this build, whose shader compiler does not know them";
  else if (device.properties.apiVersion < VK_API_VERSION_1_3)
    lacks = "not used: they need Vulkan 1.3";
  else if (!found.memory_model.vulkanMemoryModel || !found.memory_model.vulkanMemoryModelDeviceScope)
    lacks = "not used: they need Vulkan's memory model";
  else if (!found.float16.shaderFloat16)
    lacks = "not used: they need 16-bit floats in shaders";
  else if (!device.info.hardware && !asked_for_software_matrices())
    lacks = "not used: software compiles them for seconds and gains nothing (STATESCOPE_SOFTWARE_MATRICES=1)";
  if (!lacks.empty()) {
    if (f16.m > 0) device.info.notes.push_back("cooperative matrices, f16 " + text(f16) + ": " + lacks);
    if (bf16.m > 0) device.info.notes.push_back("cooperative matrices, bf16 " + text(bf16) + ": " + lacks);
    return;
  }
  DeviceLimits& limits = device.info.limits;
  limits.cooperative_matrix_f16 = f16.m > 0;
  limits.cooperative_matrix_bf16 = bf16.m > 0;
  limits.matrix_f16 = f16;
  limits.matrix_bf16 = bf16;
}

void enable_matrix_units(const PhysicalDevice& device, MatrixFeatures& features, VkDeviceCreateInfo& create,
                         std::vector<const char*>& extensions) {
  const DeviceLimits& limits = device.info.limits;
  if (!limits.cooperative_matrix_f16 && !limits.cooperative_matrix_bf16) return;
  extensions.push_back(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  features.matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
  features.matrix.cooperativeMatrix = VK_TRUE;
  features.memory_model.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES;
  features.memory_model.vulkanMemoryModel = VK_TRUE;
  features.memory_model.vulkanMemoryModelDeviceScope = VK_TRUE;  // atomics of the other modules then want it
  features.float16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
  features.float16.shaderFloat16 = VK_TRUE;
  features.maintenance4.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES;
  features.maintenance4.maintenance4 = VK_TRUE;  // every device of Vulkan 1.3 has it
  chain(create, features.matrix);
  chain(create, features.memory_model);
  chain(create, features.float16);
  chain(create, features.maintenance4);
  if (!limits.cooperative_matrix_bf16) return;
  extensions.push_back(VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME);
  features.bfloat16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR;
  features.bfloat16.shaderBFloat16Type = VK_TRUE;
  features.bfloat16.shaderBFloat16CooperativeMatrix = VK_TRUE;
  chain(create, features.bfloat16);
}

}  // namespace statescope::vulkan
