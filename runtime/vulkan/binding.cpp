#include "runtime/vulkan/binding.h"

#include <algorithm>
#include <cstring>

#include <statescope/error.h>

namespace statescope::vulkan {

DescriptorPool::DescriptorPool(Gpu& on, std::uint32_t sets, std::uint32_t buffers)
    : gpu(on), sets_left(sets), buffers_left(buffers) {
  const VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, buffers};
  VkDescriptorPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  info.maxSets = sets;
  info.poolSizeCount = 1;
  info.pPoolSizes = &size;
  check(vkCreateDescriptorPool(gpu.device, &info, nullptr, &handle), "vkCreateDescriptorPool");
}

DescriptorPool::~DescriptorPool() {
  vkDestroyDescriptorPool(gpu.device, handle, nullptr);
}

namespace {

constexpr std::uint32_t kSetsOfAPool = 256, kBuffersOfAPool = 8 * kSetsOfAPool;

/// One that has room for a set of so many buffers: the device's open one, or a new one in its place.
const std::shared_ptr<DescriptorPool>& pool_with_room(Gpu& gpu, std::uint32_t buffers) {
  std::shared_ptr<DescriptorPool>& pool = gpu.descriptor_pool;
  if (!pool || pool->sets_left == 0 || pool->buffers_left < buffers)
    pool = std::make_shared<DescriptorPool>(gpu, kSetsOfAPool, std::max(kBuffersOfAPool, buffers));
  return pool;
}

}  // namespace

BoundPipeline bind_pipeline(const Pipeline& pipeline,
                            const std::function<const Buffer*(const std::string&)>& find_buffer,
                            const std::map<std::string, std::uint32_t>& push_constants) {
  const Gpu& gpu = pipeline.gpu;
  const Reflection& reflection = pipeline.reflection;
  BoundPipeline bound;
  bound.pipeline = &pipeline;

  const auto buffers = static_cast<std::uint32_t>(reflection.bindings.size());
  bound.pool = pool_with_room(pipeline.gpu, buffers);
  VkDescriptorSetAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  allocate.descriptorPool = bound.pool->handle;
  allocate.descriptorSetCount = 1;
  allocate.pSetLayouts = &pipeline.set_layout;
  check(vkAllocateDescriptorSets(gpu.device, &allocate, &bound.set), "vkAllocateDescriptorSets");
  bound.pool->sets_left -= 1;
  bound.pool->buffers_left -= buffers;

  std::vector<VkDescriptorBufferInfo> infos;
  for (const Binding& binding : reflection.bindings) {
    const Buffer* buffer = find_buffer(binding.name);
    if (!buffer) throw Error(ErrorKind::kDevice, "no buffer for the shader's binding " + binding.name);
    infos.push_back({buffer->handle, 0, VK_WHOLE_SIZE});
    bound.uses.push_back({buffer, binding.written});
  }
  std::vector<VkWriteDescriptorSet> writes(infos.size());
  for (std::size_t i = 0; i < infos.size(); ++i) {
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstSet = bound.set;
    writes[i].dstBinding = reflection.bindings[i].binding;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[i].pBufferInfo = &infos[i];
  }
  vkUpdateDescriptorSets(gpu.device, static_cast<std::uint32_t>(writes.size()), writes.data(), 0, nullptr);

  if (push_constants.size() != reflection.push_constants.size())
    throw Error(ErrorKind::kDevice, "shader and host differ in their push constants");
  bound.push_constants.resize(reflection.push_constant_bytes);
  for (const auto& [member, value] : push_constants) {
    const auto at = reflection.push_constants.find(member);
    if (at == reflection.push_constants.end())
      throw Error(ErrorKind::kDevice, "the shader has no push constant " + member);
    std::memcpy(bound.push_constants.data() + at->second, &value, sizeof value);
  }
  return bound;
}

void record_dispatch(VkCommandBuffer commands, const BoundPipeline& bound,
                     const std::array<std::uint32_t, 3>& workgroups) {
  const Pipeline& pipeline = *bound.pipeline;
  vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
  vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.layout, 0, 1, &bound.set, 0,
                          nullptr);
  if (!bound.push_constants.empty())
    vkCmdPushConstants(commands, pipeline.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                       static_cast<std::uint32_t>(bound.push_constants.size()), bound.push_constants.data());
  vkCmdDispatch(commands, workgroups[0], workgroups[1], workgroups[2]);
}

}  // namespace statescope::vulkan
