// Every kernel compiled to AMD machine code by Mesa's RADV on null hardware: it must fit the registers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include <statescope/device.h>

#include "runtime/vulkan/vulkan_device.h"

namespace statescope {
namespace {

constexpr const char* kRadeon = "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json";

class NullHardware : public testing::TestWithParam<const char*> {};

TEST_P(NullHardware, EveryKernelCompilesWithoutSpills) {
  if (!std::filesystem::exists(kRadeon)) GTEST_SKIP() << "Mesa's RADV is not installed";
  // This test changes where the loader looks: it wants a process of its own, as ctest gives each test.
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) setenv(variable, kRadeon, 1);
  unsetenv("VK_ADD_DRIVER_FILES");
  setenv("RADV_FORCE_FAMILY", GetParam(), 1);
  BackendStatus status{Api::kVulkan, false, ""};
  const std::vector<DeviceEntry> entries = vulkan::find_devices(status);
  ASSERT_EQ(entries.size(), 1u) << status.reason;
  EXPECT_FALSE(entries[0].info.can_run);
  const auto device = entries[0].open();
  int compiled = 0;
  for (const auto& [series, pass] : {std::pair(Series::kProduction, Pass::kForward),
                                     {Series::kProduction, Pass::kBackward},
                                     {Series::kComparison, Pass::kForward}}) {
    for (Rule rule : kRules) {
      for (DType dtype : kRunTypes) {
        for (std::int64_t size : {64, 128, 256}) {
          for (std::int64_t expansion : {1, 8}) {
            Problem p;
            p.rule = rule;
            p.series = series;
            p.pass = pass;
            p.dtype = dtype;
            p.seq_len = 64;
            p.key_dim = p.value_dim = size;
            p.expansion = expansion;
            if (series == Series::kComparison && (size > 64 || expansion > 1))
              continue;  // the size is only a constant
            SCOPED_TRACE(describe(p));
            for (const CompiledKernel& kernel : device->compile(device->plan(p))) {
              ASSERT_FALSE(kernel.statistics.empty()) << kernel.kernel;
              for (const CompiledKernel::Statistic& statistic : kernel.statistics) {
                const bool spill = statistic.name.starts_with("Spilled") || statistic.name == "Scratch size";
                EXPECT_TRUE(!spill || statistic.value == 0)
                    << kernel.kernel << ": " << statistic.name << " " << statistic.value;
              }
              EXPECT_FALSE(kernel.representations.empty());
              EXPECT_FALSE(kernel.spirv.empty());
              ++compiled;
            }
          }
        }
      }
    }
  }
  EXPECT_GT(compiled, 70);
}

std::string name_of(const testing::TestParamInfo<const char*>& info) {
  return info.param;
}

INSTANTIATE_TEST_SUITE_P(Radv, NullHardware, testing::Values("navi21", "gfx1100"), name_of);

}  // namespace
}  // namespace statescope
