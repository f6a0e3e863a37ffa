// The kernel table, resources and roofline against hand values, and a real capture of the cpu device.
#include "profiler/kernel_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <statescope/cost.h>

#include "profiler/resources.h"
#include "profiler/roofline.h"
#include "tests/profiler/synthetic.h"

namespace statescope {
namespace {

TEST(KernelTable, RowsByHand) {
  const Capture capture = synthetic_capture();
  const std::vector<KernelRow> table = kernel_table(capture, 4);
  ASSERT_EQ(table.size(), 2u);
  const KernelRow& first = table[0];  // 8 ms in all, against 6 ms
  EXPECT_EQ(first.entry, 1u);
  EXPECT_EQ(first.calls, 2u);
  EXPECT_DOUBLE_EQ(first.total, 8e-3);
  EXPECT_DOUBLE_EQ(first.share, 8.0 / 14);
  const KernelRow& second = table[1];
  EXPECT_EQ(second.calls, 3u);
  EXPECT_DOUBLE_EQ(second.seconds.min, 1e-3);
  EXPECT_DOUBLE_EQ(second.seconds.median, 2e-3);
  EXPECT_DOUBLE_EQ(second.p95, 2.9e-3);
  EXPECT_DOUBLE_EQ(second.seconds.max, 3e-3);
  EXPECT_EQ(second.histogram.counts, (std::vector<std::size_t>{1, 0, 1, 1}));
  const Problem& problem = capture.entries[0].problem;
  EXPECT_DOUBLE_EQ(*second.flop_per_second, flop(problem, Form::kRecurrent) / 2e-3);
  EXPECT_DOUBLE_EQ(*second.bytes_per_second, minimum_bytes(problem) / 2e-3);
  EXPECT_DOUBLE_EQ(*second.share_of_copy, *second.bytes_per_second / 4e12);
  EXPECT_DOUBLE_EQ(*second.share_of_compute, *second.flop_per_second / 6e13);
}

TEST(KernelTable, LaunchesStandUnderTheirRun) {
  Capture capture = synthetic_capture();
  CaptureEntry& entry = capture.entries[0];
  entry.launches.push_back(entry.launches[0]);
  entry.launches[1].kernel = "test.sum";
  entry.runs = {{5e-3, {3e-3, 1e-3}}, {5e-3, {3e-3, 1e-3}}};
  const std::vector<KernelRow> table = kernel_table(capture);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_TRUE(table[0].whole_run);
  EXPECT_DOUBLE_EQ(table[0].total, 10e-3);
  EXPECT_DOUBLE_EQ(table[0].share, 10.0 / 18);
  EXPECT_EQ(table[1].kernel, "test.recurrent.forward");
  EXPECT_DOUBLE_EQ(table[1].total, 6e-3);
  EXPECT_FALSE(table[1].flop_per_second);
  EXPECT_EQ(table[2].kernel, "test.sum");
  EXPECT_DOUBLE_EQ(table[2].seconds.median, 1e-3);
}

TEST(KernelTable, AClockTooCoarseGivesNoRates) {
  Capture capture = synthetic_capture();
  capture.entries.resize(1);
  capture.entries[0].runs = {{0, {0}}, {0, {0}}};
  const std::vector<KernelRow> table = kernel_table(capture);
  ASSERT_EQ(table.size(), 1u);
  EXPECT_FALSE(table[0].flop_per_second);
  EXPECT_EQ(table[0].share, 0);
  EXPECT_TRUE(roofline(capture).empty());
}

TEST(Resources, TheTightestLimitIsNamed) {
  DeviceLimits limits = synthetic_device().info.limits;  // 100 KB, 1536 threads, 65536 registers
  Launch launch;
  launch.workgroup_size = 64;
  launch.shared_memory_bytes = 19 * 1024;  // 20 KB with CUDA's own: 5 workgroups
  KernelResources resources = resources_of(launch, {}, 0, limits);
  EXPECT_EQ(resources.workgroups_per_multiprocessor, 5);
  EXPECT_EQ(resources.limited_by, "shared memory");
  EXPECT_DOUBLE_EQ(resources.occupancy, 5.0 * 64 / 1536);
  EXPECT_FALSE(resources.shared_memory_agrees);
  launch.registers = 255;  // 8192 a warp, 16384 a workgroup: 4
  launch.reported_shared_memory_bytes = 19 * 1024;
  resources = resources_of(launch, {}, 0, limits);
  EXPECT_EQ(resources.workgroups_per_multiprocessor, 4);
  EXPECT_EQ(resources.limited_by, "registers");
  EXPECT_TRUE(*resources.shared_memory_agrees);
  launch.reported_shared_memory_bytes = 20 * 1024;
  EXPECT_FALSE(*resources_of(launch, {}, 0, limits).shared_memory_agrees);
  limits.shared_memory_per_multiprocessor = 0;
  EXPECT_EQ(resources_of(launch, {}, 0, limits).limited_by, "");
}

TEST(Resources, AmdOccupancyNamesItsLimit) {
  DeviceLimits rdna;
  rdna.api = Api::kVulkan;
  rdna.subgroup_min = 32;
  rdna.subgroup_max = 64;
  rdna.max_threads_per_multiprocessor = 2048;
  Launch launch;
  launch.workgroup_size = 256;
  const auto reported = [&](double subgroups, double shared, const DeviceLimits& limits) {
    return *resources_of(launch, {{"Subgroups per SIMD", subgroups}, {"LDS size", shared}}, 64, limits)
                .reported;
  };
  // 20992 B a workgroup of four subgroups of 64: 32768 / 5248 rounds up to 7, 14 in subgroups of 32.
  EXPECT_EQ(reported(14, 20992, rdna).limited_by, "shared memory");
  EXPECT_DOUBLE_EQ(reported(14, 20992, rdna).fraction, 14.0 / 32);
  EXPECT_EQ(reported(12, 20992, rdna).limited_by, "registers");
  EXPECT_EQ(reported(32, 1024, rdna).limited_by, "");
  DeviceLimits gcn = rdna;
  gcn.subgroup_min = 64;
  gcn.max_threads_per_multiprocessor = 2560;
  EXPECT_EQ(reported(4, 20992, gcn).limited_by, "shared memory");
  EXPECT_DOUBLE_EQ(reported(4, 20992, gcn).fraction, 0.4);
  EXPECT_FALSE(resources_of(launch, {{"VGPRs", 24}}, 64, rdna).reported);
}

TEST(Roofline, PointsByHand) {
  const Capture capture = synthetic_capture();
  const std::vector<RooflinePoint> points = roofline(capture);
  ASSERT_EQ(points.size(), 2u);
  const Problem& problem = capture.entries[0].problem;
  const double intensity = flop(problem, Form::kRecurrent) / minimum_bytes(problem);
  EXPECT_DOUBLE_EQ(points[0].intensity, intensity);
  EXPECT_DOUBLE_EQ(points[0].flop_per_second, flop(problem, Form::kRecurrent) / 2e-3);
  EXPECT_EQ(points[0].compute_roof, "f32");
  EXPECT_DOUBLE_EQ(points[0].ceiling, std::min(6e13, intensity * 4e12));
  EXPECT_EQ(points[0].bound, intensity * 4e12 < 6e13 ? "memory" : "compute");
  EXPECT_DOUBLE_EQ(points[0].share(), points[0].flop_per_second / points[0].ceiling);
}

TEST(Roofline, MatrixUnitsAreTheRoofOf16BitChunkedKernelsOnly) {
  const Ceilings ceilings{1e12, 1e13, 1e14};
  EXPECT_EQ(compute_roof(synthetic_problem(1, Form::kChunked), ceilings).name, "matrix");
  EXPECT_EQ(compute_roof(synthetic_problem(1, Form::kRecurrent), ceilings).name, "f32");
  Problem f32 = synthetic_problem(1, Form::kChunked);
  f32.dtype = DType::kF32;
  EXPECT_EQ(compute_roof(f32, ceilings).flop_per_second, 1e13);
  EXPECT_EQ(compute_roof(synthetic_problem(1, Form::kChunked), {1e12, 1e13, 0}).name, "f32");
}

TEST(Roofline, TheDrawingHasEveryPointUnderTheRoof) {
  const Capture capture = synthetic_capture();
  const std::string chart = draw_roofline(capture, roofline(capture), 0, 60, 12);
  EXPECT_NE(chart.find('a'), std::string::npos);
  EXPECT_NE(chart.find('b'), std::string::npos);
  EXPECT_NE(chart.find('/'), std::string::npos);
  EXPECT_NE(chart.find("---"), std::string::npos);
  EXPECT_NE(chart.find("flop/s"), std::string::npos);
  EXPECT_EQ(std::ranges::count(chart, '\n'), 14);
}

TEST(Profile, TheCpuEndToEnd) {
  const DeviceList list = discover();
  const auto cpu = open_device(list, "cpu");
  ProfileOptions options;
  options.sweep.expansions = {1, 2};
  options.sweep.series = {SweepSeries::kNaive, SweepSeries::kProduction};
  options.sweep.seq_len = 16;
  options.sweep.key_dim = options.sweep.value_dim = 16;
  options.sweep.seconds_per_cell = 0.01;
  options.sweep.min_runs = 8;
  const Capture capture = profile({cpu}, options);
  EXPECT_EQ(exit_code(capture), 0);
  ASSERT_EQ(capture.entries.size(), 4u);
  for (const CaptureEntry& entry : capture.entries) {
    EXPECT_EQ(entry.status, SweepStatus::kMeasured) << entry.reason;
    EXPECT_GE(entry.runs.size(), 8u);
  }
  const Capture back = parse_capture(capture_json(capture), "cpu");
  EXPECT_EQ(capture_json(back), capture_json(capture));
  EXPECT_EQ(kernel_table(back).size(), 4u);
  // Host phases and device launches are both there, and start at zero.
  const auto spans_named = [&](const std::string& name) {
    return std::ranges::count_if(capture.timeline.spans, [&](const Span& s) { return s.info->name == name; });
  };
  EXPECT_EQ(spans_named("time"), 4);
  EXPECT_EQ(spans_named("check"), 4);
  EXPECT_GE(spans_named(capture.entries[0].launches[0].kernel), 16);
  EXPECT_EQ(capture.timeline.spans.front().begin_ns, 0);
}

}  // namespace
}  // namespace statescope
