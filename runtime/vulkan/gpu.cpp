#include "runtime/vulkan/gpu.h"

#include <statescope/error.h>

#include "runtime/vulkan/binding.h"
#include "runtime/vulkan/chain.h"
#include "runtime/vulkan/matrix_units.h"
#include "runtime/vulkan/pipeline.h"
#include "runtime/vulkan/pipeline_cache.h"

namespace statescope::vulkan {

Gpu::~Gpu() {
  if (!device) return;
  if (physical.info.can_run) vkDeviceWaitIdle(device);  // null hardware crashes in it
  pipelines.clear();
  descriptor_pool.reset();
  small_upload.reset();
  small_download.reset();
  if (pipeline_cache) {
    save_pipeline_cache(*this);
    vkDestroyPipelineCache(device, pipeline_cache, nullptr);
  }
  if (command_pool) vkDestroyCommandPool(device, command_pool, nullptr);
  vkDestroyDevice(device, nullptr);
}

std::shared_ptr<Gpu> open_gpu(const PhysicalDevice& physical) {
  auto gpu = std::make_shared<Gpu>();
  gpu->physical = physical;
  const std::string on = " on " + physical.info.description;

  const float priority = 1;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = physical.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;

  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  std::vector<const char*> extensions;
  VkPhysicalDeviceSubgroupSizeControlFeatures control{};
  control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
  control.subgroupSizeControl = physical.subgroup_size_control;
  control.computeFullSubgroups = physical.full_subgroups;
  if (physical.subgroup_size_control) {
    if (physical.properties.apiVersion < VK_API_VERSION_1_3)
      extensions.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    chain(info, control);
  }
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables{};
  executables.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR;
  executables.pipelineExecutableInfo = VK_TRUE;
  if (physical.executable_properties) {
    extensions.push_back(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
    chain(info, executables);
  }
  if (physical.calibrated_timestamps) extensions.push_back(VK_EXT_CALIBRATED_TIMESTAMPS_EXTENSION_NAME);
  // A device that offers this must have it enabled (layered drivers such as MoltenVK).
  constexpr const char* kPortabilitySubset = "VK_KHR_portability_subset";
  if (physical.extensions.contains(kPortabilitySubset)) extensions.push_back(kPortabilitySubset);
  MatrixFeatures matrices;
  enable_matrix_units(physical, matrices, info, extensions);
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  check(vkCreateDevice(physical.handle, &info, nullptr, &gpu->device), "vkCreateDevice" + on);
  vkGetDeviceQueue(gpu->device, physical.queue_family, 0, &gpu->queue);

  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = physical.queue_family;
  check(vkCreateCommandPool(gpu->device, &pool, nullptr, &gpu->command_pool), "vkCreateCommandPool" + on);
  load_pipeline_cache(*gpu);
  return gpu;
}

Commands::Commands(Gpu& on) : gpu(on) {
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = gpu.command_pool;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  check(vkAllocateCommandBuffers(gpu.device, &allocate, &handle), "vkAllocateCommandBuffers");
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  check(vkBeginCommandBuffer(handle, &begin), "vkBeginCommandBuffer");
}

Commands::~Commands() {
  vkFreeCommandBuffers(gpu.device, gpu.command_pool, 1, &handle);
}

void Commands::end() {
  check(vkEndCommandBuffer(handle), "vkEndCommandBuffer");
}

namespace {

void memory_barrier(VkCommandBuffer commands, VkPipelineStageFlags stage, VkAccessFlags write,
                    VkAccessFlags access) {
  VkMemoryBarrier barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = write;
  barrier.dstAccessMask = access;
  vkCmdPipelineBarrier(commands, stage, stage, 0, 1, &barrier, 0, nullptr, 0, nullptr);
}

void full_barrier(VkCommandBuffer commands) {
  memory_barrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT,
                 VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
}

}  // namespace

void dispatch_barrier(VkCommandBuffer commands) {
  memory_barrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                 VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

void submit(Gpu& gpu, const std::vector<VkCommandBuffer>& commands) {
  std::vector<VkSubmitInfo> submits(commands.size());
  for (std::size_t i = 0; i < commands.size(); ++i) {
    submits[i].sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
    submits[i].commandBufferCount = 1;
    submits[i].pCommandBuffers = &commands[i];
  }
  check(vkQueueSubmit(gpu.queue, static_cast<std::uint32_t>(submits.size()), submits.data(), VK_NULL_HANDLE),
        "vkQueueSubmit on " + gpu.physical.info.description);
  gpu.busy = true;
}

void wait_for_submitted(Gpu& gpu) {
  if (!gpu.busy) return;
  check(vkQueueWaitIdle(gpu.queue), "vkQueueWaitIdle on " + gpu.physical.info.description);
  gpu.busy = false;
}

void submit_and_wait(Gpu& gpu, const std::vector<VkCommandBuffer>& commands) {
  submit(gpu, commands);
  wait_for_submitted(gpu);
}

void run_once(Gpu& gpu, const std::function<void(VkCommandBuffer)>& record) {
  Commands commands(gpu);
  full_barrier(commands.handle);
  record(commands.handle);
  full_barrier(commands.handle);
  commands.end();
  submit_and_wait(gpu, {commands.handle});
}

}  // namespace statescope::vulkan
