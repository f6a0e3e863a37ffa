// Device time, and where it lies on the host's clock.
#pragma once

#include <optional>
#include <vector>

#include "runtime/vulkan/gpu.h"

namespace statescope::vulkan {

/// Two timestamps a launch, for a fixed number of launches. Without device timestamps nothing is written.
struct TimestampPool {
  std::shared_ptr<Gpu> gpu;
  VkQueryPool handle = VK_NULL_HANDLE;
  std::uint32_t launches = 0;
  TimestampPool(const std::shared_ptr<Gpu>& on, std::uint32_t launch_count);
  TimestampPool(const TimestampPool&) = delete;
  TimestampPool& operator=(const TimestampPool&) = delete;
  ~TimestampPool();
};

/// Before the first launch that is timed: between two of them it would count (5 us on an H200).
void reset_timestamps(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t first,
                      std::uint32_t count);
void write_begin(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t launch);
void write_end(VkCommandBuffer commands, const TimestampPool& pool, std::uint32_t launch);

/// Seconds on the device's clock (from some zero), of launches [first, first + count).
struct Span {
  double begin = 0, end = 0;
};
std::vector<Span> read_spans(const TimestampPool& pool, std::uint32_t first, std::uint32_t count);

/// Seconds to add to the device's clock to get std::chrono::steady_clock; nothing where the driver cannot
/// tell.
std::optional<double> host_clock_offset(const Gpu& gpu);

/// How host_clock_offset() does it; empty where it cannot.
std::string host_clock_name(const PhysicalDevice& physical);

}  // namespace statescope::vulkan
