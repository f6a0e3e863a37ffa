// A pipeline with its buffers and push constants: everything a dispatch needs, all matched by name.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/vulkan/memory.h"
#include "runtime/vulkan/pipeline.h"

namespace statescope::vulkan {

/// Memory of descriptor sets, which are taken from it one by one and given back all together, with the last
/// that uses it: creating a pool costs the driver more than a short kernel takes.
struct DescriptorPool {
  Gpu& gpu;
  VkDescriptorPool handle = VK_NULL_HANDLE;
  std::uint32_t sets_left, buffers_left;
  DescriptorPool(Gpu& on, std::uint32_t sets, std::uint32_t buffers);
  DescriptorPool(const DescriptorPool&) = delete;
  DescriptorPool& operator=(const DescriptorPool&) = delete;
  ~DescriptorPool();
};

/// Memory that a dispatch may read, and write too.
struct BufferUse {
  const Buffer* buffer;
  bool written;
};

struct BoundPipeline {
  const Pipeline* pipeline = nullptr;  ///< the device's own: lives as long as it does
  std::shared_ptr<DescriptorPool> pool;
  VkDescriptorSet set = VK_NULL_HANDLE;
  std::vector<std::byte> push_constants;
  std::vector<BufferUse> uses;
};

/// Throws Error(kDevice) when names on the two sides differ. `find_buffer` gives the buffer of a binding, or
/// null.
BoundPipeline bind_pipeline(const Pipeline& pipeline,
                            const std::function<const Buffer*(const std::string&)>& find_buffer,
                            const std::map<std::string, std::uint32_t>& push_constants);

void record_dispatch(VkCommandBuffer commands, const BoundPipeline& bound,
                     const std::array<std::uint32_t, 3>& workgroups);

}  // namespace statescope::vulkan
