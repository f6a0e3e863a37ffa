#include "profiler/statistics.h"

#include <gtest/gtest.h>

#include "profiler/bench.h"
#include "tests/profiler/synthetic.h"

namespace statescope {
namespace {

TEST(Statistics, QuantilesByHand) {
  const std::vector<double> sorted{1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(quantile(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1), 4);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.95), 3.85);  // 1 + 0.95 * 3
  EXPECT_DOUBLE_EQ(quantile({7}, 0.95), 7);
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0);
}

TEST(Statistics, SpreadByHand) {
  const Spread spread = spread_of({5, 1, 3, 2, 4});
  EXPECT_EQ(spread.count, 5);
  EXPECT_DOUBLE_EQ(spread.min, 1);
  EXPECT_DOUBLE_EQ(spread.p10, 1.4);
  EXPECT_DOUBLE_EQ(spread.median, 3);
  EXPECT_DOUBLE_EQ(spread.p90, 4.6);
  EXPECT_DOUBLE_EQ(spread.max, 5);
}

TEST(Statistics, HistogramCountsEachValueOnce) {
  const Histogram histogram = histogram_of({0, 0.1, 1, 1.9, 2, 3, 4}, 4);
  EXPECT_DOUBLE_EQ(histogram.min, 0);
  EXPECT_DOUBLE_EQ(histogram.max, 4);
  EXPECT_EQ(histogram.counts, (std::vector<std::size_t>{2, 2, 1, 2}));
  EXPECT_EQ(histogram_of({5, 5, 5}, 4).counts, (std::vector<std::size_t>{3}));
  EXPECT_TRUE(histogram_of({}, 4).counts.empty());
}

TEST(Statistics, MedianIntervalRanksByHand) {
  // P(Binomial(n, 1/2) <= r) <= 0.0005: none for n = 10, r = 0 for 11 to 13, r = 1 for 14 (15 / 16384 is too
  // much) not yet, r = 1 for 15 (16 / 32768 = 0.000488).
  const auto low_of = [](int n) {
    std::vector<double> sample;
    for (int i = 0; i < n; ++i) sample.push_back(i);
    return median_interval(sample).low;
  };
  EXPECT_EQ(low_of(10), 0);
  EXPECT_EQ(low_of(11), 0);
  EXPECT_EQ(low_of(14), 0);
  EXPECT_EQ(low_of(15), 1);
  EXPECT_EQ(median_interval({3}).low, 3);
  EXPECT_EQ(median_interval({}).median, 0);
}

TEST(Statistics, MedianIntervalHoldsTheTrueMedian) {
  Random random(1);
  int missed = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const MedianInterval interval = median_interval(noisy_times(1, 0.1, 24, random));
    if (interval.low > 1 || interval.high < 1) ++missed;
  }
  EXPECT_LE(missed, 12);  // 4 expected; more than 12 happens once in 3000 seeds
}

TEST(Statistics, MedianIntervalNarrowsAsTheSampleGrows) {
  Random random(2);
  const MedianInterval few = median_interval(noisy_times(1, 0.1, 20, random));
  const MedianInterval many = median_interval(noisy_times(1, 0.1, 5000, random));
  EXPECT_LT(many.high - many.low, (few.high - few.low) / 4);
  EXPECT_LT(many.low, 1);
  EXPECT_GT(many.high, 1);
}

TEST(Statistics, DriftWidensTheMedianInterval) {
  std::vector<double> drifting;
  for (int i = 0; i < 200; ++i) drifting.push_back(i < 100 ? 1.0 : 1.1);
  const MedianInterval interval = median_interval(drifting);
  EXPECT_LE(interval.low, 1.0);
  EXPECT_GE(interval.high, 1.1);
}

}  // namespace
}  // namespace statescope
