#include "app/gui/renderer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include <backends/imgui_impl_vulkan.h>

#include <statescope/error.h>

namespace statescope::gui {
namespace {

constexpr std::uint32_t kApiVersion = VK_API_VERSION_1_1;
constexpr std::uint32_t kFramesInFlight = 2;

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                          VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data, void* count) {
  ++*static_cast<int*>(count);
  std::fprintf(stderr, "validation: %s\n", data->pMessage);
  return VK_FALSE;
}

VkDebugUtilsMessengerCreateInfoEXT messenger_info(int* count) {
  VkDebugUtilsMessengerCreateInfoEXT info{VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  info.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  info.pfnUserCallback = on_message;
  info.pUserData = count;
  return info;
}

/// A queue family that draws (and presents to the surface).
std::optional<std::uint32_t> family_of(VkPhysicalDevice physical, VkSurfaceKHR surface) {
  std::uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families.data());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)) continue;
    VkBool32 presents = VK_TRUE;
    if (surface)
      check(vkGetPhysicalDeviceSurfaceSupportKHR(physical, i, surface, &presents), "surface support");
    if (presents) return i;
  }
  return std::nullopt;
}

int rank(const VkPhysicalDeviceProperties& properties) {
  switch (properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    default:
      return std::strstr(properties.deviceName, "llvmpipe") ? 3 : 4;
  }
}

void check_imgui(VkResult result) {
  check(result, "drawing");
}

}  // namespace

void check(VkResult result, const char* what) {
  if (result >= 0) return;
  const char* reason = "Vulkan error";
  switch (result) {
    case VK_ERROR_DEVICE_LOST:
      reason = "VK_ERROR_DEVICE_LOST: the driver reset the device that draws";
      break;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      reason = "VK_ERROR_OUT_OF_HOST_MEMORY";
      break;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      reason = "VK_ERROR_OUT_OF_DEVICE_MEMORY";
      break;
    case VK_ERROR_INITIALIZATION_FAILED:
      reason = "VK_ERROR_INITIALIZATION_FAILED";
      break;
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      reason = "VK_ERROR_INCOMPATIBLE_DRIVER: no Vulkan driver";
      break;
    case VK_ERROR_LAYER_NOT_PRESENT:
      reason = "VK_ERROR_LAYER_NOT_PRESENT";
      break;
    case VK_ERROR_EXTENSION_NOT_PRESENT:
      reason = "VK_ERROR_EXTENSION_NOT_PRESENT";
      break;
    case VK_ERROR_SURFACE_LOST_KHR:
      reason = "VK_ERROR_SURFACE_LOST_KHR";
      break;
    default:
      break;
  }
  throw Error(ErrorKind::kDevice, std::string(what) + ": " + reason + " (" + std::to_string(result) + ")");
}

Renderer::Renderer(const std::vector<const char*>& instance_extensions, const MakeSurface& make_surface) {
  create_instance(instance_extensions);
  if (make_surface) surface = make_surface(instance);
  pick_device();
  create_device();
  if (surface) present_pass = create_pass(VK_IMAGE_LAYOUT_PRESENT_SRC_KHR);
  picture_pass = create_pass(VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
  start_imgui();
}

Renderer::~Renderer() {
  if (device) {
    vkDeviceWaitIdle(device);
    if (imgui_started_) ImGui_ImplVulkan_Shutdown();
    vkDestroyRenderPass(device, present_pass, nullptr);
    vkDestroyRenderPass(device, picture_pass, nullptr);
    vkDestroyDescriptorPool(device, descriptor_pool_, nullptr);
    vkDestroyCommandPool(device, command_pool, nullptr);
    vkDestroyDevice(device, nullptr);
  }
  if (surface) vkDestroySurfaceKHR(instance, surface, nullptr);
  if (messenger_) {
    const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(instance, "vkDestroyDebugUtilsMessengerEXT"));
    destroy(instance, messenger_, nullptr);
  }
  if (instance) vkDestroyInstance(instance, nullptr);
}

void Renderer::create_instance(std::vector<const char*> extensions) {
  VkApplicationInfo app{VK_STRUCTURE_TYPE_APPLICATION_INFO};
  app.pApplicationName = "statescope-app";
  app.apiVersion = kApiVersion;
  VkInstanceCreateInfo info{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  info.pApplicationInfo = &app;
  const char* layer = "VK_LAYER_KHRONOS_validation";
  const char* asked = std::getenv("STATESCOPE_VALIDATION");
  const bool validate = asked && std::strcmp(asked, "0") != 0;
  const auto messages = messenger_info(&validation_messages_);
  if (validate) {
    extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
  }
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  const VkResult result = vkCreateInstance(&info, nullptr, &instance);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
    throw Error(ErrorKind::kNoDevice,
                "no Vulkan driver found; install one (mesa-vulkan-drivers has llvmpipe, which "
                "needs no GPU), or use the command line: statescope sweep");
  }
  check(result, "Vulkan instance");
  if (validate) {
    const auto create = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(instance, "vkCreateDebugUtilsMessengerEXT"));
    check(create(instance, &messages, nullptr, &messenger_), "debug messenger");
  }
}

void Renderer::pick_device() {
  std::uint32_t count = 0;
  check(vkEnumeratePhysicalDevices(instance, &count, nullptr), "Vulkan devices");
  std::vector<VkPhysicalDevice> devices(count);
  check(vkEnumeratePhysicalDevices(instance, &count, devices.data()), "Vulkan devices");
  std::string seen;
  int best = 100;
  for (VkPhysicalDevice candidate : devices) {
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(candidate, &properties);
    seen += (seen.empty() ? "" : ", ") + std::string(properties.deviceName);
    const auto family = family_of(candidate, surface);
    if (!family || rank(properties) >= best) continue;
    best = rank(properties);
    physical = candidate;
    queue_family = *family;
    name_ = properties.deviceName;
  }
  if (!physical) {
    throw Error(ErrorKind::kNoDevice, "no Vulkan device can draw " +
                                          std::string(surface ? "to this window" : "an image") + "; found " +
                                          (seen.empty() ? "none" : seen));
  }
}

void Renderer::create_device() {
  const float priority = 1;
  VkDeviceQueueCreateInfo queue_info{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue_info.queueFamilyIndex = queue_family;
  queue_info.queueCount = 1;
  queue_info.pQueuePriorities = &priority;
  VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO};
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue_info;
  const char* swapchain = VK_KHR_SWAPCHAIN_EXTENSION_NAME;
  if (surface) {
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &swapchain;
  }
  check(vkCreateDevice(physical, &info, nullptr, &device), "Vulkan device");
  vkGetDeviceQueue(device, queue_family, 0, &queue);

  if (surface) {
    std::uint32_t count = 0;
    check(vkGetPhysicalDeviceSurfaceFormatsKHR(physical, surface, &count, nullptr), "surface formats");
    std::vector<VkSurfaceFormatKHR> formats(count);
    check(vkGetPhysicalDeviceSurfaceFormatsKHR(physical, surface, &count, formats.data()), "surface formats");
    // ImGui's colours are sRGB already: an UNORM format takes them as they are.
    const auto plain = std::find_if(formats.begin(), formats.end(), [](const VkSurfaceFormatKHR& f) {
      return f.format == VK_FORMAT_B8G8R8A8_UNORM || f.format == VK_FORMAT_R8G8B8A8_UNORM;
    });
    if (plain == formats.end()) {
      throw Error(ErrorKind::kNoDevice, name_ + ": the window offers no 8-bit UNORM format");
    }
    format = plain->format;
  }

  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = queue_family;
  check(vkCreateCommandPool(device, &pool, nullptr, &command_pool), "command pool");
  // Dear ImGui up to 1.92.7 wants combined samplers, later ones separate images and samplers.
  const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 16},
                                        {VK_DESCRIPTOR_TYPE_SAMPLED_IMAGE, 16},
                                        {VK_DESCRIPTOR_TYPE_SAMPLER, 8}};
  VkDescriptorPoolCreateInfo descriptors{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
  descriptors.flags = VK_DESCRIPTOR_POOL_CREATE_FREE_DESCRIPTOR_SET_BIT;
  descriptors.maxSets = 32;
  descriptors.poolSizeCount = 3;
  descriptors.pPoolSizes = sizes;
  check(vkCreateDescriptorPool(device, &descriptors, nullptr, &descriptor_pool_), "descriptor pool");
}

VkRenderPass Renderer::create_pass(VkImageLayout final_layout) {
  VkAttachmentDescription color{};
  color.format = format;
  color.samples = VK_SAMPLE_COUNT_1_BIT;
  color.loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR;
  color.storeOp = VK_ATTACHMENT_STORE_OP_STORE;
  color.stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE;
  color.stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE;
  color.initialLayout = VK_IMAGE_LAYOUT_UNDEFINED;
  color.finalLayout = final_layout;
  const VkAttachmentReference reference{0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
  VkSubpassDescription subpass{};
  subpass.pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS;
  subpass.colorAttachmentCount = 1;
  subpass.pColorAttachments = &reference;
  const VkSubpassDependency dependencies[] = {
      {VK_SUBPASS_EXTERNAL, 0, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
       VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT, 0, VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, 0},
      {0, VK_SUBPASS_EXTERNAL, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
       VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, VK_ACCESS_TRANSFER_READ_BIT, 0}};
  VkRenderPassCreateInfo info{VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO};
  info.attachmentCount = 1;
  info.pAttachments = &color;
  info.subpassCount = 1;
  info.pSubpasses = &subpass;
  // Both passes have the same dependencies: pipelines made for one then serve the other.
  info.dependencyCount = 2;
  info.pDependencies = dependencies;
  VkRenderPass pass;
  check(vkCreateRenderPass(device, &info, nullptr, &pass), "render pass");
  return pass;
}

void Renderer::start_imgui() {
  ImGui_ImplVulkan_InitInfo info{};
  info.Instance = instance;
  info.PhysicalDevice = physical;
  info.Device = device;
  info.QueueFamily = queue_family;
  info.Queue = queue;
  info.DescriptorPool = descriptor_pool_;
  info.MinImageCount = info.ImageCount = kFramesInFlight;
  info.CheckVkResultFn = check_imgui;
#if IMGUI_VERSION_NUM >= 19240
  info.ApiVersion = kApiVersion;
  info.PipelineInfoMain.RenderPass = picture_pass;
  info.PipelineInfoMain.MSAASamples = VK_SAMPLE_COUNT_1_BIT;
#else
  info.MSAASamples = VK_SAMPLE_COUNT_1_BIT;
#if IMGUI_VERSION_NUM >= 19030
  info.RenderPass = picture_pass;
#endif
#endif
#if IMGUI_VERSION_NUM >= 19030
  ImGui_ImplVulkan_Init(&info);
#else
  ImGui_ImplVulkan_Init(&info, picture_pass);
#endif
  imgui_started_ = true;
#if IMGUI_VERSION_NUM < 19000  // later versions upload the fonts themselves
  const VkCommandBuffer commands = begin_commands();
  ImGui_ImplVulkan_CreateFontsTexture(commands);
  submit_and_wait(commands);
  ImGui_ImplVulkan_DestroyFontUploadObjects();
#endif
}

void Renderer::reload_fonts() {
  check(vkDeviceWaitIdle(device), "waiting for the device");
  ImGui_ImplVulkan_Shutdown();
  imgui_started_ = false;
  check(vkResetDescriptorPool(device, descriptor_pool_, 0), "descriptor pool");
  start_imgui();
}

void Renderer::new_frame() {
  ImGui_ImplVulkan_NewFrame();
}

VkCommandBuffer Renderer::begin_commands() {
  VkCommandBufferAllocateInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  info.commandPool = command_pool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands;
  check(vkAllocateCommandBuffers(device, &info, &commands), "command buffer");
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  check(vkBeginCommandBuffer(commands, &begin), "command buffer");
  return commands;
}

void Renderer::submit_and_wait(VkCommandBuffer commands) {
  check(vkEndCommandBuffer(commands), "command buffer");
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands;
  check(vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE), "submit");
  check(vkQueueWaitIdle(queue), "waiting for the device");
  vkFreeCommandBuffers(device, command_pool, 1, &commands);
}

void Renderer::record(VkCommandBuffer commands, VkRenderPass pass, VkFramebuffer framebuffer,
                      VkExtent2D extent, ImDrawData* data, ImU32 background) {
  const ImVec4 c = ImGui::ColorConvertU32ToFloat4(background);
  VkClearValue clear{};
  clear.color = {{c.x, c.y, c.z, 1}};
  VkRenderPassBeginInfo begin{VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO};
  begin.renderPass = pass;
  begin.framebuffer = framebuffer;
  begin.renderArea.extent = extent;
  begin.clearValueCount = 1;
  begin.pClearValues = &clear;
  vkCmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
  ImGui_ImplVulkan_RenderDrawData(data, commands);
  vkCmdEndRenderPass(commands);
}

std::uint32_t Renderer::memory_type(std::uint32_t allowed, VkMemoryPropertyFlags wanted) const {
  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(physical, &memory);
  for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    if ((allowed >> i & 1) && (memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
  }
  throw Error(ErrorKind::kDevice, name_ + ": no memory type for pictures");
}

}  // namespace statescope::gui
