// Profiling on a real Vulkan device, and the program from end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include <statescope/error.h>

#include "profiler/capture.h"
#include "profiler/resources.h"
#include "profiler/static_report.h"
#include "tests/cli/program.h"

namespace statescope {
namespace {

using nlohmann::json;

SweepOptions small_sweep() {
  SweepOptions options;
  options.expansions = {1, 2};
  options.seq_len = 32;
  options.key_dim = options.value_dim = 32;
  options.seconds_per_cell = 0.02;
  options.min_runs = 8;
  return options;
}

constexpr const char* kDevice = "vulkan:0";  // hardware, else llvmpipe

class OnVulkan : public testing::Test {
 protected:
  void SetUp() override { device_ = open_device(discover(), kDevice); }
  std::shared_ptr<Device> device_;
};

TEST_F(OnVulkan, LaunchesStandWithinTheHostsTime) {
  const Capture capture = profile({device_}, {small_sweep(), false});
  EXPECT_EQ(exit_code(capture), 0);
  const TimelineSnapshot& timeline = capture.timeline;
  std::vector<Span> host, queue;
  for (const Span& span : timeline.spans) {
    if (timeline.lanes[span.lane].kind == LaneKind::kVulkanQueue) queue.push_back(span);
    if (span.info->name == "time") host.push_back(span);
  }
  std::size_t measured = 0, launches = 0;
  for (const CaptureEntry& entry : capture.entries) {
    measured += entry.status == SweepStatus::kMeasured;
    launches += entry.runs.size() * entry.launches.size();
  }
  EXPECT_EQ(host.size(), measured);
  EXPECT_GE(queue.size(), launches);                    // warm-up is in no sample, but ran
  ASSERT_FALSE(capture.devices[0].info.clock.empty());  // calibrated timestamps
  constexpr std::int64_t kSlack = 1'000'000;            // a millisecond: two clocks, read one after the other
  for (const Span& launch : queue) {
    EXPECT_TRUE(std::ranges::any_of(host,
                                    [&](const Span& span) {
                                      return span.begin_ns - kSlack <= launch.begin_ns &&
                                             launch.end_ns <= span.end_ns + kSlack;
                                    }))
        << launch.info->name << " at " << launch.begin_ns;
  }
}

TEST_F(OnVulkan, SharedMemoryIsWhatTheTableSays) {
  const Capture capture = profile({device_}, {small_sweep(), false});
  const std::vector<KernelResources> all = resources_of(capture);
  ASSERT_FALSE(all.empty());
  for (const KernelResources& resources : all) {
    ASSERT_TRUE(resources.shared_memory_agrees.has_value()) << resources.launch.kernel;
    EXPECT_TRUE(*resources.shared_memory_agrees) << resources.launch.kernel;
  }
}

TEST_F(OnVulkan, CapturesKeepCodeWhenAsked) {
  SweepOptions sweep = small_sweep();
  sweep.expansions = {1};
  sweep.series = {SweepSeries::kProduction};
  const Capture capture = profile({device_}, {sweep, true});
  ASSERT_EQ(capture.entries.size(), 1u);
  ASSERT_FALSE(capture.entries[0].compiled.empty());
  const auto& texts = capture.entries[0].compiled[0].representations;
  EXPECT_TRUE(std::ranges::any_of(
      texts, [](const auto& text) { return text.name == "SPIR-V" && !text.text.empty(); }));
}

TEST_F(OnVulkan, StaticReportsHaveEveryKernelOfTheTable) {
  StaticOptions options;
  options.rule = Rule::kSsd;
  options.dtype = DType::kF32;
  options.key_dim = options.value_dim = 32;
  const StaticReport report = static_report(*device_, options);
  for (const Variant& variant : vulkan_variants()) {
    if (!has(variant.rules, Rule::kSsd) || !has(variant.dtypes, DType::kF32)) continue;
    EXPECT_TRUE(std::ranges::any_of(report.kernels, [&](const StaticKernel& kernel) {
      return kernel.compiled.kernel.starts_with(variant.name) ||
             kernel.refusal.find(variant.name) != std::string::npos;
    })) << variant.name;
  }
  EXPECT_EQ(static_json(parse_static_json(static_json({report}))), static_json({report}));
}

TEST(Program, ProfilesComparesAndRefuses) {
  const TemporaryDirectory folder;
  const std::string a = folder / "a.json", b = folder / "b.json", trace = folder / "t.json",
                    csv = folder / "t.csv";
  ProcessResult result = statescope_program({"profile", "--device", kDevice, "--expansion", "1", "--seq-len",
                                             "32", "--key-dim", "32", "--value-dim", "32", "--seconds",
                                             "0.02", "--output", a, "--trace", trace, "--csv", csv});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("Roofline"), std::string::npos);
  EXPECT_TRUE(json::parse(std::ifstream(trace)).at("traceEvents").is_array());
  EXPECT_GT(std::filesystem::file_size(csv), 100u);

  EXPECT_EQ(statescope_program({"compare", a, a}).exit_code, 0);
  Capture slow = read_capture(a);
  for (CaptureEntry& entry : slow.entries) {
    for (RunTime& run : entry.runs) run.total *= 10;
  }
  write_capture(b, slow);
  result = statescope_program({"compare", a, b, "--threshold", "5%"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("slower"), std::string::npos) << result.out;
  EXPECT_EQ(statescope_program({"compare", b, a}).exit_code, 0);
  const json table = json::parse(statescope_program({"compare", a, b, "--json"}).out);
  EXPECT_EQ(table.at("rows").at(0).at("verdict"), "slower");

  expect_refusal({"compare", a, trace}, 2, {trace, "not a capture"});
  expect_refusal({"compare", a, a, "--threshold", "much"}, 2, {"--threshold", "much"});
  expect_refusal({"profile", "--device", kDevice}, 2, {"--output"});
}

TEST(AmdGpus, AreCompiledFor) {
  const ProcessResult result =
      statescope_program({"profile", "--static", "--target", "navi21,no-such-chip", "--rule", "gated_delta",
                          "--dtype", "f32", "--pass", "forward", "--json"});
  const std::vector<StaticReport> reports = parse_static_json(result.out);
  ASSERT_EQ(reports.size(), 2u);
  if (reports[0].absent.find("not installed") != std::string::npos) GTEST_SKIP() << reports[0].absent;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(reports[1].target, "no-such-chip");
  EXPECT_NE(reports[1].absent.find("no-such-chip"), std::string::npos) << reports[1].absent;
  EXPECT_EQ(reports[0].absent, "");
  EXPECT_NE(reports[0].device.description.find("NAVI21"), std::string::npos);
  int compiled = 0;
  for (const StaticKernel& kernel : reports[0].kernels) {
    if (!kernel.refusal.empty()) continue;
    ++compiled;
    const auto& statistics = kernel.compiled.statistics;
    EXPECT_GT(statistic_of(statistics, "VGPRs").value_or(0), 0) << kernel.compiled.kernel;
    EXPECT_GT(statistic_of(statistics, "Code size").value_or(0), 0) << kernel.compiled.kernel;
    // Predicted bytes are the compiler's bytes, to the driver's granularity.
    constexpr std::size_t kGranularity = 1024;
    const auto shared = static_cast<std::size_t>(statistic_of(statistics, "LDS size").value_or(0));
    EXPECT_GE(shared, kernel.launch.shared_memory_bytes) << kernel.compiled.kernel;
    EXPECT_LT(shared, kernel.launch.shared_memory_bytes + kGranularity) << kernel.compiled.kernel;
  }
  EXPECT_GT(compiled, 0);
}

TEST(AmdGpus, ThatNobodyKnowsAreNamedWhateverWasAskedOfThem) {
  const ProcessResult result =
      statescope_program({"profile", "--static", "--target", "no-such-chip", "--rule", "ssd", "--dtype",
                          "f32", "--pass", "forward", "--code", "recurrent.ssd.forward"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE((result.out + result.err).find("no-such-chip"), std::string::npos) << result.out << result.err;
}

TEST(AmdGpus, ShowTheCodeOfAKernel) {
  const ProcessResult result =
      statescope_program({"profile", "--static", "--target", "navi21", "--rule", "ssd", "--dtype", "f32",
                          "--pass", "forward", "--code", "recurrent.ssd.forward"});
  if (result.out.find("not installed") != std::string::npos) GTEST_SKIP() << result.out;
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("Assembly"), std::string::npos);
  EXPECT_NE(result.out.find("s_endpgm"), std::string::npos);
  EXPECT_NE(result.out.find("SPIR-V"), std::string::npos);
}

}  // namespace
}  // namespace statescope
