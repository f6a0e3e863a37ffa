// The one place that names every backend.
#include <statescope/device.h>
#include <statescope/error.h>

#include "runtime/cpu/cpu_device.h"
#ifdef STATESCOPE_HAS_VULKAN
#include "runtime/vulkan/vulkan_device.h"
#endif
#ifdef STATESCOPE_HAS_CUDA
#include "cuda/cuda_device.h"
#endif

namespace statescope {
namespace {

template <typename Find>
void add_backend(DeviceList& list, Api api, Find find) {
  BackendStatus status{api, false, ""};
  std::vector<DeviceEntry> found = find(status);
  status.available = !found.empty();
  list.backends.push_back(status);
  for (DeviceEntry& entry : found) list.devices.push_back(std::move(entry));
}

[[maybe_unused]] std::vector<DeviceEntry> absent(BackendStatus& status, const char* reason) {
  status.reason = reason;
  return {};
}

}  // namespace

DeviceList discover() {
  DeviceList list;
#ifdef STATESCOPE_HAS_CUDA
  add_backend(list, Api::kCuda, cuda::find_devices);
#else
  add_backend(list, Api::kCuda, [](BackendStatus& status) { return absent(status, STATESCOPE_CUDA_ABSENT); });
#endif
#ifdef STATESCOPE_HAS_VULKAN
  add_backend(list, Api::kVulkan, vulkan::find_devices);
#else
  add_backend(list, Api::kVulkan,
              [](BackendStatus& status) { return absent(status, "built with STATESCOPE_VULKAN=OFF"); });
#endif
  add_backend(list, Api::kCpu, cpu::find_devices);
  return list;
}

}  // namespace statescope
