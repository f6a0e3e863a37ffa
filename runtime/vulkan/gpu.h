// An opened device: the logical device, its one compute queue and what lives as long as it does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/vulkan/physical_device.h"

namespace statescope::vulkan {

struct Pipeline;        // pipeline.h
struct DescriptorPool;  // binding.h
struct Buffer;          // memory.h

/// Not for use by two threads at once.
struct Gpu {
  PhysicalDevice physical;
  VkDevice device = VK_NULL_HANDLE;
  VkQueue queue = VK_NULL_HANDLE;
  VkCommandPool command_pool = VK_NULL_HANDLE;
  bool busy = false;  ///< what was submitted has not been waited for
  VkPipelineCache pipeline_cache = VK_NULL_HANDLE;
  std::size_t stored_cache_bytes = 0;  ///< size of the pipeline cache as it is on disk
  std::map<std::string, std::unique_ptr<Pipeline>>
      pipelines;                                    ///< every one created so far, by module and constants
  std::shared_ptr<DescriptorPool> descriptor_pool;  ///< the one that new sets come from; null at first
  std::shared_ptr<Buffer> small_upload, small_download;  ///< staging buffers of few bytes; null at first

  Gpu() = default;
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  ~Gpu();
};

/// Throws Error(kDevice) when the driver fails.
std::shared_ptr<Gpu> open_gpu(const PhysicalDevice& physical);

/// A command buffer, begun; freed with the object.
struct Commands {
  Gpu& gpu;
  VkCommandBuffer handle = VK_NULL_HANDLE;
  explicit Commands(Gpu& on);
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;
  ~Commands();
  void end();
};

/// What the dispatches before it wrote, those behind it see. (A barrier of all stages takes an H200 5 us
/// more.)
void dispatch_barrier(VkCommandBuffer commands);

/// Submits each command buffer on its own, so that no submission is longer than one of them, behind what was
/// submitted before; and waits for all of it. Both throw Error(kDevice) when the device is lost.
void submit(Gpu& gpu, const std::vector<VkCommandBuffer>& commands);
void wait_for_submitted(Gpu& gpu);
void submit_and_wait(Gpu& gpu, const std::vector<VkCommandBuffer>& commands);

/// Records with `record`, submits and waits: behind all that came before it, and before all that follows.
void run_once(Gpu& gpu, const std::function<void(VkCommandBuffer)>& record);

}  // namespace statescope::vulkan
