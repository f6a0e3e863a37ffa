#include "profiler/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include <statescope/error.h>

#include "tests/profiler/synthetic.h"

namespace statescope {
namespace {

Capture capture_of(std::vector<CaptureEntry> entries) {
  Capture capture;
  capture.devices = {synthetic_device()};
  capture.entries = std::move(entries);
  return capture;
}

TEST(Compare, NoiseRaisesNoAlarm) {
  Random random(3);
  for (const double noise : {0.01, 0.05, 0.2}) {
    for (const int runs : {8, 12, 40, 200}) {
      int alarms = 0;
      for (int trial = 0; trial < 500; ++trial) {
        const auto before = noisy_times(1e-3, noise, runs, random);
        const auto after = noisy_times(1e-3, noise, runs, random);
        const Verdict verdict = compare_samples(before, after, 0.05).verdict;
        alarms += verdict == Verdict::kSlower || verdict == Verdict::kFaster;
      }
      EXPECT_EQ(alarms, 0) << noise << " " << runs;
    }
  }
}

TEST(Compare, SlowDriftRaisesNoAlarm) {
  Random random(4);
  for (int trial = 0; trial < 200; ++trial) {
    // Clocks that fall by 15 % during the second capture.
    const auto before = noisy_times(1e-3, 0.01, 80, random);
    auto after = noisy_times(1e-3, 0.01, 80, random);
    for (std::size_t i = 0; i < after.size(); ++i) after[i] *= 1 + 0.15 * static_cast<double>(i) / 80;
    EXPECT_NE(compare_samples(before, after, 0.05).verdict, Verdict::kSlower);
  }
}

/// How many of 400 changes by 10 % are not called slower or faster.
int missed(double noise, int runs) {
  Random random(5);
  int missed = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const auto before = noisy_times(1e-3, noise, runs, random);
    const auto slower = noisy_times(1.1e-3, noise, runs, random);
    const auto faster = noisy_times(0.9e-3, noise, runs, random);
    missed += compare_samples(before, slower, 0.05).verdict != Verdict::kSlower;
    missed += compare_samples(before, faster, 0.05).verdict != Verdict::kFaster;
  }
  return missed;
}

TEST(Compare, CatchesTenPercent) {
  EXPECT_EQ(missed(0.005, 12), 0);
  EXPECT_EQ(missed(0.02, 40), 0);
  EXPECT_EQ(missed(0.02, 200), 0);
  EXPECT_LE(missed(0.05, 200), 20);  // 5 %: noise this wide needs more runs to be sure every time
}

TEST(Compare, WithinTheThresholdIsTheSameHoweverSure) {
  const std::vector<double> before(100, 1.0), after(100, 1.04);
  EXPECT_EQ(compare_samples(before, after, 0.05).verdict, Verdict::kSame);
  EXPECT_EQ(compare_samples(before, after, 0.03).verdict, Verdict::kSlower);
  EXPECT_DOUBLE_EQ(compare_samples(before, after, 0.05).ratio, 1.04);
}

TEST(Compare, TooFewRunsDecideNothing) {
  EXPECT_EQ(compare_samples({1, 1, 1, 1, 1}, {2, 2, 2, 2, 2}, 0.05).verdict, Verdict::kTooFew);
  EXPECT_EQ(compare_samples({1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, 0.05).verdict, Verdict::kSame);
}

TEST(Compare, MatchesConfigurationsNotPlaces) {
  const std::vector<double> fast(20, 1e-3), slow(20, 2e-3);
  const Capture before = capture_of({synthetic_entry(1, fast), synthetic_entry(8, fast)});
  const Capture after = capture_of({synthetic_entry(8, fast), synthetic_entry(1, slow)});
  const Comparison comparison = compare(before, after, 0.05);
  ASSERT_EQ(comparison.rows.size(), 2u);
  EXPECT_EQ(comparison.rows[0].verdict, Verdict::kSlower);
  EXPECT_NE(comparison.rows[0].problem.find("E1 "), std::string::npos) << comparison.rows[0].problem;
  EXPECT_EQ(comparison.rows[1].verdict, Verdict::kSame);
  EXPECT_EQ(exit_code(comparison), 1);
  EXPECT_EQ(exit_code(compare(before, before, 0.05)), 0);
  EXPECT_EQ(exit_code(compare(after, before, 0.05)), 0);  // faster fails nothing
}

TEST(Compare, AnotherVariantForTheSameProblemIsCompared) {
  const std::vector<double> fast(20, 1e-3), slow(20, 2e-3);
  CaptureEntry other = synthetic_entry(1, slow);
  other.problem.form = Form::kChunked;
  other.kernel = other.launches[0].kernel = "test.chunked.forward";
  const Comparison comparison = compare(capture_of({synthetic_entry(1, fast)}), capture_of({other}), 0.05);
  ASSERT_EQ(comparison.rows.size(), 1u);
  EXPECT_EQ(comparison.rows[0].verdict, Verdict::kSlower);
  EXPECT_EQ(comparison.rows[0].note, "was test.recurrent.forward");
}

TEST(Compare, WhatNoLongerRunsFails) {
  const std::vector<double> times(20, 1e-3);
  CaptureEntry refused = synthetic_entry(8, {});
  refused.launches.clear();
  refused.status = SweepStatus::kRefused;
  refused.reason = "too large";
  const Capture before = capture_of({synthetic_entry(1, times), synthetic_entry(8, times)});
  const Capture after = capture_of({synthetic_entry(1, times), refused});
  const Comparison comparison = compare(before, after, 0.05);
  ASSERT_EQ(comparison.rows.size(), 2u);
  EXPECT_EQ(comparison.rows[0].verdict, Verdict::kGone);
  EXPECT_EQ(comparison.rows[0].note, "refused: too large");
  EXPECT_EQ(exit_code(comparison), 1);
  const Comparison back = compare(after, before, 0.05);
  EXPECT_TRUE(std::ranges::any_of(back.rows, [](const CompareRow& r) { return r.verdict == Verdict::kNew; }));
  EXPECT_EQ(exit_code(back), 0);
}

TEST(Compare, LaunchesOfARunAreComparedToo) {
  const auto of = [](double second) {
    CaptureEntry entry = synthetic_entry(1, {});
    entry.launches.push_back(entry.launches[0]);
    entry.launches[1].kernel = "test.sum";
    for (int i = 0; i < 20; ++i) entry.runs.push_back({1e-3 + second, {1e-3, second}});
    return entry;
  };
  const Comparison comparison = compare(capture_of({of(1e-5)}), capture_of({of(2e-5)}), 0.05);
  ASSERT_EQ(comparison.rows.size(), 3u);
  EXPECT_EQ(comparison.rows[0].kernel, "test.sum");
  EXPECT_EQ(comparison.rows[0].verdict, Verdict::kSlower);
  EXPECT_EQ(comparison.rows[1].verdict, Verdict::kSame);
}

TEST(Compare, SaysWhatMakesCapturesHardToCompare) {
  const std::vector<double> times(20, 1e-3);
  const Capture before = capture_of({synthetic_entry(1, times)});
  Capture after = before;
  EXPECT_TRUE(compare(before, after, 0.05).warnings.empty());
  after.devices[0].info.driver = "driver 2";
  const auto warnings = compare(before, after, 0.05).warnings;
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0], "cuda:0: another driver: driver 1, now driver 2");
}

TEST(Compare, RefusesWhatCannotBeCompared) {
  const std::vector<double> times(20, 1e-3);
  const Capture before = capture_of({synthetic_entry(1, times)});
  EXPECT_THROW(compare(before, capture_of({synthetic_entry(2, times)}), 0.05), Error);
  EXPECT_THROW(compare(before, before, -0.1), Error);
  EXPECT_THROW(compare(before, before, std::numeric_limits<double>::quiet_NaN()), Error);
}

}  // namespace
}  // namespace statescope
