// Cooperative matrices: which of them a device has that our kernels use, and how to turn them on.
#pragma once

#include "runtime/vulkan/physical_device.h"

namespace statescope::vulkan {

/// Fills the limits' matrix shapes from what the driver enumerates: 16-bit factors with float32 sums, at the
/// scope of a subgroup; of several shapes the largest that makes the kernels' tiles. Where this build or the
/// device lacks the rest of what the shaders need, the device gets a note that says which matrices it could
/// have had; so does a software device, unless STATESCOPE_SOFTWARE_MATRICES=1 asks for them.
void find_matrix_units(PhysicalDevice& device);

/// The extensions and features of the matrices that a device was found to have, chained into `create`; lives
/// until the device is created.
struct MatrixFeatures {
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix{};
  VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16{};
  VkPhysicalDeviceVulkanMemoryModelFeatures memory_model{};
  VkPhysicalDeviceShaderFloat16Int8Features float16{};
  VkPhysicalDeviceMaintenance4Features
      maintenance4{};  ///< their modules name the workgroup's size by constants
};
void enable_matrix_units(const PhysicalDevice& device, MatrixFeatures& features, VkDeviceCreateInfo& create,
                         std::vector<const char*>& extensions);

}  // namespace statescope::vulkan
