#include "profiler/timeline.h"

#include <algorithm>
#include <chrono>
#include <set>

#include <statescope/cost.h>
#include <statescope/error.h>

namespace statescope {
namespace {

std::int64_t to_ns(double seconds) {
  return static_cast<std::int64_t>(seconds * 1e9);
}

LaneKind lane_kind(Api api) {
  switch (api) {
    case Api::kVulkan:
      return LaneKind::kVulkanQueue;
    case Api::kCuda:
      return LaneKind::kCudaStream;
    case Api::kCpu:
      return LaneKind::kHostThread;
  }
  return LaneKind::kHostThread;
}

/// The lowest number that no other living thread has, so that an app whose workers come and go keeps few
/// lanes.
class ThreadNumber {
 public:
  ThreadNumber() {
    const std::lock_guard lock(mutex());
    while (taken().contains(number_)) ++number_;
    taken().insert(number_);
  }
  ~ThreadNumber() {
    const std::lock_guard lock(mutex());
    taken().erase(number_);
  }
  std::string name() const { return "thread " + std::to_string(number_); }

 private:
  // Never destroyed: threads may end after main() has.
  static std::mutex& mutex() {
    static auto* const mutex = new std::mutex;
    return *mutex;
  }
  static std::set<int>& taken() {
    static auto* const taken = new std::set<int>;
    return *taken;
  }
  int number_ = 1;
};

}  // namespace

std::string_view name(LaneKind kind) {
  switch (kind) {
    case LaneKind::kHostThread:
      return "host thread";
    case LaneKind::kVulkanQueue:
      return "vulkan queue";
    case LaneKind::kCudaStream:
      return "cuda stream";
  }
  return "";
}

Timeline::Timeline(std::size_t capacity, bool enabled)
    : enabled_(enabled), capacity_(std::max<std::size_t>(capacity, 1)) {}

std::uint32_t Timeline::lane(LaneKind kind, const std::string& name, const std::string& clock) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].kind == kind && lanes_[i].name == name && lanes_[i].clock == clock)
      return static_cast<std::uint32_t>(i);
  }
  if (lanes_.size() == kMaxLanes)
    throw Error(ErrorKind::kUsage, "timeline: more than " + std::to_string(kMaxLanes) + " lanes");
  lanes_.push_back({kind, name, clock});
  return static_cast<std::uint32_t>(lanes_.size() - 1);
}

void Timeline::record(std::uint32_t lane, std::int64_t begin_ns, std::int64_t end_ns,
                      std::shared_ptr<const SpanInfo> info) {
  if (!enabled()) return;
  // The span that gives way is released after the lock.
  Span span{lane, begin_ns, end_ns, std::move(info)};
  const std::lock_guard lock(mutex_);
  if (ring_.size() < capacity_) {
    ring_.push_back(std::move(span));
  } else {
    std::swap(ring_[recorded_ % capacity_], span);
  }
  ++recorded_;
}

TimelineSnapshot Timeline::snapshot() const {
  TimelineSnapshot snapshot;
  {
    const std::lock_guard lock(mutex_);
    snapshot.lanes = lanes_;
    snapshot.spans = ring_;
    snapshot.dropped = recorded_ - ring_.size();
  }
  std::ranges::stable_sort(snapshot.spans, [](const Span& a, const Span& b) {
    return a.begin_ns != b.begin_ns ? a.begin_ns < b.begin_ns : a.end_ns > b.end_ns;
  });
  return snapshot;
}

void Timeline::clear() {
  const std::lock_guard lock(mutex_);
  ring_.clear();
  recorded_ = 0;
}

std::int64_t host_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

HostSpan::HostSpan(Timeline* timeline, const char* name)
    : timeline_(timeline && timeline->enabled() ? timeline : nullptr), name_(name) {
  if (!timeline_) return;
  thread_local const ThreadNumber number;
  lane_ = timeline_->lane(LaneKind::kHostThread, number.name(), "host");
  begin_ns_ = host_now_ns();
}

HostSpan::~HostSpan() {
  if (!timeline_) return;
  const std::int64_t end_ns = host_now_ns();
  timeline_->record(lane_, begin_ns_, end_ns, std::make_shared<SpanInfo>(name_, std::vector<SpanArgument>{}));
}

std::vector<SpanArgument> arguments_of(const Problem& problem) {
  const auto word = [](std::string_view text) { return std::string(text); };
  const auto number = [](auto value) { return static_cast<double>(value); };
  return {{"rule", word(name(problem.rule))},     {"pass", word(name(problem.pass))},
          {"form", word(name(problem.form))},     {"division", word(name(problem.division))},
          {"series", word(name(problem.series))}, {"type", word(name(problem.dtype))},
          {"E", number(problem.expansion)},       {"B", number(problem.batch)},
          {"T", number(problem.seq_len)},         {"H", number(problem.heads)},
          {"K", number(problem.key_dim)},         {"V", number(problem.value_dim)},
          {"bytes", minimum_bytes(problem)},      {"flop", flop(problem, problem.form)}};
}

void record_runs(Timeline& timeline, const DeviceInfo& device, const Plan& plan,
                 const std::vector<RunTime>& runs, std::int64_t end_ns) {
  if (!timeline.enabled() || runs.empty()) return;
  const bool placed =
      std::ranges::all_of(runs, [](const RunTime& run) { return run.begins.size() == run.launches.size(); });
  const char* const suffix = device.api == Api::kVulkan ? " queue"
                             : device.api == Api::kCuda ? " stream"
                                                        : "";
  const std::uint32_t lane = timeline.lane(lane_kind(device.api), device.name + suffix,
                                           placed ? device.clock : "estimated: back to back");
  std::vector<std::shared_ptr<const SpanInfo>> infos;
  for (const Launch& launch : plan.launches)
    infos.push_back(std::make_shared<SpanInfo>(launch.kernel, arguments_of(plan.problem)));

  double seconds = 0;
  for (const RunTime& run : runs) {
    for (const double launch : run.launches) seconds += launch;
  }
  std::vector<Span> spans;
  std::int64_t next_ns = end_ns - to_ns(seconds);
  for (const RunTime& run : runs) {
    for (std::size_t i = 0; i < std::min(run.launches.size(), infos.size()); ++i) {
      const std::int64_t begin_ns = placed ? to_ns(run.begins[i]) : next_ns;
      next_ns = begin_ns + to_ns(run.launches[i]);
      spans.push_back({lane, begin_ns, next_ns, infos[i]});
    }
  }
  for (std::size_t i = 0; i < spans.size(); ++i) {
    Span& span = spans[i];
    // Launches of a queue follow each other; begins and durations may come from two clocks.
    if (i + 1 < spans.size()) span.end_ns = std::clamp(spans[i + 1].begin_ns, span.begin_ns, span.end_ns);
    timeline.record(span.lane, span.begin_ns, span.end_ns, std::move(span.info));
  }
}

}  // namespace statescope
