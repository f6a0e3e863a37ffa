// What a device promises beside right numbers: repeatable bits, steps in place, plans that say what runs,
// refusals, time, and the paths that only weaker devices take.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include <statescope/error.h>

#include "runtime/vulkan/device.h"
#include "runtime/vulkan/pipeline_cache.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using VulkanDevices = VulkanTest;

TEST_F(VulkanDevices, SayWhatTheyAre) {
  for (std::size_t i = 0; i < devices().size(); ++i) {
    const DeviceInfo& info = devices()[i]->info();
    EXPECT_EQ(info.name, "vulkan:" + std::to_string(i));
    EXPECT_EQ(info.api, Api::kVulkan);
    EXPECT_FALSE(info.description.empty());
    EXPECT_FALSE(info.driver.empty());
    EXPECT_GE(info.limits.shared_memory_per_workgroup, 16384u);
    EXPECT_GE(info.limits.max_workgroup_size, 128u);
    EXPECT_LE(info.limits.subgroup_min, info.limits.subgroup_max);
    if (i == 0) continue;
    EXPECT_GE(devices()[i - 1]->info().hardware, info.hardware) << "hardware comes first";
  }
}

TEST_F(VulkanDevices, TwoRunsGiveTheSameBits) {
  for (const auto& device : devices()) {
    for (const auto& [series, pass] : {std::pair(Series::kProduction, Pass::kForward),
                                       {Series::kProduction, Pass::kBackward},
                                       {Series::kComparison, Pass::kForward}}) {
      for (Rule rule : kRules) {
        Problem p = example_problem(rule, pass);
        p.series = series;
        SCOPED_TRACE(describe(p) + " on " + device->info().description);
        const TensorSet inputs = generate_inputs(p, 7);
        ASSERT_TRUE(device->plan(p).deterministic);
        const TensorSet first = run(*device, p, inputs);
        const TensorSet second = run(*device, p, inputs);
        for (Slot slot : kSlots) EXPECT_EQ(first[slot].bytes, second[slot].bytes) << name(slot);
      }
    }
  }
}

TEST_F(VulkanDevices, StepsGoOnWhereTheLastEnded) {
  for (const auto& device : devices()) {
    const Problem p = example_problem(Rule::kGatedDelta, Pass::kStep);
    TensorSet inputs = generate_inputs(p, 3);
    const auto execution = device->prepare(device->plan(p));
    execution->upload(inputs);
    for (int step = 0; step < 3; ++step) {
      execution->poison();
      execution->run();
      const TensorSet expected = cpu::run_recurrent(p, inputs);
      for (const OutputError& e : compare_outputs(p, execution->download(), expected))
        EXPECT_TRUE(e.ok()) << "step " << step << " " << name(e.slot) << " " << e.error;
      inputs[Slot::kH0] = convert(expected[Slot::kHt].view(), DType::kF32);
    }
  }
}

TEST_F(VulkanDevices, PlansAgreeWithWhatRuns) {
  for (const auto& device : devices()) {
    for (Series series : {Series::kProduction, Series::kComparison}) {
      Problem p = example_problem(Rule::kGla);
      p.series = series;
      p.form = Form::kAuto;
      const Plan plan = device->plan(p);
      EXPECT_EQ(plan.problem.form, Form::kRecurrent);
      EXPECT_EQ(plan.device, device->info().name);
      ASSERT_NE(plan.variant, nullptr);
      EXPECT_GT(plan.device_memory_bytes, 0u);
      const auto execution = device->prepare(plan);
      ASSERT_EQ(execution->plan().launches.size(), plan.launches.size());
      for (const Launch& launch : execution->plan().launches) {
        ASSERT_TRUE(launch.reported_shared_memory_bytes);
        // Drivers round up to their granule, leave out an array that nothing reads, and may add what their
        // compiler needs: NVIDIA's adds 1,152 B to kernels that shuffle.
        EXPECT_LE(*launch.reported_shared_memory_bytes, launch.shared_memory_bytes + 2048) << launch.kernel;
        EXPECT_TRUE(*launch.reported_shared_memory_bytes >= launch.shared_memory_bytes ||
                    launch.shared_memory_bytes <= 16)
            << launch.kernel;
        EXPECT_EQ(launch.spill_bytes.value_or(0), 0u) << launch.kernel;
      }
    }
  }
}

TEST_F(VulkanDevices, TimesAreDeviceTimes) {
  for (const auto& device : devices()) {
    const Problem p = example_problem(Rule::kSsd);
    const auto execution = device->prepare(device->plan(p), 2);
    execution->upload(generate_inputs(p, 1));
    execution->run();
    const auto start = std::chrono::steady_clock::now();
    const std::vector<RunTime> times = execution->time(4);
    const double host = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ASSERT_EQ(times.size(), 4u);
    double sum = 0;
    for (const RunTime& time : times) {
      EXPECT_GT(time.total, 0);
      ASSERT_EQ(time.launches.size(), execution->plan().launches.size());
      sum += time.total;
      if (device->info().clock.empty()) continue;
      ASSERT_EQ(time.begins.size(), time.launches.size());
      const double since = time.begins[0] - std::chrono::duration<double>(start.time_since_epoch()).count();
      EXPECT_GT(since, -0.01);
      EXPECT_LT(since, host + 0.01);
    }
    EXPECT_LE(sum, host);
  }
}

// llvmpipe leaves loops after 65535 iterations; more than that many are needed here.
TEST_F(VulkanDevices, RunLongSequences) {
  for (const auto& device : devices()) {
    for (Series series : {Series::kProduction, Series::kComparison}) {
      Problem p = example_problem(Rule::kGatedDelta);
      p.series = series;
      p.seq_len = 2500;
      p.heads = p.qk_heads = p.batch = p.sequences = p.expansion = 1;
      p.key_dim = 256;
      p.value_dim = 16;
      check(*device, p, 5, Gates::kModel);
    }
  }
}

TEST_F(VulkanDevices, RefuseWhatDoesNotFitWithNumbers) {
  for (const auto& device : devices()) {
    Problem p = example_problem(Rule::kGatedDelta);
    p.batch = p.sequences = 60;
    p.seq_len = 100'000;
    try {
      device->plan(p);
      FAIL() << "9 GB of q in one buffer";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kRefused);
      EXPECT_NE(std::string(error.what()).find("q: buffer of 9216000000 B > "), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(VulkanDevices, RefuseInputsOfAnotherShape) {
  const Problem p = example_problem(Rule::kLinear);
  const auto execution = devices()[0]->prepare(devices()[0]->plan(p));
  TensorSet inputs = generate_inputs(p, 1);
  inputs[Slot::kV] = Tensor(DType::kF32, {1, 2, 3});
  try {
    execution->upload(inputs);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "v: found f32 [1, 2, 3], wanted f32 [2, 77, 4, 48]");
  }
}

TEST_F(VulkanDevices, MeasureTheirCeilings) {
  for (const auto& device : devices()) {
    const Ceilings ceilings = device->measure_ceilings();
    EXPECT_GT(ceilings.copy_bytes_per_second, 1e8);
    EXPECT_LT(ceilings.copy_bytes_per_second, 1e14);
    EXPECT_GT(ceilings.f32_flop_per_second, 1e8);
    EXPECT_LT(ceilings.f32_flop_per_second, 1e15);
  }
}

/// The same devices with some ability taken away.
class VulkanReduced : public VulkanTest {
 protected:
  /// Runs every rule on each device after `reduce`; `expansion` subheads.
  template <typename Reduce>
  static void check_all(Reduce reduce, std::int64_t expansion, const vulkan::LaunchBounds& bounds,
                        bool several) {
    std::string why;
    const auto instance = vulkan::create_instance(why);
    ASSERT_TRUE(instance) << why;
    for (vulkan::PhysicalDevice& physical : vulkan::find_physical_devices(instance, why)) {
      reduce(physical.info.limits);
      const auto device = vulkan::make_device(physical, bounds);
      for (Rule rule : kRules) {
        for (const auto& [pass, dtype] : {std::pair(Pass::kForward, DType::kF32),
                                          {Pass::kForward, DType::kBf16},
                                          {Pass::kBackward, DType::kF32}}) {
          Problem p = example_problem(rule, pass, dtype);
          p.expansion = expansion;
          const std::size_t least = pass == Pass::kBackward ? 3 : 1;
          EXPECT_EQ(device->plan(p).launches.size() > least, several);
          check(*device, p, 11, Gates::kModel);
        }
      }
    }
  }
};

TEST_F(VulkanReduced, WithoutShuffles) {
  check_all([](DeviceLimits& limits) { limits.subgroup_shuffle = false; }, 3, {}, false);
}

TEST_F(VulkanReduced, SubheadsInSeveralLaunches) {
  check_all([](DeviceLimits& limits) { limits.max_workgroup_size = 64; }, 33, {}, true);
}

TEST_F(VulkanReduced, TokensInSeveralLaunches) {
  check_all([](DeviceLimits&) {}, 3, {.flop = 1e11, .tokens = 20}, true);
}

// Packed sequences of which some end before the first stretch does, and one is empty.
TEST_F(VulkanReduced, PackedBackwardInStretches) {
  std::string why;
  const auto instance = vulkan::create_instance(why);
  ASSERT_TRUE(instance) << why;
  for (const vulkan::PhysicalDevice& physical : vulkan::find_physical_devices(instance, why)) {
    const auto device = vulkan::make_device(physical, {.flop = 1e11, .tokens = 40});
    Problem p = example_problem(Rule::kGatedDelta, Pass::kBackward);
    p.batch = 1;
    p.seq_len = 150;
    p.sequences = 4;
    p.packed = true;
    TensorSet inputs = round_inputs(p, generate_inputs(p, 4));
    const std::int32_t ends[] = {0, 7, 7, 120, 150};
    std::ranges::copy(ends, inputs[Slot::kCuSeqlens].as<std::int32_t>().begin());
    EXPECT_GT(device->plan(p).launches.size(), 3u);
    for (const OutputError& e : compare_outputs(p, run(*device, p, inputs), cpu::run_recurrent(p, inputs)))
      EXPECT_TRUE(e.ok()) << name(e.slot) << " " << e.error;
  }
}

// The first queue that is submitted to is lost from then on; the others are not.
PFN_vkQueueSubmit real_submit = nullptr;
VkQueue lost_queue = VK_NULL_HANDLE;
VkResult lose_the_first_queue(VkQueue queue, std::uint32_t count, const VkSubmitInfo* submits,
                              VkFence fence) {
  if (!lost_queue) lost_queue = queue;
  return queue == lost_queue ? VK_ERROR_DEVICE_LOST : real_submit(queue, count, submits, fence);
}

TEST_F(VulkanReduced, ALostDeviceIsReportedAndOthersGoOn) {
  const Problem p = example_problem(Rule::kGla);
  const TensorSet inputs = generate_inputs(p, 2);
  BackendStatus status{Api::kVulkan, false, ""};
  std::vector<DeviceEntry> entries = vulkan::find_devices(status);
  ASSERT_FALSE(entries.empty()) << status.reason;
  {
    std::vector<std::shared_ptr<Device>> opened;
    for (const DeviceEntry& entry : entries) opened.push_back(entry.open());
    const auto execution = opened[0]->prepare(opened[0]->plan(p));
    execution->upload(inputs);
    real_submit = std::exchange(vulkan::vkQueueSubmit, lose_the_first_queue);
    try {
      execution->run();
      ADD_FAILURE() << "a lost device ran";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_EQ(std::string(error.what()),
                "vkQueueSubmit on " + entries[0].info.description + ": VK_ERROR_DEVICE_LOST");
    }
    EXPECT_THROW(execution->time(1), Error) << "and stays lost";
    for (std::size_t i = 1; i < opened.size(); ++i) check(*opened[i], p, 2, Gates::kModel);
    vulkan::vkQueueSubmit = real_submit;
  }
  check(*entries[0].open(), p, 2, Gates::kModel);  // opened anew
}

TEST_F(VulkanReduced, ComparisonTokensInSeveralLaunches) {
  std::string why;
  const auto instance = vulkan::create_instance(why);
  ASSERT_TRUE(instance) << why;
  for (const vulkan::PhysicalDevice& physical : vulkan::find_physical_devices(instance, why)) {
    Problem p = example_problem(Rule::kGatedDelta);
    p.series = Series::kComparison;
    check(*vulkan::make_device(physical, {.flop = 1e11, .tokens = 20}), p, 11, Gates::kModel);
  }
}

TEST_F(VulkanReduced, ABrokenPipelineCacheIsIgnored) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("statescope_cache_" + std::to_string(getpid()));
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string old = before ? before : "";
  setenv("XDG_CACHE_HOME", directory.c_str(), 1);
  std::string why;
  const auto instance = vulkan::create_instance(why);
  ASSERT_TRUE(instance) << why;
  for (const vulkan::PhysicalDevice& physical : vulkan::find_physical_devices(instance, why)) {
    const auto path = vulkan::pipeline_cache_path(physical);
    EXPECT_EQ(path.parent_path(), directory / "statescope");
    const Problem p = example_problem(Rule::kLinear);
    check(*vulkan::make_device(physical, vulkan::launch_bounds(physical)), p, 1, Gates::kNone);
    ASSERT_TRUE(std::filesystem::exists(path));
    const auto size = std::filesystem::file_size(path);
    check(*vulkan::make_device(physical, vulkan::launch_bounds(physical)), p, 1,
          Gates::kNone);  // from the whole file
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(size) - 1);
      file.put('\x5a');
    }
    check(*vulkan::make_device(physical, vulkan::launch_bounds(physical)), p, 1,
          Gates::kNone);  // one byte changed
    std::filesystem::resize_file(path, size / 2);
    check(*vulkan::make_device(physical, vulkan::launch_bounds(physical)), p, 1, Gates::kNone);  // cut off
    EXPECT_GT(std::filesystem::file_size(path), size / 2)
        << "written anew";  // a driver may pack it otherwise
  }
  std::filesystem::remove_all(directory);
  if (before) {
    setenv("XDG_CACHE_HOME", old.c_str(), 1);
  } else {
    unsetenv("XDG_CACHE_HOME");
  }
}

}  // namespace
}  // namespace statescope
