// The devices that run whole layers, each opened once. Without a GPU a test of them stands on the software
// devices; where STATESCOPE_REQUIRE_DEVICES (a list of apis: "cuda,vulkan") names one that is absent, it
// fails.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "runtime/vulkan/vulkan_device.h"

namespace statescope {

inline std::vector<std::shared_ptr<Device>>& opened_layer_devices() {
  static std::vector<std::shared_ptr<Device>> opened;
  return opened;
}

/// Closes the devices before the program ends, since a validation layer may be gone when what is static ends;
/// any message of that layer fails the program.
class LayerDevices : public testing::Environment {
  void TearDown() override {
    opened_layer_devices().clear();
#ifdef STATESCOPE_HAS_VULKAN
    for (const std::string& message : vulkan::validation_messages()) ADD_FAILURE() << message;
#endif
  }
};
inline testing::Environment* const kLayerDevices = testing::AddGlobalTestEnvironment(new LayerDevices);

/// Every device that can run but the cpu.
inline const std::vector<std::shared_ptr<Device>>& layer_devices() {
  [[maybe_unused]] static const bool searched = [] {
    const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");
    const DeviceList list = discover();
    for (const DeviceEntry& entry : list.devices) {
      if (entry.info.can_run && entry.info.api != Api::kCpu) opened_layer_devices().push_back(entry.open());
    }
    for (const BackendStatus& status : list.backends) {
      const bool wanted = required && std::string(required).find(name(status.api)) != std::string::npos;
      EXPECT_TRUE(status.available || !wanted) << name(status.api) << ": " << status.reason;
    }
    return true;
  }();
  return opened_layer_devices();
}

}  // namespace statescope
