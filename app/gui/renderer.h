// The Vulkan device that draws the interface. It is apart from the devices that run kernels: those belong to
// the runtime, this one only to the screen.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <vulkan/vulkan.h>

#include <imgui.h>

namespace statescope::gui {

/// Throws Error(kDevice) "<what>: VK_ERROR_..." on failure.
void check(VkResult result, const char* what);

/// 8-bit RGBA, rows from the top.
struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgba;
};
/// Throws Error(kDevice) when the file cannot be written. `crop` in pixels; empty: the whole.
struct Crop {
  int x, y, width, height;
};
void write_png(const Picture& picture, const std::string& path, const Crop* crop = nullptr);

class Renderer {
 public:
  /// Makes the surface that the device must be able to present to; null without a window.
  using MakeSurface = std::function<VkSurfaceKHR(VkInstance)>;

  /// Picks the first hardware GPU that can draw (and present), else a software device. Needs a current ImGui
  /// context with its fonts loaded. STATESCOPE_VALIDATION=1 turns the validation layer on. Throws
  /// Error(kNoDevice) when there is no Vulkan driver, or none that can.
  Renderer(const std::vector<const char*>& instance_extensions, const MakeSurface& make_surface);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  /// Uploads the fonts again after ImGui's atlas changed.
  void reload_fonts();
  void new_frame();
  /// Draws into an image of its own and reads it back.
  Picture draw_picture(ImDrawData* data, int width, int height, ImU32 background);
  /// Records the drawing of `data` to a framebuffer of one of the two passes.
  void record(VkCommandBuffer commands, VkRenderPass pass, VkFramebuffer framebuffer, VkExtent2D extent,
              ImDrawData* data, ImU32 background);

  const std::string& device_name() const { return name_; }
  int validation_messages() const { return validation_messages_; }

  VkInstance instance = VK_NULL_HANDLE;
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  VkSurfaceKHR surface = VK_NULL_HANDLE;
  VkQueue queue = VK_NULL_HANDLE;
  std::uint32_t queue_family = 0;
  VkFormat format = VK_FORMAT_B8G8R8A8_UNORM;
  /// They leave their image ready to present (null without a window), or to read back.
  VkRenderPass present_pass = VK_NULL_HANDLE, picture_pass = VK_NULL_HANDLE;
  VkCommandPool command_pool = VK_NULL_HANDLE;

 private:
  void create_instance(std::vector<const char*> extensions);
  void pick_device();
  void create_device();
  VkRenderPass create_pass(VkImageLayout final_layout);
  void start_imgui();
  VkCommandBuffer begin_commands();
  void submit_and_wait(VkCommandBuffer commands);
  std::uint32_t memory_type(std::uint32_t allowed, VkMemoryPropertyFlags wanted) const;

  VkDescriptorPool descriptor_pool_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  std::string name_;
  int validation_messages_ = 0;
  bool imgui_started_ = false;
};

}  // namespace statescope::gui
