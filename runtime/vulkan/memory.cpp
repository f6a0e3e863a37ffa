#include "runtime/vulkan/memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <statescope/error.h>

namespace statescope::vulkan {
namespace {

// Large enough to hide a submission's cost, small enough to be had anywhere.
constexpr VkDeviceSize kStagingBytes = VkDeviceSize(16) << 20;
// What a token's step uploads and downloads: to allocate a buffer for it takes longer than the copy.
constexpr VkDeviceSize kKeptStagingBytes = 4096;

constexpr std::uint32_t kNoType = ~0u;

std::uint32_t memory_type(const Gpu& gpu, std::uint32_t allowed, VkMemoryPropertyFlags wanted) {
  const VkPhysicalDeviceMemoryProperties& memory = gpu.physical.memory;
  for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    if ((allowed >> i & 1u) && (memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
  }
  return kNoType;
}

std::uint32_t memory_type(const Gpu& gpu, std::uint32_t allowed, Place place) {
  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  std::uint32_t type = kNoType;
  if (place == Place::kDevice) type = memory_type(gpu, allowed, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  if (place == Place::kDownload) type = memory_type(gpu, allowed, kHost | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  // The specification promises host visible and coherent memory for every buffer.
  if (type == kNoType) type = memory_type(gpu, allowed, place == Place::kDevice ? 0 : kHost);
  if (type == kNoType)
    throw Error(ErrorKind::kDevice, "no fitting memory on " + gpu.physical.info.description);
  return type;
}

void copy(Gpu& gpu, VkBuffer from, VkDeviceSize from_offset, VkBuffer to, VkDeviceSize to_offset,
          VkDeviceSize size) {
  run_once(gpu, [&](VkCommandBuffer commands) {
    const VkBufferCopy region{from_offset, to_offset, size};
    vkCmdCopyBuffer(commands, from, to, 1, &region);
    VkMemoryBarrier to_host{};
    to_host.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    to_host.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    to_host.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host,
                         0, nullptr, 0, nullptr);
  });
}

}  // namespace

Buffer::Buffer(Buffer&& from) noexcept {
  *this = std::move(from);
}

Buffer& Buffer::operator=(Buffer&& from) noexcept {
  std::swap(gpu, from.gpu);
  std::swap(handle, from.handle);
  std::swap(memory, from.memory);
  std::swap(size, from.size);
  std::swap(mapped, from.mapped);
  return *this;
}

Buffer::~Buffer() {
  if (!gpu) return;
  if (handle) vkDestroyBuffer(gpu->device, handle, nullptr);
  if (memory) vkFreeMemory(gpu->device, memory, nullptr);  // unmaps
}

Buffer create_buffer(const std::shared_ptr<Gpu>& gpu, VkDeviceSize size, Place place) {
  const std::string what = std::to_string(size) + " B on " + gpu->physical.info.description;
  Buffer buffer;
  buffer.gpu = gpu;
  buffer.size = size;
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size;
  info.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  if (place == Place::kDevice) info.usage |= VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
  check(vkCreateBuffer(gpu->device, &info, nullptr, &buffer.handle), "buffer of " + what);

  VkMemoryRequirements needs{};
  vkGetBufferMemoryRequirements(gpu->device, buffer.handle, &needs);
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = memory_type(*gpu, needs.memoryTypeBits, place);
  check(vkAllocateMemory(gpu->device, &allocate, nullptr, &buffer.memory), "memory for a buffer of " + what);
  check(vkBindBufferMemory(gpu->device, buffer.handle, buffer.memory, 0), "vkBindBufferMemory");
  if (place != Place::kDevice)
    check(vkMapMemory(gpu->device, buffer.memory, 0, VK_WHOLE_SIZE, 0, &buffer.mapped), "vkMapMemory");
  return buffer;
}

namespace {

std::shared_ptr<const Buffer> staging_buffer(const std::shared_ptr<Gpu>& gpu, std::size_t bytes,
                                             Place place) {
  if (bytes > kKeptStagingBytes)
    return std::make_shared<Buffer>(create_buffer(gpu, std::min<VkDeviceSize>(kStagingBytes, bytes), place));
  std::shared_ptr<Buffer>& kept = place == Place::kUpload ? gpu->small_upload : gpu->small_download;
  if (!kept) {  // the device owns it, so it must not own the device
    const std::shared_ptr<Gpu> not_owned(std::shared_ptr<Gpu>(), gpu.get());
    kept = std::make_shared<Buffer>(create_buffer(not_owned, kKeptStagingBytes, place));
  }
  return kept;
}

}  // namespace

void upload(const Buffer& to, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto staging = staging_buffer(to.gpu, bytes.size(), Place::kUpload);
  for (std::size_t at = 0; at < bytes.size(); at += staging->size) {
    const std::size_t size = std::min<std::size_t>(staging->size, bytes.size() - at);
    std::memcpy(staging->mapped, bytes.data() + at, size);
    copy(*to.gpu, staging->handle, 0, to.handle, at, size);
  }
}

void download(const Buffer& from, std::span<std::byte> bytes) {
  if (bytes.empty()) return;
  const auto staging = staging_buffer(from.gpu, bytes.size(), Place::kDownload);
  for (std::size_t at = 0; at < bytes.size(); at += staging->size) {
    const std::size_t size = std::min<std::size_t>(staging->size, bytes.size() - at);
    copy(*from.gpu, from.handle, at, staging->handle, 0, size);
    std::memcpy(bytes.data() + at, staging->mapped, size);
  }
}

}  // namespace statescope::vulkan
