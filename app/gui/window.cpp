#include "app/gui/window.h"

#include <algorithm>
#include <utility>

#define GLFW_INCLUDE_NONE
#include <GLFW/glfw3.h>

#include <backends/imgui_impl_glfw.h>

#include <statescope/error.h>

namespace statescope::gui {
namespace {

constexpr std::size_t kFrames = 2;

std::string glfw_reason() {
  const char* text = nullptr;
  glfwGetError(&text);
  return text ? text : "unknown reason";
}

void start_glfw() {
  if (glfwInit()) return;
  throw Error(ErrorKind::kNoDevice,
              "no display: " + glfw_reason() +
                  "; statescope-app --offscreen draws without one, and `statescope sweep` "
                  "measures on the terminal");
}

}  // namespace

float Window::display_scale() {
  start_glfw();
  float x = 1, y = 1;
  if (GLFWmonitor* monitor = glfwGetPrimaryMonitor()) glfwGetMonitorContentScale(monitor, &x, &y);
  return std::max(x, 0.5f);
}

Window::Window(int width, int height, const std::string& title) {
  start_glfw();
  if (!glfwVulkanSupported()) {
    throw Error(ErrorKind::kNoDevice,
                "this display has no Vulkan: " + glfw_reason() +
                    "; install a driver (mesa-vulkan-drivers has llvmpipe, which needs no GPU)");
  }
  glfwWindowHint(GLFW_CLIENT_API, GLFW_NO_API);
  window_ = glfwCreateWindow(width, height, title.c_str(), nullptr, nullptr);
  if (!window_) throw Error(ErrorKind::kNoDevice, "no window: " + glfw_reason());
  glfwSetWindowSizeLimits(window_, 960, 600, GLFW_DONT_CARE, GLFW_DONT_CARE);
  glfwSetWindowUserPointer(window_, this);
  // Ours first: ImGui's callbacks call those that they find.
  glfwSetKeyCallback(window_, [](GLFWwindow* w, int key, int, int action, int mods) {
    if (action != GLFW_RELEASE)
      static_cast<Window*>(glfwGetWindowUserPointer(w))->keys_.push_back({key, mods});
  });
  glfwSetFramebufferSizeCallback(window_, [](GLFWwindow* w, int, int) {
    static_cast<Window*>(glfwGetWindowUserPointer(w))->stale_ = true;
  });
  glfwSetDropCallback(window_, [](GLFWwindow* w, int count, const char** paths) {
    auto& dropped = static_cast<Window*>(glfwGetWindowUserPointer(w))->dropped_;
    dropped.insert(dropped.end(), paths, paths + count);
  });
  ImGui_ImplGlfw_InitForVulkan(window_, true);

  std::uint32_t count = 0;
  const char** names = glfwGetRequiredInstanceExtensions(&count);
  renderer_ =
      std::make_unique<Renderer>(std::vector<const char*>(names, names + count), [&](VkInstance instance) {
        VkSurfaceKHR surface = VK_NULL_HANDLE;
        check(glfwCreateWindowSurface(instance, window_, nullptr, &surface), "window surface");
        return surface;
      });
  for (std::size_t i = 0; i < kFrames; ++i) {
    Frame frame;
    VkCommandBufferAllocateInfo commands{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    commands.commandPool = renderer_->command_pool;
    commands.commandBufferCount = 1;
    check(vkAllocateCommandBuffers(renderer_->device, &commands, &frame.commands), "command buffer");
    VkFenceCreateInfo fence{VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    fence.flags = VK_FENCE_CREATE_SIGNALED_BIT;
    check(vkCreateFence(renderer_->device, &fence, nullptr, &frame.done), "fence");
    const VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    check(vkCreateSemaphore(renderer_->device, &semaphore, nullptr, &frame.acquired), "semaphore");
    frames_.push_back(frame);
  }
  create_swapchain();
}

Window::~Window() {
  if (renderer_) {
    vkDeviceWaitIdle(renderer_->device);
    destroy_swapchain();
    for (const Frame& frame : frames_) {
      vkDestroyFence(renderer_->device, frame.done, nullptr);
      vkDestroySemaphore(renderer_->device, frame.acquired, nullptr);
    }
    renderer_.reset();
  }
  ImGui_ImplGlfw_Shutdown();
  glfwDestroyWindow(window_);
  glfwTerminate();
}

bool Window::should_close() const {
  return glfwWindowShouldClose(window_);
}

bool Window::wait(double seconds) {
  const double start = glfwGetTime();
  glfwWaitEventsTimeout(seconds);
  return glfwGetTime() - start < seconds * 0.95;
}

void Window::wake() {
  glfwPostEmptyEvent();
}

std::vector<KeyPress> Window::take_keys() {
  return std::exchange(keys_, {});
}

std::vector<std::string> Window::take_dropped() {
  return std::exchange(dropped_, {});
}

bool Window::minimised() const {
  int width = 0, height = 0;
  glfwGetFramebufferSize(window_, &width, &height);
  return width == 0 || height == 0;
}

void Window::size(int& width, int& height) const {
  glfwGetWindowSize(window_, &width, &height);
}

void Window::new_frame() {
  if (stale_) {
    destroy_swapchain();
    create_swapchain();
  }
  renderer_->new_frame();
  ImGui_ImplGlfw_NewFrame();
}

void Window::create_swapchain() {
  stale_ = false;
  const Renderer& r = *renderer_;
  VkSurfaceCapabilitiesKHR capabilities;
  check(vkGetPhysicalDeviceSurfaceCapabilitiesKHR(r.physical, r.surface, &capabilities), "surface");
  extent_ = capabilities.currentExtent;
  if (extent_.width == UINT32_MAX) {
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_, &width, &height);
    extent_ = {std::clamp(static_cast<std::uint32_t>(width), capabilities.minImageExtent.width,
                          capabilities.maxImageExtent.width),
               std::clamp(static_cast<std::uint32_t>(height), capabilities.minImageExtent.height,
                          capabilities.maxImageExtent.height)};
  }
  if (extent_.width == 0 || extent_.height == 0) {
    stale_ = true;
    return;
  }
  VkSwapchainCreateInfoKHR info{VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR};
  info.surface = r.surface;
  info.minImageCount = std::max(capabilities.minImageCount, 2u);
  if (capabilities.maxImageCount > 0)
    info.minImageCount = std::min(info.minImageCount, capabilities.maxImageCount);
  info.imageFormat = r.format;
  info.imageColorSpace = VK_COLOR_SPACE_SRGB_NONLINEAR_KHR;
  info.imageExtent = extent_;
  info.imageArrayLayers = 1;
  info.imageUsage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT;
  info.preTransform = capabilities.currentTransform;
  info.compositeAlpha = capabilities.supportedCompositeAlpha & VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                            ? VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                            : VK_COMPOSITE_ALPHA_INHERIT_BIT_KHR;
  info.presentMode =
      VK_PRESENT_MODE_FIFO_KHR;  // no faster than the display: nothing tears, nothing is wasted
  info.clipped = VK_TRUE;
  check(vkCreateSwapchainKHR(r.device, &info, nullptr, &swapchain_), "swapchain");

  std::uint32_t count = 0;
  check(vkGetSwapchainImagesKHR(r.device, swapchain_, &count, nullptr), "swapchain images");
  std::vector<VkImage> images(count);
  check(vkGetSwapchainImagesKHR(r.device, swapchain_, &count, images.data()), "swapchain images");
  for (VkImage image : images) {
    Image entry;
    VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
    view.image = image;
    view.viewType = VK_IMAGE_VIEW_TYPE_2D;
    view.format = r.format;
    view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    check(vkCreateImageView(r.device, &view, nullptr, &entry.view), "image view");
    VkFramebufferCreateInfo framebuffer{VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO};
    framebuffer.renderPass = r.present_pass;
    framebuffer.attachmentCount = 1;
    framebuffer.pAttachments = &entry.view;
    framebuffer.width = extent_.width;
    framebuffer.height = extent_.height;
    framebuffer.layers = 1;
    check(vkCreateFramebuffer(r.device, &framebuffer, nullptr, &entry.framebuffer), "framebuffer");
    const VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    check(vkCreateSemaphore(r.device, &semaphore, nullptr, &entry.drawn), "semaphore");
    images_.push_back(entry);
  }
}

void Window::destroy_swapchain() {
  vkDeviceWaitIdle(renderer_->device);
  for (const Image& image : images_) {
    vkDestroyFramebuffer(renderer_->device, image.framebuffer, nullptr);
    vkDestroyImageView(renderer_->device, image.view, nullptr);
    vkDestroySemaphore(renderer_->device, image.drawn, nullptr);
  }
  images_.clear();
  vkDestroySwapchainKHR(renderer_->device, swapchain_, nullptr);
  swapchain_ = VK_NULL_HANDLE;
}

void Window::present(ImDrawData* data, ImU32 background) {
  if (swapchain_ == VK_NULL_HANDLE) return;
  const Renderer& r = *renderer_;
  const Frame& frame = frames_[frame_];
  check(vkWaitForFences(r.device, 1, &frame.done, VK_TRUE, UINT64_MAX), "waiting for a frame");
  std::uint32_t index = 0;
  const VkResult acquired =
      vkAcquireNextImageKHR(r.device, swapchain_, UINT64_MAX, frame.acquired, VK_NULL_HANDLE, &index);
  if (acquired == VK_ERROR_OUT_OF_DATE_KHR) {
    stale_ = true;
    return;
  }
  check(acquired, "next image");
  const Image& image = images_[index];
  check(vkResetFences(r.device, 1, &frame.done), "fence");

  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  check(vkBeginCommandBuffer(frame.commands, &begin), "command buffer");
  renderer_->record(frame.commands, r.present_pass, image.framebuffer, extent_, data, background);
  check(vkEndCommandBuffer(frame.commands), "command buffer");

  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT;
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
  submit.waitSemaphoreCount = 1;
  submit.pWaitSemaphores = &frame.acquired;
  submit.pWaitDstStageMask = &stage;
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &frame.commands;
  submit.signalSemaphoreCount = 1;
  submit.pSignalSemaphores = &image.drawn;
  check(vkQueueSubmit(r.queue, 1, &submit, frame.done), "submit");
  VkPresentInfoKHR present{VK_STRUCTURE_TYPE_PRESENT_INFO_KHR};
  present.waitSemaphoreCount = 1;
  present.pWaitSemaphores = &image.drawn;
  present.swapchainCount = 1;
  present.pSwapchains = &swapchain_;
  present.pImageIndices = &index;
  const VkResult presented = vkQueuePresentKHR(r.queue, &present);
  if (presented == VK_ERROR_OUT_OF_DATE_KHR || presented == VK_SUBOPTIMAL_KHR) {
    stale_ = true;
  } else {
    check(presented, "present");
  }
  frame_ = (frame_ + 1) % frames_.size();
}

}  // namespace statescope::gui
