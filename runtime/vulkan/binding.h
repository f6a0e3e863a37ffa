// A pipeline with its buffers and push constants: everything a dispatch needs, all matched by name.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/vulkan/memory.h"
#include "runtime/vulkan/pipeline.h"

namespace statescope::vulkan {

struct BoundPipeline {
  const Pipeline* pipeline = nullptr;  ///< the device's own: lives as long as it does
  VkDescriptorPool pool = VK_NULL_HANDLE;
  VkDescriptorSet set = VK_NULL_HANDLE;
  std::vector<std::byte> push_constants;
  BoundPipeline() = default;
  BoundPipeline(BoundPipeline&& from) noexcept;
  BoundPipeline& operator=(BoundPipeline&& from) noexcept;
  ~BoundPipeline();
};

/// Throws Error(kDevice) when names on the two sides differ. `find_buffer` gives the buffer of a binding, or
/// null.
BoundPipeline bind_pipeline(const Pipeline& pipeline,
                            const std::function<const Buffer*(const std::string&)>& find_buffer,
                            const std::map<std::string, std::uint32_t>& push_constants);

void record_dispatch(VkCommandBuffer commands, const BoundPipeline& bound,
                     const std::array<std::uint32_t, 3>& workgroups);

}  // namespace statescope::vulkan
