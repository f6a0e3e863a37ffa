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

namespace statescope {

/// Every device that can run but the cpu.
inline const std::vector<std::shared_ptr<Device>>& layer_devices() {
  static const std::vector<std::shared_ptr<Device>> devices = [] {
    std::vector<std::shared_ptr<Device>> opened;
    const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");
    const DeviceList list = discover();
    for (const DeviceEntry& entry : list.devices) {
      if (entry.info.can_run && entry.info.api != Api::kCpu) opened.push_back(entry.open());
    }
    for (const BackendStatus& status : list.backends) {
      const bool wanted = required && std::string(required).find(name(status.api)) != std::string::npos;
      EXPECT_TRUE(status.available || !wanted) << name(status.api) << ": " << status.reason;
    }
    return opened;
  }();
  return devices;
}

}  // namespace statescope
