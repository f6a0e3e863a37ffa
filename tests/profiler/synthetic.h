// Captures made up for tests: every field set to something that is not its default.
#pragma once

#include "profiler/capture.h"
#include "runtime/check/random.h"

namespace statescope {

inline Problem synthetic_problem(std::int64_t expansion, Form form = Form::kRecurrent) {
  Problem problem;
  problem.form = form;
  problem.dtype = DType::kBf16;
  problem.batch = problem.sequences = 2;
  problem.seq_len = 64;
  problem.heads = problem.qk_heads = 4;
  problem.expansion = expansion;
  problem.scale = default_scale(problem.key_dim);
  return problem;
}

/// Times around `median` with a relative spread of `noise`, skewed to the slow side as real ones are.
inline std::vector<double> noisy_times(double median, double noise, int count, Random& random) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const double x = random.normal();
    times.push_back(median * (1 + noise * (x > 0 ? 1.5 * x : std::max(x, -2.0))));
  }
  return times;
}

inline CaptureEntry synthetic_entry(std::int64_t expansion, const std::vector<double>& times) {
  CaptureEntry entry;
  entry.problem = synthetic_problem(expansion);
  entry.expansion = expansion;
  entry.kernel = "test.recurrent.forward";
  entry.geometry.workgroup_size = 64;
  entry.geometry.tile_bytes = 4096;
  Launch launch;
  launch.kernel = entry.kernel;
  launch.workgroups = {3, 2, 1};
  launch.workgroup_size = 64;
  launch.shared_memory_bytes = 4096;
  launch.reported_shared_memory_bytes = 4096;
  launch.registers = 40;
  launch.spill_bytes = 0;
  launch.occupancy = 0.75;
  entry.launches = {launch};
  entry.device_memory_bytes = 12345;
  entry.input_sets = 3;
  entry.errors = {{"o", 1e-6, 1e-5}, {"ht", std::nullopt, 1e-5}};
  for (const double seconds : times) entry.runs.push_back({seconds, {seconds}});
  return entry;
}

inline CapturedDevice synthetic_device(Api api = Api::kCuda) {
  CapturedDevice device;
  device.info.name = api == Api::kCuda ? "cuda:0" : "vulkan:0";
  device.info.api = api;
  device.info.description = "Test, \"device\"";
  device.info.driver = "driver 1";
  device.info.hardware = true;
  device.info.clock = "test clock";
  device.info.uuid = {1, 2, 3, 0xfe};
  device.info.notes = {"a note"};
  device.info.limits.api = api;
  device.info.limits.shared_memory_per_workgroup = 101376;
  device.info.limits.shared_memory_per_multiprocessor = 102400;
  device.info.limits.max_threads_per_multiprocessor = 1536;
  device.info.limits.registers_per_multiprocessor = 65536;
  device.ceilings = {4e12, 6e13, 7e14};
  return device;
}

inline Capture synthetic_capture() {
  Capture capture;
  capture.version = "0.1.0";
  capture.commit = "abc";
  capture.created = "2026-08-01T12:00:00Z";
  capture.devices = {synthetic_device()};
  capture.entries = {synthetic_entry(1, {2e-3, 1e-3, 3e-3}), synthetic_entry(8, {4e-3, 4e-3})};
  capture.entries[1].compiled = {
      {"test.recurrent.forward", {{"VGPRs", 24}}, {{"Assembly", "s_endpgm \"x\"\n"}}, {}, "symbol"}};
  CaptureEntry refused;
  refused.problem = synthetic_problem(16);
  refused.series = SweepSeries::kNaive;
  refused.expansion = 16;
  refused.status = SweepStatus::kRefused;
  refused.reason = "naive: state 262144 B > 101376 B";
  capture.entries.push_back(refused);
  capture.timeline.lanes = {{LaneKind::kHostThread, "thread 1", "host"},
                            {LaneKind::kCudaStream, "cuda:0 stream", "test clock"}};
  const auto info = std::make_shared<SpanInfo>(
      "test.recurrent.forward", std::vector<SpanArgument>{{"rule", std::string("gla")}, {"E", 8.0}});
  capture.timeline.spans = {{0, 0, 9'000, std::make_shared<SpanInfo>("time", std::vector<SpanArgument>{})},
                            {1, 1'000, 2'000, info},
                            {1, 2'000, 3'500, info}};
  capture.timeline.dropped = 7;
  return capture;
}

}  // namespace statescope
