#include "profiler/timeline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include <statescope/cost.h>
#include <statescope/error.h>

#include "tests/profiler/synthetic.h"

namespace statescope {
namespace {

std::shared_ptr<const SpanInfo> info_named(const std::string& name) {
  return std::make_shared<SpanInfo>(name, std::vector<SpanArgument>{});
}

TEST(Timeline, KeepsTheNewestSpansAndCountsTheOthers) {
  Timeline timeline(4);
  const std::uint32_t lane = timeline.lane(LaneKind::kHostThread, "main", "host");
  for (int i = 0; i < 10; ++i) timeline.record(lane, i, i + 1, info_named(std::to_string(i)));
  const TimelineSnapshot snapshot = timeline.snapshot();
  ASSERT_EQ(snapshot.spans.size(), 4u);
  EXPECT_EQ(snapshot.dropped, 6u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(snapshot.spans[i].info->name, std::to_string(6 + i));
  timeline.clear();
  EXPECT_TRUE(timeline.snapshot().spans.empty());
  EXPECT_EQ(timeline.snapshot().dropped, 0u);
}

TEST(Timeline, ReleasesWhatItDrops) {
  Timeline timeline(1);
  const std::uint32_t lane = timeline.lane(LaneKind::kHostThread, "main", "host");
  auto info = info_named("first");
  const std::weak_ptr<const SpanInfo> first = info;
  timeline.record(lane, 0, 1, std::move(info));
  EXPECT_FALSE(first.expired());
  timeline.record(lane, 1, 2, info_named("second"));
  EXPECT_TRUE(first.expired());
}

TEST(Timeline, LanesAreFoundAgainAndBounded) {
  Timeline timeline;
  const std::uint32_t a = timeline.lane(LaneKind::kVulkanQueue, "q", "calibrated");
  EXPECT_EQ(timeline.lane(LaneKind::kVulkanQueue, "q", "calibrated"), a);
  EXPECT_NE(timeline.lane(LaneKind::kCudaStream, "q", "calibrated"), a);
  for (std::size_t i = 2; i < Timeline::kMaxLanes; ++i)
    timeline.lane(LaneKind::kHostThread, "lane " + std::to_string(i), "host");
  EXPECT_THROW(timeline.lane(LaneKind::kHostThread, "one more", "host"), Error);
  EXPECT_EQ(timeline.lane(LaneKind::kVulkanQueue, "q", "calibrated"), a);
}

TEST(Timeline, OffRecordsNothing) {
  Timeline timeline(16, false);
  { const HostSpan span(&timeline, "work"); }
  timeline.record(0, 0, 1, info_named("x"));
  EXPECT_TRUE(timeline.snapshot().spans.empty());
  EXPECT_TRUE(timeline.snapshot().lanes.empty());
  { const HostSpan span(nullptr, "work"); }
  timeline.enable(true);
  { const HostSpan span(&timeline, "work"); }
  EXPECT_EQ(timeline.snapshot().spans.size(), 1u);
}

TEST(Timeline, ThreadsRecordAtOnceWhileOthersRead) {
  constexpr int kThreads = 8, kSpans = 2000;
  Timeline timeline(kThreads * kSpans);
  std::atomic<bool> stop = false;
  std::jthread reader([&] {
    while (!stop) {
      for (const Span& span : timeline.snapshot().spans) ASSERT_LE(span.begin_ns, span.end_ns);
    }
  });
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&] {
        for (int i = 0; i < kSpans; ++i) const HostSpan span(&timeline, "work");
      });
    }
  }
  stop = true;
  const TimelineSnapshot snapshot = timeline.snapshot();
  EXPECT_EQ(snapshot.spans.size(), std::size_t{kThreads} * kSpans);
  EXPECT_EQ(snapshot.dropped, 0u);
  EXPECT_GE(snapshot.lanes.size(), 1u);
  EXPECT_LE(snapshot.lanes.size(), std::size_t{kThreads});
}

TEST(Timeline, ThreadsThatEndGiveTheirLaneBack) {
  Timeline timeline;
  for (int i = 0; i < 300; ++i) std::jthread([&] { const HostSpan span(&timeline, "work"); }).join();
  EXPECT_EQ(timeline.snapshot().spans.size(), 300u);
  EXPECT_LE(timeline.snapshot().lanes.size(), 2u);
}

TEST(Timeline, HostSpansNest) {
  Timeline timeline;
  {
    const HostSpan outer(&timeline, "outer");
    const HostSpan inner(&timeline, "inner");
  }
  const TimelineSnapshot snapshot = timeline.snapshot();
  ASSERT_EQ(snapshot.spans.size(), 2u);
  EXPECT_EQ(snapshot.spans[0].info->name, "outer");
  EXPECT_LE(snapshot.spans[0].begin_ns, snapshot.spans[1].begin_ns);
  EXPECT_GE(snapshot.spans[0].end_ns, snapshot.spans[1].end_ns);
  EXPECT_EQ(snapshot.spans[0].lane, snapshot.spans[1].lane);
}

Plan two_launch_plan() {
  Plan plan;
  plan.problem = synthetic_problem(8);
  plan.launches.resize(2);
  plan.launches[0].kernel = "a";
  plan.launches[1].kernel = "b";
  return plan;
}

TEST(Timeline, DeviceSpansStandWhereTheDeviceSays) {
  Timeline timeline;
  const DeviceInfo device = synthetic_device().info;
  record_runs(timeline, device, two_launch_plan(), {{3e-6, {1e-6, 2e-6}, {10e-6, 12e-6}}}, 99'000);
  const TimelineSnapshot snapshot = timeline.snapshot();
  ASSERT_EQ(snapshot.spans.size(), 2u);
  EXPECT_EQ(snapshot.spans[0].begin_ns, 10'000);
  EXPECT_EQ(snapshot.spans[0].end_ns, 11'000);
  EXPECT_EQ(snapshot.spans[1].begin_ns, 12'000);
  EXPECT_EQ(snapshot.spans[1].end_ns, 14'000);
  EXPECT_EQ(snapshot.spans[1].info->name, "b");
  ASSERT_EQ(snapshot.lanes.size(), 1u);
  EXPECT_EQ(snapshot.lanes[0].kind, LaneKind::kCudaStream);
  EXPECT_EQ(snapshot.lanes[0].clock, "test clock");
}

TEST(Timeline, LaunchesOfAQueueDoNotOverlap) {
  Timeline timeline;
  record_runs(timeline, synthetic_device().info, two_launch_plan(),
              {{3e-6, {1e-6, 2e-6}, {10e-6, 10.9e-6}}, {3e-6, {1e-6, 2e-6}, {20e-6, 21e-6}}}, 99'000);
  const TimelineSnapshot snapshot = timeline.snapshot();
  ASSERT_EQ(snapshot.spans.size(), 4u);
  EXPECT_NEAR(snapshot.spans[0].end_ns, 10'900, 1);
  EXPECT_NEAR(snapshot.spans[1].end_ns, 12'900, 1);
}

TEST(Timeline, DeviceSpansWithoutAClockSayThatTheyAreEstimated) {
  Timeline timeline;
  record_runs(timeline, synthetic_device().info, two_launch_plan(),
              {{3e-6, {1e-6, 2e-6}}, {3e-6, {1e-6, 2e-6}}}, 99'000);
  const TimelineSnapshot snapshot = timeline.snapshot();
  ASSERT_EQ(snapshot.spans.size(), 4u);
  EXPECT_NEAR(snapshot.spans.front().begin_ns, 93'000, 2);
  EXPECT_NEAR(snapshot.spans.back().end_ns, 99'000, 2);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_GE(snapshot.spans[i].begin_ns, snapshot.spans[i - 1].end_ns);
  EXPECT_EQ(snapshot.lanes[0].clock, "estimated: back to back");
}

TEST(Timeline, SpansCarryTheProblem) {
  Timeline timeline;
  const Plan plan = two_launch_plan();
  record_runs(timeline, synthetic_device().info, plan, {{3e-6, {1e-6, 2e-6}, {0, 1e-6}}}, 99'000);
  const auto arguments = timeline.snapshot().spans.front().info->arguments;
  const auto value = [&](const std::string& name) {
    for (const SpanArgument& argument : arguments) {
      if (argument.name == name) return argument.value;
    }
    return std::variant<double, std::string>();
  };
  EXPECT_EQ(std::get<std::string>(value("rule")), "gated_delta");
  EXPECT_EQ(std::get<std::string>(value("pass")), "forward");
  EXPECT_EQ(std::get<double>(value("E")), 8);
  EXPECT_EQ(std::get<double>(value("bytes")), minimum_bytes(plan.problem));
  EXPECT_EQ(std::get<double>(value("flop")), flop(plan.problem, Form::kRecurrent));
}

/// Generous bounds: these catch a lock held too long or an allocation a span, not a slow machine.
TEST(Timeline, CostsLittle) {
  constexpr int kSpans = 200'000;
  const auto seconds_of = [](auto work) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kSpans; ++i) work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kSpans;
  };
  Timeline timeline;
  const std::uint32_t lane = timeline.lane(LaneKind::kHostThread, "main", "host");
  const auto info = info_named("work");
  const double on = seconds_of([&] { timeline.record(lane, 0, 1, info); });
  timeline.enable(false);
  const double off = seconds_of([&] { const HostSpan span(&timeline, "work"); });
  RecordProperty("nanoseconds_on", static_cast<int>(on * 1e9));
  RecordProperty("nanoseconds_off", static_cast<int>(off * 1e9));
  std::printf("a span costs %.0f ns on, %.1f ns off\n", on * 1e9, off * 1e9);
  EXPECT_LT(on, 5e-6);
  EXPECT_LT(off, 2e-7);
}

}  // namespace
}  // namespace statescope
