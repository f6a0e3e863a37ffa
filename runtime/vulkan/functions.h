// Vulkan's functions, found at run time in the loader: a program must start on a machine without one.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <cstdint>
#include <string>

#include "runtime/vulkan/newer_vulkan.h"

// Of the loader itself; core 1.2 functions, through the loader for every device; extensions, null where
// absent.
// clang-format off
#define STATESCOPE_VULKAN_CORE(X)                                                                \
  X(CreateInstance) X(EnumerateInstanceVersion) X(EnumerateInstanceLayerProperties)              \
  X(EnumerateInstanceExtensionProperties) X(DestroyInstance) X(EnumeratePhysicalDevices)         \
  X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2)   \
  X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties)                 \
  X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(DestroyDevice) X(GetDeviceQueue)       \
  X(DeviceWaitIdle) X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements)              \
  X(AllocateMemory) X(FreeMemory) X(BindBufferMemory) X(MapMemory) X(CreateShaderModule)         \
  X(DestroyShaderModule) X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout)              \
  X(CreatePipelineLayout) X(DestroyPipelineLayout) X(CreateComputePipelines) X(DestroyPipeline)  \
  X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData)                         \
  X(CreateDescriptorPool) X(DestroyDescriptorPool) X(AllocateDescriptorSets)                     \
  X(UpdateDescriptorSets) X(CreateCommandPool) X(DestroyCommandPool) X(AllocateCommandBuffers)   \
  X(FreeCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) X(CmdBindPipeline)             \
  X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch) X(CmdPipelineBarrier)              \
  X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdResetQueryPool) X(CmdWriteTimestamp)                    \
  X(CreateQueryPool) X(DestroyQueryPool) X(GetQueryPoolResults) X(QueueSubmit) X(QueueWaitIdle)
// clang-format on
#define STATESCOPE_VULKAN_EXTENSIONS(X)              \
  X(CreateDebugUtilsMessengerEXT)                    \
  X(DestroyDebugUtilsMessengerEXT)                   \
  X(GetPipelineExecutablePropertiesKHR)              \
  X(GetPipelineExecutableStatisticsKHR)              \
  X(GetPipelineExecutableInternalRepresentationsKHR) \
  X(GetPhysicalDeviceCalibrateableTimeDomainsEXT)    \
  X(GetCalibratedTimestampsEXT)                      \
  X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)

namespace statescope::vulkan {

extern PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define X(name) extern PFN_vk##name vk##name;
STATESCOPE_VULKAN_CORE(X)
STATESCOPE_VULKAN_EXTENSIONS(X)
#undef X

/// Opens the loader; later calls do nothing. Returns why not, or nothing.
std::string load_loader();

/// Finds the extensions' functions; those that the instance has not enabled stay null.
void load_extensions(VkInstance instance);

/// "VK_ERROR_DEVICE_LOST"
std::string name(VkResult result);

/// Throws Error(kDevice) "<what>: VK_ERROR_..." unless it succeeded.
void check(VkResult result, const std::string& what);

}  // namespace statescope::vulkan
