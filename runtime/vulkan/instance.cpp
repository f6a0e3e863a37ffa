#include "runtime/vulkan/instance.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "runtime/vulkan/vulkan_device.h"

namespace statescope::vulkan {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

std::mutex messages_mutex;
std::vector<std::string> messages;

VKAPI_ATTR VkBool32 VKAPI_CALL receive_message(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                               VkDebugUtilsMessageTypeFlagsEXT,
                                               const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  const std::lock_guard lock(messages_mutex);
  messages.emplace_back(data->pMessage);
  std::fprintf(stderr, "Vulkan validation: %s\n", data->pMessage);
  return VK_FALSE;
}

bool asked_for_validation() {
  const char* value = std::getenv("STATESCOPE_VALIDATION");
  return value && std::strcmp(value, "1") == 0;
}

bool has_layer(const char* wanted) {
  std::uint32_t count = 0;
  vkEnumerateInstanceLayerProperties(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  vkEnumerateInstanceLayerProperties(&count, layers.data());
  return std::any_of(layers.begin(), layers.end(),
                     [&](const VkLayerProperties& x) { return std::strcmp(x.layerName, wanted) == 0; });
}

bool has_extension(const char* wanted) {
  std::uint32_t count = 0;
  vkEnumerateInstanceExtensionProperties(nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateInstanceExtensionProperties(nullptr, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(), [&](const VkExtensionProperties& x) {
    return std::strcmp(x.extensionName, wanted) == 0;
  });
}

/// Where the loader was told to look, so that a wrong path is seen in the reason.
std::string told_drivers() {
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) {
    if (const char* value = std::getenv(variable)) return std::string("; ") + variable + "=" + value;
  }
  return "";
}

}  // namespace

std::vector<std::string> validation_messages() {
  const std::lock_guard lock(messages_mutex);
  return messages;
}

Instance::~Instance() {
  if (messenger) vkDestroyDebugUtilsMessengerEXT(handle, messenger, nullptr);
  if (handle) vkDestroyInstance(handle, nullptr);
}

std::shared_ptr<Instance> create_instance(std::string& why) {
  why = load_loader();
  if (!why.empty()) return nullptr;
  std::uint32_t version = 0;
  vkEnumerateInstanceVersion(&version);

  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "statescope";
  application.apiVersion = std::min<std::uint32_t>(version, VK_API_VERSION_1_3);

  std::vector<const char*> layers, extensions;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  // MoltenVK and other layered drivers are hidden without this.
  if (has_extension(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
    extensions.push_back(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    info.flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
  }

  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  // Not GENERAL: there the loader talks about other drivers on the machine.
  messenger.messageType =
      VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = receive_message;
  const VkValidationFeatureEnableEXT enables[] = {
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT features{};
  features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = enables;
  features.pNext = &messenger;  // covers instance creation itself

  auto instance = std::make_shared<Instance>();
  instance->validation = asked_for_validation();
  if (instance->validation) {
    if (!has_layer(kValidationLayer)) {
      why = std::string("STATESCOPE_VALIDATION=1, but the layer ") + kValidationLayer + " is not installed";
      return nullptr;
    }
    layers.push_back(kValidationLayer);
    extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    info.pNext = &features;
  }
  info.enabledLayerCount = static_cast<std::uint32_t>(layers.size());
  info.ppEnabledLayerNames = layers.data();
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  const VkResult result = vkCreateInstance(&info, nullptr, &instance->handle);
  if (result != VK_SUCCESS) {
    instance->handle = VK_NULL_HANDLE;
    why = "no Vulkan driver found: vkCreateInstance: " + name(result) + told_drivers();
    return nullptr;
  }
  load_extensions(instance->handle);
  if (instance->validation)
    check(vkCreateDebugUtilsMessengerEXT(instance->handle, &messenger, nullptr, &instance->messenger),
          "vkCreateDebugUtilsMessengerEXT");
  return instance;
}

}  // namespace statescope::vulkan
