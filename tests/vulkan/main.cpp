// Any message of the validation layer, in any test, fails the program (STATESCOPE_VALIDATION=1 turns it on).
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/vulkan/vulkan_fixture.h"

namespace {

class SilentValidation : public testing::Environment {
  void TearDown() override {
    statescope::VulkanTest::close_devices();  // closing may be what it complains of
    for (const std::string& message : statescope::vulkan::validation_messages()) ADD_FAILURE() << message;
  }
};

}  // namespace

int main(int argc, char** argv) {
  // llvmpipe spends a second a pipeline on optimising; the tests run each one for milliseconds.
  setenv("GALLIVM_PERF", "nopt", 0);
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new SilentValidation);
  return RUN_ALL_TESTS();
}
