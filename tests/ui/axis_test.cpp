#include "app/gui/axis.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace statescope::plot {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> major_values(const std::vector<Tick>& all) {
  std::vector<double> values;
  for (const Tick& tick : all) {
    if (tick.major) values.push_back(tick.value);
  }
  return values;
}

TEST(Axis, UnitsAndBackOnEveryScale) {
  for (const Scale scale : {Scale::kLinear, Scale::kLog2, Scale::kLog10}) {
    const Range range{0.5, 300};
    EXPECT_NEAR(to_unit(scale, range, range.lo), 0, 1e-12);
    EXPECT_NEAR(to_unit(scale, range, range.hi), 1, 1e-12);
    for (const double value : {0.7, 1.0, 17.0, 250.0}) {
      EXPECT_NEAR(from_unit(scale, range, to_unit(scale, range, value)), value, 1e-9 * value);
    }
  }
  EXPECT_NEAR(to_unit(Scale::kLog10, {1, 100}, 10), 0.5, 1e-12);
  EXPECT_NEAR(to_unit(Scale::kLog2, {1, 16}, 2), 0.25, 1e-12);
  EXPECT_TRUE(std::isnan(to_unit(Scale::kLog10, {1, 100}, 0)));
  EXPECT_TRUE(std::isnan(to_unit(Scale::kLog2, {1, 100}, -3)));
}

TEST(Axis, ARangeTurnedRoundRunsBackwards) {
  EXPECT_DOUBLE_EQ(to_unit(Scale::kLinear, {64, 0}, 0), 1);
  EXPECT_DOUBLE_EQ(to_unit(Scale::kLinear, {64, 0}, 64), 0);
  EXPECT_EQ(major_values(ticks(Scale::kLinear, {60, 0}, 3)), (std::vector<double>{0, 20, 40, 60}));
}

TEST(Axis, LinearTicksAreRoundAndInside) {
  EXPECT_EQ(major_values(ticks(Scale::kLinear, {0, 1}, 5)),
            (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(major_values(ticks(Scale::kLinear, {-1, 1}, 4)), (std::vector<double>{-1, -0.5, 0, 0.5, 1}));
  EXPECT_EQ(major_values(ticks(Scale::kLinear, {3, 261}, 6)), (std::vector<double>{50, 100, 150, 200, 250}));
  for (const double hi : {0.003, 0.7, 1.0, 9.99, 12345.0, 8e9}) {
    const auto all = ticks(Scale::kLinear, {0, hi}, 6);
    EXPECT_GE(all.size(), 3u) << hi;
    EXPECT_LE(all.size(), 9u) << hi;
    for (const Tick& tick : all) {
      EXPECT_GE(tick.value, 0);
      EXPECT_LE(tick.value, hi * (1 + 1e-9));
      EXPECT_FALSE(tick.label.empty());
    }
  }
}

TEST(Axis, LogTicksArePowersOfTheBase) {
  EXPECT_EQ(major_values(ticks(Scale::kLog2, {1, 32}, 8)), (std::vector<double>{1, 2, 4, 8, 16, 32}));
  EXPECT_EQ(major_values(ticks(Scale::kLog2, {1, 256}, 4)), (std::vector<double>{1, 4, 16, 64, 256}));
  EXPECT_EQ(major_values(ticks(Scale::kLog10, {0.02, 500}, 8)), (std::vector<double>{0.1, 1, 10, 100}));
  const auto decade = ticks(Scale::kLog10, {1, 10}, 5);
  EXPECT_EQ(decade.size(), 10u);    // 1 to 10, the digits between as minor ticks
  EXPECT_EQ(decade[1].label, "2");  // labelled where there is less than a decade or so
  EXPECT_FALSE(decade[1].major);
  EXPECT_TRUE(ticks(Scale::kLog10, {5, 5}, 5).empty());
}

TEST(Axis, TicksThatLieCloseHaveTheDecimalsThatTellThemApart) {
  const auto all = ticks(Scale::kLinear, {1.3701, 1.3709}, 4);
  ASSERT_GE(all.size(), 3u);
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_NE(all[i].label, all[i - 1].label);
  EXPECT_EQ(all[0].label, "1.3702");
}

TEST(Axis, ValuesReadAsPeopleWriteThem) {
  EXPECT_EQ(format_value(0), "0");
  EXPECT_EQ(format_value(0.25), "0.25");
  EXPECT_EQ(format_value(-0.5), "-0.5");
  EXPECT_EQ(format_value(12), "12");
  EXPECT_EQ(format_value(136.4), "136");
  EXPECT_EQ(format_value(999.6), "1k");
  EXPECT_EQ(format_value(1500), "1.5k");
  EXPECT_EQ(format_value(65536), "65.5k");
  EXPECT_EQ(format_value(3e6), "3M");
  EXPECT_EQ(format_value(2.5e12), "2.5T");
  EXPECT_EQ(format_value(1e15), "1P");
  EXPECT_EQ(format_value(1e-5), "1e-05");
  EXPECT_EQ(format_value(kNan), "-");
}

TEST(Axis, ZoomKeepsThePivotInPlace) {
  for (const Scale scale : {Scale::kLinear, Scale::kLog2, Scale::kLog10}) {
    const Range before{2, 200};
    for (const double pivot : {0.0, 0.3, 1.0}) {
      const double value = from_unit(scale, before, pivot);
      const Range after = zoom(scale, before, pivot, 0.5);
      EXPECT_NEAR(to_unit(scale, after, value), pivot, 1e-9);
      EXPECT_NEAR(zoom(scale, after, pivot, 2).lo, before.lo, 1e-9);
    }
  }
}

TEST(Axis, ZoomStopsBeforeTheRangeDegenerates) {
  Range range{1, 2};
  for (int i = 0; i < 2000; ++i) range = zoom(Scale::kLinear, range, 0.5, 0.5);
  EXPECT_LT(range.lo, range.hi);
  range = {1, 2};
  for (int i = 0; i < 2000; ++i) range = zoom(Scale::kLog10, range, 0.5, 2);
  EXPECT_GT(range.lo, 0);
  EXPECT_TRUE(std::isfinite(range.hi));
}

TEST(Axis, PanMovesByItsOwnLength) {
  EXPECT_EQ(pan(Scale::kLinear, {0, 10}, 0.5), (Range{5, 15}));
  const Range moved = pan(Scale::kLog10, {1, 100}, 0.5);
  EXPECT_NEAR(moved.lo, 10, 1e-9);
  EXPECT_NEAR(moved.hi, 1000, 1e-9);
}

TEST(Axis, FitHoldsEveryValueThatTheScaleCanPlace) {
  EXPECT_EQ(fit(Scale::kLinear, std::vector<double>{3, kNan, -1}, 0), (Range{-1, 3}));
  const Range log = fit(Scale::kLog10, std::vector<double>{0, -5, 10, 1000}, 0);
  EXPECT_NEAR(log.lo, 10, 1e-9);
  EXPECT_NEAR(log.hi, 1000, 1e-9);
  EXPECT_EQ(fit(Scale::kLinear, {}, 0.1), (Range{0, 1}));
  EXPECT_EQ(fit(Scale::kLinear, std::vector<double>{0, 10}, 0.1), (Range{-1, 11}));
  const Range single = fit(Scale::kLog2, std::vector<double>{8}, 0);
  EXPECT_LT(single.lo, 8);
  EXPECT_GT(single.hi, 8);
}

TEST(Axis, TheNearestPointWithinReachIsHit) {
  const Pixel points[] = {{0, 0}, {10, 0}, {static_cast<float>(kNan), 5}, {20, 20}};
  EXPECT_EQ(nearest_point(points, {11, 1}, 5), 1u);
  EXPECT_EQ(nearest_point(points, {1, 1}, 5), 0u);
  EXPECT_EQ(nearest_point(points, {5, 40}, 5), std::nullopt);
}

TEST(Axis, CellsOfAHeatmap) {
  EXPECT_EQ(cell_at(4, 8, 0, 0), (Cell{0, 0}));
  EXPECT_EQ(cell_at(4, 8, 0.999, 0.999), (Cell{3, 7}));
  EXPECT_EQ(cell_at(4, 8, 0.5, 0.25), (Cell{1, 4}));
  EXPECT_EQ(cell_at(4, 8, 1, 0.5), std::nullopt);
  EXPECT_EQ(cell_at(0, 8, 0.5, 0.5), std::nullopt);
}

TEST(Axis, CsvFieldsAreQuotedWhereTheyMust) {
  EXPECT_EQ(csv_field("naive"), "naive");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"no\""), "\"say \"\"no\"\"\"");
}

}  // namespace
}  // namespace statescope::plot
