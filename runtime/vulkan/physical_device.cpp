#include "runtime/vulkan/physical_device.h"

#include <algorithm>
#include <cstring>

#include "runtime/vulkan/chain.h"
#include "runtime/vulkan/matrix_units.h"

namespace statescope::vulkan {
namespace {

constexpr std::uint32_t kNoQueue = ~0u;
constexpr std::array<std::uint8_t, VK_UUID_SIZE> kNoUuid{};

std::set<std::string> extensions_of(VkPhysicalDevice device) {
  std::uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> found(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, found.data());
  std::set<std::string> names;
  for (const VkExtensionProperties& extension : found) names.insert(extension.extensionName);
  return names;
}

/// A queue family for compute alone, where there is one: dispatches then do not hold up a desktop's graphics.
std::uint32_t compute_queue_family(VkPhysicalDevice device, std::uint32_t& timestamp_bits) {
  std::uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  std::uint32_t best = kNoQueue;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    const bool alone = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
    if (best == kNoQueue || (alone && families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT)) best = i;
  }
  if (best != kNoQueue) timestamp_bits = families[best].timestampValidBits;
  return best;
}

bool has_monotonic_clock(VkPhysicalDevice device) {
  std::uint32_t count = 0;
  vkGetPhysicalDeviceCalibrateableTimeDomainsEXT(device, &count, nullptr);
  std::vector<VkTimeDomainEXT> domains(count);
  vkGetPhysicalDeviceCalibrateableTimeDomainsEXT(device, &count, domains.data());
  return std::count(domains.begin(), domains.end(), VK_TIME_DOMAIN_DEVICE_EXT) > 0 &&
         std::count(domains.begin(), domains.end(), VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT) > 0;
}

PhysicalDevice describe(VkPhysicalDevice handle) {
  PhysicalDevice device;
  device.handle = handle;
  vkGetPhysicalDeviceProperties(handle, &device.properties);
  device.queue_family = compute_queue_family(handle, device.timestamp_bits);
  if (device.properties.apiVersion < VK_API_VERSION_1_2 || device.queue_family == kNoQueue) return device;
  device.extensions = extensions_of(handle);
  const auto has = [&](const char* name) { return device.extensions.contains(name); };
  const bool size_control =
      device.properties.apiVersion >= VK_API_VERSION_1_3 || has(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);

  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  VkPhysicalDeviceVulkan11Properties core11{};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  chain(properties, core11);
  VkPhysicalDeviceDriverProperties driver{};
  driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
  chain(properties, driver);
  VkPhysicalDeviceSubgroupSizeControlProperties sizes{};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
  if (size_control) chain(properties, sizes);
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia{};
  nvidia.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV;
  if (has(VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) chain(properties, nvidia);
  VkPhysicalDeviceShaderCorePropertiesAMD amd{};
  amd.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD;
  if (has(VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME)) chain(properties, amd);
  vkGetPhysicalDeviceProperties2(handle, &properties);

  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  VkPhysicalDevice16BitStorageFeatures storage{};
  storage.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES;
  chain(features, storage);
  VkPhysicalDeviceSubgroupSizeControlFeatures control{};
  control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
  if (size_control) chain(features, control);
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables{};
  executables.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR;
  if (has(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) chain(features, executables);
  vkGetPhysicalDeviceFeatures2(handle, &features);

  vkGetPhysicalDeviceMemoryProperties(handle, &device.memory);
  device.driver = driver.driverID;
  device.driver_version = device.properties.driverVersion;
  std::copy_n(core11.driverUUID, VK_UUID_SIZE, device.driver_uuid.begin());
  device.subgroup_size_control =
      control.subgroupSizeControl && (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
  device.full_subgroups = control.computeFullSubgroups;
  device.executable_properties = executables.pipelineExecutableInfo;
  device.calibrated_timestamps = device.timestamp_bits > 0 &&
                                 has(VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME) &&
                                 has_monotonic_clock(handle);

  DeviceInfo& info = device.info;
  info.api = Api::kVulkan;
  info.description = device.properties.deviceName;
  info.driver = std::string(driver.driverName) + " " + driver.driverInfo;
  info.hardware = device.properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU;
  std::copy_n(core11.deviceUUID, VK_UUID_SIZE, info.uuid.begin());

  const VkPhysicalDeviceLimits& from = device.properties.limits;
  DeviceLimits& limits = info.limits;
  limits.api = Api::kVulkan;
  limits.shared_memory_per_workgroup = from.maxComputeSharedMemorySize;
  limits.max_workgroup_size = std::min(from.maxComputeWorkGroupInvocations, from.maxComputeWorkGroupSize[0]);
  limits.subgroup_min = device.subgroup_size_control ? sizes.minSubgroupSize : core11.subgroupSize;
  limits.subgroup_max = device.subgroup_size_control ? sizes.maxSubgroupSize : core11.subgroupSize;
  // Where a subgroup size is asked for, the number of subgroups bounds the workgroup too.
  if (device.subgroup_size_control)
    limits.max_workgroup_size =
        std::min(limits.max_workgroup_size, limits.subgroup_min * sizes.maxComputeWorkgroupSubgroups);
  if (nvidia.shaderSMCount > 0) {
    limits.multiprocessors = nvidia.shaderSMCount;
    limits.max_threads_per_multiprocessor = nvidia.shaderWarpsPerSM * 32;
  } else if (amd.shaderEngineCount > 0) {
    limits.multiprocessors =
        amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray;
    limits.max_threads_per_multiprocessor =
        amd.simdPerComputeUnit * amd.wavefrontsPerSimd * amd.wavefrontSize;
  }
  const bool compute = core11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
  const auto subgroup = [&](VkSubgroupFeatureFlags bit) {
    return compute && (core11.subgroupSupportedOperations & bit);
  };
  limits.storage_16bit = storage.storageBuffer16BitAccess;
  limits.subgroup_shuffle = subgroup(VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
  limits.subgroup_arithmetic = subgroup(VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
  limits.subgroup_clustered = subgroup(VK_SUBGROUP_FEATURE_CLUSTERED_BIT);

  find_matrix_units(device);
  if (!limits.storage_16bit)
    info.notes.push_back("no 16-bit storage: bf16 and f16 elements are read as packed 32-bit words");
  if (!limits.subgroup_shuffle)
    info.notes.push_back("no subgroup shuffles: a column of the state stays in one invocation");
  if (!device.subgroup_size_control)
    info.notes.push_back("no subgroup size control: subgroups of " + std::to_string(core11.subgroupSize));
  if (device.timestamp_bits == 0)
    info.notes.push_back("no device timestamps: times are the host's, submission included");
  return device;
}

/// Position in the list: hardware, llvmpipe, other software.
int order_of(const PhysicalDevice& device) {
  if (device.info.hardware) return 0;
  return device.driver == VK_DRIVER_ID_MESA_LLVMPIPE ? 1 : 2;
}

/// Which driver of one GPU to keep: the vendor's own on NVIDIA, Mesa's elsewhere, anything before a layered
/// one.
int driver_rank(const PhysicalDevice& device) {
  switch (device.driver) {
    case VK_DRIVER_ID_NVIDIA_PROPRIETARY:
    case VK_DRIVER_ID_MESA_RADV:
    case VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA:
      return 0;
    case VK_DRIVER_ID_MOLTENVK:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

std::uint64_t device_memory_bytes(const PhysicalDevice& physical) {
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < physical.memory.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = physical.memory.memoryHeaps[i];
    if (heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) bytes = std::max<std::uint64_t>(bytes, heap.size);
  }
  return bytes;
}

std::vector<PhysicalDevice> find_physical_devices(const std::shared_ptr<Instance>& instance,
                                                  std::string& why) {
  std::uint32_t count = 0;
  VkResult result = vkEnumeratePhysicalDevices(instance->handle, &count, nullptr);
  std::vector<VkPhysicalDevice> handles(count);
  if (result == VK_SUCCESS) result = vkEnumeratePhysicalDevices(instance->handle, &count, handles.data());
  if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
    why = "no Vulkan device: vkEnumeratePhysicalDevices: " + name(result);
    return {};
  }
  handles.resize(count);

  std::vector<PhysicalDevice> devices;
  for (VkPhysicalDevice handle : handles) {
    PhysicalDevice device = describe(handle);
    device.instance = instance;
    const std::string called = device.properties.deviceName;
    if (device.properties.apiVersion < VK_API_VERSION_1_2) {
      why += (why.empty() ? "" : "; ") + called + ": Vulkan older than 1.2";
    } else if (device.queue_family == kNoQueue) {
      why += (why.empty() ? "" : "; ") + called + ": no compute queue";
    } else {
      devices.push_back(std::move(device));
    }
  }
  std::stable_sort(devices.begin(), devices.end(), [](const PhysicalDevice& a, const PhysicalDevice& b) {
    return std::pair(order_of(a), driver_rank(a)) < std::pair(order_of(b), driver_rank(b));
  });
  for (std::size_t i = 0; i < devices.size(); ++i) {
    // Two like GPUs under one driver stay two, even where the driver gives both the same UUID.
    const auto same = [&](const PhysicalDevice& x) {
      return x.info.uuid == devices[i].info.uuid && x.driver != devices[i].driver && x.info.uuid != kNoUuid;
    };
    devices.erase(std::remove_if(devices.begin() + static_cast<std::ptrdiff_t>(i) + 1, devices.end(), same),
                  devices.end());
  }
  if (devices.empty() && why.empty()) why = "no Vulkan device: the drivers found have none";
  return devices;
}

}  // namespace statescope::vulkan
