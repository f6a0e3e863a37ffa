// Every Vulkan device that can run, opened once. Without one each test is a recorded skip, and a failure
// where STATESCOPE_REQUIRE_DEVICES (a list of apis: "cuda,vulkan") says that this machine must have it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/reference.h"
#include "runtime/vulkan/vulkan_device.h"
#include "tests/example_problem.h"
#include "tests/printers.h"

namespace statescope {

class VulkanTest : public testing::Test {
 public:
  /// Before the program ends: a device that outlives main() calls into a validation layer that may be gone.
  static void close_devices() { opened().clear(); }

 protected:
  void SetUp() override {
    if (!devices().empty()) return;
    const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");
    if (required && std::string(required).find("vulkan") != std::string::npos)
      FAIL() << "STATESCOPE_REQUIRE_DEVICES asks for Vulkan, but: " << reason();
    GTEST_SKIP() << reason();
  }

  static const std::vector<std::shared_ptr<Device>>& devices() {
    static const bool searched = [] {
      BackendStatus status{Api::kVulkan, false, ""};
      for (const DeviceEntry& entry : vulkan::find_devices(status)) {
        if (entry.info.can_run) opened().push_back(entry.open());
      }
      reason() = status.reason;
      return true;
    }();
    static_cast<void>(searched);
    return opened();
  }
  static std::vector<std::shared_ptr<Device>>& opened() {
    static std::vector<std::shared_ptr<Device>> all;
    return all;
  }
  static std::string& reason() {
    static std::string text;
    return text;
  }

  /// Poisons, runs once and returns the outputs.
  static TensorSet run(Device& device, const Problem& problem, const TensorSet& inputs) {
    const auto execution = device.prepare(device.plan(problem));
    execution->upload(inputs);
    execution->poison();
    execution->run();
    return execution->download();
  }

  /// Runs generated inputs and holds every output against the float64 reference of the rounded inputs.
  /// Returns the largest error over its tolerance.
  static double check(Device& device, const Problem& problem, std::uint64_t seed, Gates gates) {
    const TensorSet inputs = round_inputs(problem, generate_inputs(problem, seed, gates));
    const TensorSet outputs = run(device, problem, inputs);
    double worst = 0;
    for (const OutputError& e : compare_outputs(problem, outputs, cpu::run_recurrent(problem, inputs))) {
      EXPECT_TRUE(e.ok()) << describe(problem) << " on " << device.info().description << ": " << name(e.slot)
                          << ": error " << e.error << " > " << e.tolerance;
      worst = std::max(worst, e.error / e.tolerance);
    }
    return worst;
  }
};

}  // namespace statescope
