// Charts: marks stand where the data says, and text cannot break the page.
#include "profiler/chart.h"

#include <gtest/gtest.h>

#include <regex>

namespace statescope {
namespace {

Chart line(Scale scale) {
  Chart chart;
  chart.id = "c";
  chart.title = "T";
  chart.x_label = "E";
  chart.y_label = "y (s)";
  chart.y_scale = scale;
  chart.x_ticks = {1, 2, 4, 8, 16};
  ChartSeries series{"a", 0};
  for (double e : chart.x_ticks) series.marks.push_back({e, e, "mark"});
  chart.series.push_back(series);
  return chart;
}

std::vector<std::pair<double, double>> circles(const std::string& svg) {
  std::vector<std::pair<double, double>> found;
  const std::regex circle("<circle cx=\"([0-9.]+)\" cy=\"([0-9.]+)\"");
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), circle); it != std::sregex_iterator(); ++it) {
    found.emplace_back(std::stod((*it)[1]), std::stod((*it)[2]));
  }
  return found;
}

TEST(Chart, LogarithmicAxesPutDoublingsAtEqualDistances) {
  const auto at = circles(draw(line(Scale::kLog)));
  ASSERT_EQ(at.size(), 5u);
  for (std::size_t i = 2; i < at.size(); ++i) {
    EXPECT_NEAR(at[i].first - at[i - 1].first, at[1].first - at[0].first, 0.2);
    EXPECT_NEAR(at[i].second - at[i - 1].second, at[1].second - at[0].second, 0.2);
  }
  EXPECT_LT(at[1].second, at[0].second);  // up is smaller on the page
}

TEST(Chart, LinearAxisStartsAtZero) {
  const auto at = circles(draw(line(Scale::kLinear)));
  ASSERT_EQ(at.size(), 5u);
  EXPECT_NEAR((at[0].second - at[4].second) / (at[0].second - at[1].second), 15, 0.5);
}

TEST(Chart, MarksStayWithinTheFrame) {
  Chart chart = line(Scale::kLog);
  chart.series[0].marks.push_back({16, 1e9, "far"});
  for (const auto& [x, y] : circles(draw(chart))) {
    EXPECT_GE(x, 0);
    EXPECT_LE(x, chart.width);
    EXPECT_GE(y, 0);
    EXPECT_LE(y, chart.height);
  }
}

TEST(Chart, TextIsEscaped) {
  Chart chart = line(Scale::kLog);
  chart.title = "<b>&\"";
  chart.series[0].marks[0].text = "</title><script>";
  const std::string svg = draw(chart);
  EXPECT_EQ(svg.find("<b>"), std::string::npos);
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_NE(svg.find("&lt;b&gt;&amp;&quot;"), std::string::npos);
}

TEST(Chart, AnEmptyChartIsStillAChart) {
  Chart chart = line(Scale::kLog);
  chart.series[0].marks.clear();
  chart.series[0].refused.push_back({4, 0, "too large"});
  const std::string svg = draw(chart);
  EXPECT_NE(svg.find("class=\"cross"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(Chart, ShortNumbers) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(1000), "1 k");
  EXPECT_EQ(short_number(1234567), "1.23 M");
  EXPECT_EQ(short_number(101376, "B"), "99 KiB");
  EXPECT_EQ(short_number(1048576, "B"), "1 MiB");
  EXPECT_EQ(short_number(0.001), "1e-03");
}

}  // namespace
}  // namespace statescope
