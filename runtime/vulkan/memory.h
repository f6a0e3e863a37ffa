// Buffers, each with its own allocation (a prepared problem has a dozen), and copies through a staging
// buffer.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/vulkan/gpu.h"

namespace statescope::vulkan {

enum class Place {
  kDevice,    ///< device local
  kUpload,    ///< host visible, written by the host
  kDownload,  ///< host visible and cached where there is such memory, read by the host
};

/// Freed with the object; movable.
struct Buffer {
  std::shared_ptr<Gpu> gpu;
  VkBuffer handle = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkDeviceSize size = 0;
  void* mapped = nullptr;  ///< host address unless kDevice; coherent
  Buffer() = default;
  Buffer(Buffer&& from) noexcept;
  Buffer& operator=(Buffer&& from) noexcept;
  ~Buffer();
};

/// Throws Error(kDevice) with the size when memory runs out.
Buffer create_buffer(const std::shared_ptr<Gpu>& gpu, VkDeviceSize size, Place place);

void upload(const Buffer& to, std::span<const std::byte> bytes);
void download(const Buffer& from, std::span<std::byte> bytes);

}  // namespace statescope::vulkan
