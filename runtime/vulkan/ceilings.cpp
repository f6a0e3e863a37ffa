#include "runtime/vulkan/ceilings.h"

#include <algorithm>
#include <bit>
#include <chrono>

#include <statescope/error.h>

#include "runtime/vulkan/binding.h"
#include "runtime/vulkan/timestamps.h"

namespace statescope::vulkan {
namespace {

// Copied bytes: ten times the largest cache on a GPU (AMD's 96 to 256 MB), past a processor's on software
// devices.
constexpr std::uint64_t kHardwareCopyBytes = std::uint64_t(1) << 30;
constexpr std::uint64_t kSoftwareCopyBytes = std::uint64_t(64) << 20;
// A measurement of this length is past a GPU's climb to its clock.
constexpr double kSeconds = 0.05;
constexpr int kRounds = 4;
constexpr std::uint32_t kThreads = 128;
constexpr std::uint32_t kMatrixSums = 8;  // of ceiling_matrix.comp

/// Seconds of one dispatch, best of a few.
double best_time(const std::shared_ptr<Gpu>& gpu, const BoundPipeline& bound, std::uint32_t workgroups,
                 int rounds) {
  const TimestampPool timestamps(gpu, 1);
  double best = 1e9;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    run_once(*gpu, [&](VkCommandBuffer commands) {
      reset_timestamps(commands, timestamps, 0, 1);
      write_begin(commands, timestamps, 0);
      record_dispatch(commands, bound, {workgroups, 1, 1});
      write_end(commands, timestamps, 0);
    });
    const std::vector<Span> spans = read_spans(timestamps, 0, 1);
    const double by_host = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, spans.empty() ? by_host : spans[0].end - spans[0].begin);
  }
  return best;
}

double copy_rate(const std::shared_ptr<Gpu>& gpu) {
  const PhysicalDevice& physical = gpu->physical;
  std::uint64_t bytes = physical.info.hardware ? kHardwareCopyBytes : kSoftwareCopyBytes;
  bytes = std::min<std::uint64_t>(bytes, physical.properties.limits.maxStorageBufferRange);
  bytes = std::bit_floor(std::min(bytes, device_memory_bytes(physical) / 8));
  const Buffer source = create_buffer(gpu, bytes, Place::kDevice);
  const Buffer target = create_buffer(gpu, bytes, Place::kDevice);
  const auto find = [&](const std::string& name) {
    return name == "source" ? &source : name == "target" ? &target : nullptr;
  };
  run_once(*gpu, [&](VkCommandBuffer commands) {
    vkCmdFillBuffer(commands, source.handle, 0, VK_WHOLE_SIZE, 0x3f800000u);
  });
  const PipelineRequest request{"ceiling_copy", {}, kThreads, 0};
  const auto quads = static_cast<std::uint32_t>(bytes / 16);
  const BoundPipeline bound = bind_pipeline(get_pipeline(*gpu, request), find, {{"quads", quads}});
  // Four quads a thread: loads in flight without a tail.
  const std::uint32_t workgroups =
      std::min(quads / (4 * kThreads), physical.properties.limits.maxComputeWorkGroupCount[0]);
  return 2.0 * static_cast<double>(bytes) / best_time(gpu, bound, workgroups, kRounds);
}

/// Of bf16 factors where there are such, else of f16. Throws Error(kDevice) when the products are wrong.
double matrix_rate(const std::shared_ptr<Gpu>& gpu) {
  const DeviceLimits& limits = gpu->physical.info.limits;
  const bool bfloat16 = limits.cooperative_matrix_bf16;
  if (!bfloat16 && !limits.cooperative_matrix_f16) return 0;
  const MatrixShape shape = bfloat16 ? limits.matrix_bf16 : limits.matrix_f16;
  const std::uint32_t subgroup = std::clamp(32u, limits.subgroup_min, limits.subgroup_max);
  const std::uint32_t workgroups = gpu->physical.info.hardware ? 4096 : 16;
  const std::uint32_t subgroups = workgroups * (kThreads / subgroup), elements = shape.m * shape.n;
  PipelineRequest request{
      "ceiling_matrix", {{"M", shape.m}, {"N", shape.n}, {"K", shape.k}}, kThreads, subgroup, bfloat16};

  const Buffer source = create_buffer(gpu, std::max(shape.m, shape.n) * shape.k * 2, Place::kDevice);
  const Buffer target = create_buffer(gpu, std::uint64_t(subgroups) * elements * 4, Place::kDevice);
  const auto find = [&](const std::string& name) { return name == "source" ? &source : &target; };
  run_once(*gpu, [&](VkCommandBuffer commands) {
    vkCmdFillBuffer(commands, source.handle, 0, VK_WHOLE_SIZE, bfloat16 ? 0x3f803f80u : 0x3c003c00u);
  });
  double rate = 0;
  for (std::uint32_t rounds = 16;; rounds *= 4) {
    const BoundPipeline bound = bind_pipeline(get_pipeline(*gpu, request), find, {{"rounds", rounds}});
    const double seconds = best_time(gpu, bound, workgroups, 2);
    std::vector<float> sums(elements);
    download(target, std::as_writable_bytes(std::span(sums)));
    const auto wanted = static_cast<float>(kMatrixSums * rounds * shape.k);
    if (std::any_of(sums.begin(), sums.end(), [&](float x) { return x != wanted; }))
      throw Error(ErrorKind::kDevice,
                  "cooperative matrices give wrong products on " + gpu->physical.info.description);
    rate = std::max(rate, 2.0 * kMatrixSums * rounds * shape.k * elements * subgroups / seconds);
    if (seconds > kSeconds || rounds >= 1u << 14) return rate;
  }
}

double multiply_add_rate(const std::shared_ptr<Gpu>& gpu) {
  // Enough threads for any GPU; software needs only enough for its cores.
  const std::uint32_t workgroups = gpu->physical.info.hardware ? 16384 : 64;
  const Buffer target = create_buffer(gpu, std::uint64_t(workgroups) * kThreads * 16, Place::kDevice);
  const auto find = [&](const std::string&) { return &target; };
  const PipelineRequest request{"ceiling_fma", {}, kThreads, 0};
  double rate = 0;
  // Longer until the measurement is long enough; 128 flop a thread and round.
  for (std::uint32_t rounds = 16;; rounds *= 4) {
    const BoundPipeline bound =
        bind_pipeline(get_pipeline(*gpu, request), find,
                      {{"rounds", rounds}, {"factor", std::bit_cast<std::uint32_t>(0.999f)}});
    const double seconds = best_time(gpu, bound, workgroups, 2);
    rate = std::max(rate, 128.0 * rounds * workgroups * kThreads / seconds);
    if (seconds > kSeconds || rounds >= 1u << 14) return rate;
  }
}

}  // namespace

Ceilings measure_ceilings(const std::shared_ptr<Gpu>& gpu) {
  Ceilings out;
  out.copy_bytes_per_second = copy_rate(gpu);
  out.f32_flop_per_second = multiply_add_rate(gpu);
  out.matrix_flop_per_second = matrix_rate(gpu);
  return out;
}

}  // namespace statescope::vulkan
