// Drawing into an image and reading it back: screenshots, with or without a window.
#include <algorithm>
#include <cstring>
#include <filesystem>

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include <statescope/error.h>
#include <statescope/safetensors.h>

#include "app/gui/renderer.h"

namespace statescope::gui {
namespace {

/// What one picture needs on the device; freed in reverse.
struct Target {
  VkDevice device;
  VkImage image = VK_NULL_HANDLE;
  VkDeviceMemory image_memory = VK_NULL_HANDLE;
  VkImageView view = VK_NULL_HANDLE;
  VkFramebuffer framebuffer = VK_NULL_HANDLE;
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceMemory buffer_memory = VK_NULL_HANDLE;

  explicit Target(VkDevice owner) : device(owner) {}
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() {
    vkDestroyBuffer(device, buffer, nullptr);
    vkFreeMemory(device, buffer_memory, nullptr);
    vkDestroyFramebuffer(device, framebuffer, nullptr);
    vkDestroyImageView(device, view, nullptr);
    vkDestroyImage(device, image, nullptr);
    vkFreeMemory(device, image_memory, nullptr);
  }
};

}  // namespace

Picture Renderer::draw_picture(ImDrawData* data, int width, int height, ImU32 background) {
  Target target(device);
  const VkExtent2D extent{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};

  VkImageCreateInfo image{VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO};
  image.imageType = VK_IMAGE_TYPE_2D;
  image.format = format;
  image.extent = {extent.width, extent.height, 1};
  image.mipLevels = image.arrayLayers = 1;
  image.samples = VK_SAMPLE_COUNT_1_BIT;
  image.usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT;
  check(vkCreateImage(device, &image, nullptr, &target.image), "picture");
  VkMemoryRequirements needs;
  vkGetImageMemoryRequirements(device, target.image, &needs);
  VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = memory_type(needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  check(vkAllocateMemory(device, &allocate, nullptr, &target.image_memory), "picture memory");
  check(vkBindImageMemory(device, target.image, target.image_memory, 0), "picture memory");

  VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
  view.image = target.image;
  view.viewType = VK_IMAGE_VIEW_TYPE_2D;
  view.format = format;
  view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
  check(vkCreateImageView(device, &view, nullptr, &target.view), "picture view");
  VkFramebufferCreateInfo framebuffer{VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO};
  framebuffer.renderPass = picture_pass;
  framebuffer.attachmentCount = 1;
  framebuffer.pAttachments = &target.view;
  framebuffer.width = extent.width;
  framebuffer.height = extent.height;
  framebuffer.layers = 1;
  check(vkCreateFramebuffer(device, &framebuffer, nullptr, &target.framebuffer), "picture framebuffer");

  VkBufferCreateInfo buffer{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  buffer.size = VkDeviceSize{4} * extent.width * extent.height;
  buffer.usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  check(vkCreateBuffer(device, &buffer, nullptr, &target.buffer), "picture buffer");
  vkGetBufferMemoryRequirements(device, target.buffer, &needs);
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = memory_type(
      needs.memoryTypeBits, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
  check(vkAllocateMemory(device, &allocate, nullptr, &target.buffer_memory), "picture buffer");
  check(vkBindBufferMemory(device, target.buffer, target.buffer_memory, 0), "picture buffer");

  const VkCommandBuffer commands = begin_commands();
  record(commands, picture_pass, target.framebuffer, extent, data, background);
  VkBufferImageCopy copy{};
  copy.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
  copy.imageExtent = {extent.width, extent.height, 1};
  vkCmdCopyImageToBuffer(commands, target.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, target.buffer, 1,
                         &copy);
  VkBufferMemoryBarrier barrier{VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER};
  barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
  barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
  barrier.buffer = target.buffer;
  barrier.size = VK_WHOLE_SIZE;
  vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 0, nullptr, 1,
                       &barrier, 0, nullptr);
  submit_and_wait(commands);

  Picture picture{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(buffer.size))};
  void* mapped = nullptr;
  check(vkMapMemory(device, target.buffer_memory, 0, VK_WHOLE_SIZE, 0, &mapped), "picture buffer");
  std::memcpy(picture.rgba.data(), mapped, picture.rgba.size());
  vkUnmapMemory(device, target.buffer_memory);
  const bool blue_first = format == VK_FORMAT_B8G8R8A8_UNORM;
  for (std::size_t i = 0; i < picture.rgba.size(); i += 4) {
    if (blue_first) std::swap(picture.rgba[i], picture.rgba[i + 2]);
    picture.rgba[i + 3] = 255;
  }
  return picture;
}

void write_png(const Picture& picture, const std::string& path, const Crop* crop) {
  const Crop all{0, 0, picture.width, picture.height};
  Crop part = crop ? *crop : all;
  part.x = std::clamp(part.x, 0, picture.width - 1);
  part.y = std::clamp(part.y, 0, picture.height - 1);
  part.width = std::clamp(part.width, 1, picture.width - part.x);
  part.height = std::clamp(part.height, 1, picture.height - part.y);
  std::vector<std::byte> bytes;
  const auto append = [](void* to, void* data, int size) {
    const auto* from = static_cast<const std::byte*>(data);
    auto* out = static_cast<std::vector<std::byte>*>(to);
    out->insert(out->end(), from, from + size);
  };
  const std::uint8_t* first =
      picture.rgba.data() + 4 * (static_cast<std::size_t>(part.y) * picture.width + part.x);
  stbi_write_png_to_func(append, &bytes, part.width, part.height, 4, first, 4 * picture.width);
  write_file_atomically(path, bytes);
}

}  // namespace statescope::gui
