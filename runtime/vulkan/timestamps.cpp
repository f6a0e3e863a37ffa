#include "runtime/vulkan/timestamps.h"

#include <statescope/error.h>

namespace statescope::vulkan {
namespace {

/// Ticks beyond timestampValidBits are noise.
std::uint64_t valid(const Gpu& gpu, std::uint64_t ticks) {
  const std::uint32_t bits = gpu.physical.timestamp_bits;
  return bits >= 64 ? ticks : ticks & ((std::uint64_t(1) << bits) - 1);
}

double seconds(const Gpu& gpu, std::uint64_t ticks) {
  return static_cast<double>(ticks) * static_cast<double>(gpu.physical.properties.limits.timestampPeriod) *
         1e-9;
}

}  // namespace

TimestampPool::TimestampPool(const std::shared_ptr<Gpu>& on, std::uint32_t launch_count)
    : gpu(on), launches(launch_count) {
  if (gpu->physical.timestamp_bits == 0) return;
  VkQueryPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  info.queryType = VK_QUERY_TYPE_TIMESTAMP;
  info.queryCount = 2 * launches;
  check(vkCreateQueryPool(gpu->device, &info, nullptr, &handle), "vkCreateQueryPool");
}

TimestampPool::~TimestampPool() {
  if (handle) vkDestroyQueryPool(gpu->device, handle, nullptr);
}

void reset_timestamps(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t first,
                      std::uint32_t count) {
  if (pool.handle) vkCmdResetQueryPool(commands, pool.handle, 2 * first, 2 * count);
}

void write_begin(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t launch) {
  if (!pool.handle) return;
  // Bottom of pipe: once all before it is done; the top could be reached while the launch before still runs.
  vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool.handle, 2 * launch);
}

void write_end(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t launch) {
  if (pool.handle)
    vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool.handle, 2 * launch + 1);
}

std::vector<Span> read_spans(const TimestampPool& pool, std::uint32_t first, std::uint32_t count) {
  if (!pool.handle) return {};
  const Gpu& gpu = *pool.gpu;
  std::vector<std::uint64_t> ticks(2 * count);
  check(vkGetQueryPoolResults(gpu.device, pool.handle, 2 * first, 2 * count, ticks.size() * 8, ticks.data(),
                              8, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
        "vkGetQueryPoolResults");
  std::vector<Span> spans(count);
  const std::uint64_t zero = valid(gpu, ticks[0]);
  for (std::uint32_t i = 0; i < count; ++i) {
    // Differences first: the counter may wrap around within its valid bits.
    const double begin = seconds(gpu, valid(gpu, ticks[2 * i] - zero));
    const double length = seconds(gpu, valid(gpu, ticks[2 * i + 1] - ticks[2 * i]));
    spans[i] = {seconds(gpu, zero) + begin, seconds(gpu, zero) + begin + length};
  }
  return spans;
}

std::string host_clock_name(const PhysicalDevice& physical) {
  return physical.calibrated_timestamps ? "VK_EXT_calibrated_timestamps with CLOCK_MONOTONIC" : "";
}

std::optional<double> host_clock_offset(const Gpu& gpu) {
  if (!gpu.physical.calibrated_timestamps) return std::nullopt;
  VkCalibratedTimestampInfoEXT infos[2]{};
  infos[0].sType = infos[1].sType = VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT;
  infos[0].timeDomain = VK_TIME_DOMAIN_DEVICE_EXT;
  infos[1].timeDomain =
      VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT;  // what steady_clock reads on Linux, in nanoseconds
  std::uint64_t ticks[2]{}, deviation = 0;
  check(vkGetCalibratedTimestampsEXT(gpu.device, 2, infos, ticks, &deviation),
        "vkGetCalibratedTimestampsEXT");
  return static_cast<double>(ticks[1]) * 1e-9 - seconds(gpu, valid(gpu, ticks[0]));
}

}  // namespace statescope::vulkan
