// What ran when: spans on lanes, one lane a host thread, a Vulkan queue or a CUDA stream. All times are
// nanoseconds of std::chrono::steady_clock. Memory is bounded: the newest spans stay.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include <statescope/device.h>

namespace statescope {

enum class LaneKind { kHostThread, kVulkanQueue, kCudaStream };
std::string_view name(LaneKind kind);  ///< "host thread", "vulkan queue", "cuda stream"

struct Lane {
  LaneKind kind = LaneKind::kHostThread;
  std::string name;   ///< "main", "vulkan:0 queue"
  std::string clock;  ///< how its times were placed on the host's clock; "host" on host threads
};

/// Number or word: flop, bytes, expansion; rule, pass.
struct SpanArgument {
  std::string name;
  std::variant<double, std::string> value;
};

/// What spans of the same thing share.
struct SpanInfo {
  std::string name;
  std::vector<SpanArgument> arguments;
};

struct Span {
  std::uint32_t lane = 0;
  std::int64_t begin_ns = 0, end_ns = 0;
  std::shared_ptr<const SpanInfo> info;
};

struct TimelineSnapshot {
  std::vector<Lane> lanes;
  std::vector<Span> spans;    ///< by begin, the longer first
  std::uint64_t dropped = 0;  ///< spans that newer ones pushed out
};

/// Any thread may record while any other reads.
class Timeline {
 public:
  static constexpr std::size_t kDefaultCapacity = 1 << 16;  ///< 3 MB of spans
  static constexpr std::size_t kMaxLanes = 256;

  explicit Timeline(std::size_t capacity = kDefaultCapacity, bool enabled = true);

  bool enabled() const { return enabled_.load(std::memory_order_relaxed); }
  void enable(bool on) { enabled_.store(on, std::memory_order_relaxed); }

  /// The lane of that name, made when there is none. Throws Error(kUsage) past kMaxLanes.
  std::uint32_t lane(LaneKind kind, const std::string& name, const std::string& clock);

  /// Does nothing when off.
  void record(std::uint32_t lane, std::int64_t begin_ns, std::int64_t end_ns,
              std::shared_ptr<const SpanInfo> info);

  TimelineSnapshot snapshot() const;
  void clear();

 private:
  std::atomic<bool> enabled_;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::vector<Lane> lanes_;
  std::vector<Span> ring_;      // grows to capacity_, then wraps
  std::uint64_t recorded_ = 0;  // ever; the oldest span in the ring is recorded_ - ring_.size()
};

/// Now, on the clock of every span.
std::int64_t host_now_ns();

/// A span of the calling thread's lane, from construction to destruction. `timeline` may be null; the cost is
/// then a branch.
class HostSpan {
 public:
  HostSpan(Timeline* timeline, const char* name);
  ~HostSpan();
  HostSpan(const HostSpan&) = delete;
  HostSpan& operator=(const HostSpan&) = delete;

 private:
  Timeline* timeline_;  // null when off
  const char* name_;
  std::uint32_t lane_ = 0;
  std::int64_t begin_ns_ = 0;
};

/// rule, pass, form, type, E, B, T, H, K, V, bytes (least that must move) and flop of a run.
std::vector<SpanArgument> arguments_of(const Problem& problem);

/// Every launch of `runs`, which ended at `end_ns` at the latest, on the device's lane. Where the device's
/// clock is not on the host's (RunTime::begins empty) launches are laid back to back before `end_ns`, and the
/// lane's clock says "estimated".
void record_runs(Timeline& timeline, const DeviceInfo& device, const Plan& plan,
                 const std::vector<RunTime>& runs, std::int64_t end_ns);

}  // namespace statescope
