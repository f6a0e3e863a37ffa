// One window of the desktop: GLFW, a swapchain, and the keys as the app's actions.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/gui/app.h"
#include "app/gui/renderer.h"

struct GLFWwindow;

namespace statescope::gui {

class Window {
 public:
  /// Needs a current ImGui context with its fonts loaded. Throws Error(kNoDevice) without a display, or where
  /// the display has no Vulkan device.
  Window(int width, int height, const std::string& title);
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  /// The display's scale: 1 at 96 dots per inch.
  static float display_scale();

  bool should_close() const;
  /// Waits for input, at most `seconds`; true when there was some.
  bool wait(double seconds);
  /// Wakes wait() from another thread.
  static void wake();
  std::vector<KeyPress> take_keys();
  /// Files that were dropped since the last call.
  std::vector<std::string> take_dropped();
  bool minimised() const;
  void new_frame();
  /// Draws to the screen. Throws Error(kDevice) when the device is lost.
  void present(ImDrawData* data, ImU32 background);
  void size(int& width, int& height) const;

  Renderer& renderer() { return *renderer_; }

 private:
  void create_swapchain();
  void destroy_swapchain();

  struct Frame {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    VkFence done = VK_NULL_HANDLE;
    VkSemaphore acquired = VK_NULL_HANDLE;
  };
  struct Image {
    VkImageView view = VK_NULL_HANDLE;
    VkFramebuffer framebuffer = VK_NULL_HANDLE;
    VkSemaphore drawn =
        VK_NULL_HANDLE;  ///< one an image: presentation may still wait on it when a frame comes round
  };

  GLFWwindow* window_ = nullptr;
  std::unique_ptr<Renderer> renderer_;
  VkSwapchainKHR swapchain_ = VK_NULL_HANDLE;
  VkExtent2D extent_{};
  std::vector<Image> images_;
  std::vector<Frame> frames_;
  std::size_t frame_ = 0;
  bool stale_ = false;
  std::vector<KeyPress> keys_;
  std::vector<std::string> dropped_;
};

}  // namespace statescope::gui
