// Charts drawn for real: marks where the data says, labels, read-outs, zoom and pan, exports.
#include "app/gui/plot.h"

#include <cmath>
#include <limits>

#include "tests/ui/ui_fixture.h"

namespace statescope::gui {
namespace {

using plot::Axis;
using plot::Range;
using plot::Scale;

class PlotTest : public testing::Test {
 protected:
  void SetUp() override { STATESCOPE_START(canvas = std::make_unique<Canvas>()); }
  void TearDown() override {
    if (canvas) {
      EXPECT_EQ(canvas->validation_messages(), 0);
    }
  }
  std::unique_ptr<Canvas> canvas;
};

TEST_F(PlotTest, MarksLieWhereTheDataSays) {
  const std::vector<double> xs{1, 2, 4, 8}, ys{10, 1000, std::numeric_limits<double>::quiet_NaN(), 100};
  const ImU32 red = IM_COL32(200, 30, 30, 255);
  canvas->frame([&] {
    ASSERT_TRUE(plot::begin("marks", {600, 400}));
    plot::setup_axis(Axis::kX, "expansion E", "", Scale::kLog2, Range{0.5, 16});
    plot::setup_axis(Axis::kY, "throughput", "tokens/s", Scale::kLog10, Range{1, 10000});
    plot::line("speed", xs, ys, {.color = red, .marker = plot::Marker::kSquare, .marker_size = 5});
    plot::limit_line("48 KiB", Axis::kY, 50, IM_COL32(0, 200, 0, 255));
    plot::end();
  });
  const plot::Layout* layout = plot::layout("marks");
  ASSERT_TRUE(layout);
  const Picture picture = canvas->picture();
  for (const std::size_t i : {0u, 1u, 3u}) expect_color(picture, layout->pixel(xs[i], ys[i]), red, "mark");
  // No line towards or from the NaN: halfway between its neighbours there is only background.
  const ImVec2 before = layout->pixel(2, 1000), after = layout->pixel(8, 100);
  EXPECT_LT(pixel_of(picture, {(before.x + after.x) / 2, (before.y + after.y) / 2}).r, 100)
      << "a line over the gap";
  expect_color(picture, {layout->min.x + 30, std::round(layout->pixel(1, 50).y)}, IM_COL32(0, 200, 0, 255),
               "limit");
  const auto text = canvas->text();
  for (const char* words : {"expansion E", "throughput (tokens/s)", "speed", "48 KiB", "10k", "16"}) {
    EXPECT_TRUE(has_text(text, words)) << words;
  }
}

TEST_F(PlotTest, BarsStandOnZeroAndTearAtTheTop) {
  const ImU32 blue = IM_COL32(20, 40, 220, 255);
  canvas->frame([&] {
    ASSERT_TRUE(plot::begin("bars", {600, 400}));
    plot::setup_axis(Axis::kX, "", "", Scale::kLinear, Range{-0.5, 1.5});
    plot::setup_axis(Axis::kY, "memory", "KiB", Scale::kLinear, Range{0, 100});
    plot::bar("small", 0, 40, {.color = blue, .value_label = "40 KiB"});
    plot::bar("large", 1, 500, {.color = blue, .value_label = "500 KiB"});
    plot::end();
  });
  const plot::Layout* layout = plot::layout("bars");
  ASSERT_TRUE(layout);
  const Picture picture = canvas->picture();
  expect_color(picture, layout->pixel(0, 38), blue, "top of the small bar");
  expect_color(picture, layout->pixel(0.2, 44), canvas->theme.palette.panel, "above the small bar");
  expect_color(picture, layout->pixel(1.3, 60), blue, "inside the large bar");
  EXPECT_TRUE(has_text(canvas->text(), "500 KiB"));
}

TEST_F(PlotTest, AHeatmapPastSixteenBitIndicesShowsEveryCell) {
  // 300 x 300 cells are 360,000 vertices: five times what 16-bit indices reach.
  constexpr std::size_t kSide = 300;
  std::vector<double> values(kSide * kSide, 0);
  const auto at = [&](std::size_t row, std::size_t column) -> double& {
    return values[row * kSide + column];
  };
  for (std::size_t row = 280; row < 290; ++row) {
    for (std::size_t column = 280; column < 290; ++column) at(row, column) = 1;
  }
  for (std::size_t row = 10; row < 20; ++row) {
    for (std::size_t column = 150; column < 160; ++column) at(row, column) = -1;
  }
  const plot::ColorMap map{IM_COL32(0, 0, 255, 255), IM_COL32(255, 255, 255, 255), IM_COL32(255, 0, 0, 255)};
  canvas->frame([&] {
    ASSERT_TRUE(plot::begin("heat", {600, 440}));
    plot::setup_axis(Axis::kX, "key i", "", Scale::kLinear, Range{0, kSide});
    plot::setup_axis(Axis::kY, "key j", "", Scale::kLinear, Range{kSide, 0});
    plot::heatmap("cosine", values, kSide, kSide, {-1, 1}, map);
    plot::end();
  });
  const plot::Layout* layout = plot::layout("heat");
  ASSERT_TRUE(layout);
  const Picture picture = canvas->picture();
  expect_color(picture, layout->pixel(285, 285), map.hi, "block near the end");
  expect_color(picture, layout->pixel(155, 15), map.lo, "block near the start");
  expect_color(picture, layout->pixel(155, 285), map.middle, "background");
}

TEST_F(PlotTest, TheReadOutNamesThePointUnderTheMouse) {
  const std::vector<double> xs{1, 2, 4}, ys{10, 20, 40};
  const auto draw = [&] {
    ASSERT_TRUE(plot::begin("read", {600, 400}));
    plot::setup_axis(Axis::kX, "pairs", "", Scale::kLinear, Range{0, 5});
    plot::setup_axis(Axis::kY, "rate", "tokens/s", Scale::kLinear, Range{0, 50});
    plot::line("subheads", xs, ys, {.color = IM_COL32_WHITE, .marker = plot::Marker::kCircle});
    plot::missing_point("naive", 3, "state 262144 B > 101376 B", IM_COL32_WHITE);
    plot::end();
  };
  canvas->frame(draw);
  const plot::Layout layout = *plot::layout("read");
  const ImVec2 at = layout.pixel(2, 20);
  canvas->frame(draw, {at.x + 4, at.y});
  canvas->frame(draw, {at.x + 4, at.y});
  EXPECT_TRUE(has_text(canvas->text(), "rate 20 tokens/s"));
  const ImVec2 missing{layout.pixel(3, 0).x, layout.max.y - 8};
  canvas->frame(draw, missing);
  canvas->frame(draw, missing);
  EXPECT_TRUE(has_text(canvas->text(), "state 262144 B > 101376 B"));
  EXPECT_FALSE(has_text(canvas->text(), "rate 20 tokens/s"));
}

TEST_F(PlotTest, WheelZoomsDragPansDoubleClickResets) {
  const auto draw = [&] {
    ASSERT_TRUE(plot::begin("move", {600, 400}));
    plot::setup_axis(Axis::kX, "x", "", Scale::kLinear, Range{0, 10});
    plot::setup_axis(Axis::kY, "y", "", Scale::kLog10, Range{1, 1000});
    plot::end();
  };
  canvas->frame(draw);
  const plot::Layout first = *plot::layout("move");
  const ImVec2 middle = first.pixel(5, std::sqrt(1000.0));
  canvas->frame(draw, middle);
  canvas->frame(draw, middle, 1);
  canvas->frame(draw, middle);
  const plot::Layout zoomed = *plot::layout("move");
  EXPECT_NEAR(zoomed.x.hi - zoomed.x.lo, 8.5, 0.1);
  EXPECT_GT(zoomed.y.lo, 1.5);
  EXPECT_NEAR((zoomed.x.lo + zoomed.x.hi) / 2, 5, 0.05);
  canvas->frame(draw, middle, 0, true);
  canvas->frame(draw, {middle.x + 57, middle.y}, 0, true);
  canvas->frame(draw, {middle.x + 57, middle.y});
  canvas->frame(draw, {middle.x + 57, middle.y});
  const plot::Layout panned = *plot::layout("move");
  const double moved = 57 / static_cast<double>(zoomed.max.x - zoomed.min.x) * (zoomed.x.hi - zoomed.x.lo);
  EXPECT_NEAR(panned.x.lo, zoomed.x.lo - moved, 0.02);
  for (int i = 0; i < 60; ++i) canvas->frame(draw, middle);  // the drag's click is long past
  for (const bool down : {true, false, true, false}) canvas->frame(draw, middle, 0, down);
  canvas->frame(draw, middle);
  EXPECT_EQ(plot::layout("move")->x, (Range{0, 10}));
}

TEST_F(PlotTest, AClickOnTheLegendHidesASeries) {
  const std::vector<double> xs{0, 10}, ys{5, 5};
  const ImU32 red = IM_COL32(220, 20, 20, 255);
  const auto draw = [&] {
    ASSERT_TRUE(plot::begin("legend", {600, 400}));
    plot::setup_axis(Axis::kX, "x", "", Scale::kLinear, Range{0, 10});
    plot::setup_axis(Axis::kY, "y", "", Scale::kLinear, Range{0, 10});
    plot::line("flat", xs, ys, {.color = red, .width = 6});
    plot::end();
  };
  canvas->frame(draw);
  const ImVec2 on_line = plot::layout("legend")->pixel(5, 5);
  expect_color(canvas->picture(), on_line, red, "line");
  const auto text = canvas->text();
  const auto entry =
      std::find_if(text.begin(), text.end(), [](const DrawnText& t) { return t.text == "flat"; });
  ASSERT_NE(entry, text.end());
  const ImVec2 at{(entry->min.x + entry->max.x) / 2, (entry->min.y + entry->max.y) / 2};
  canvas->frame(draw, at);
  canvas->frame(draw, at, 0, true);
  canvas->frame(draw, at);
  canvas->frame(draw);
  const Rgb found = pixel_of(canvas->picture(), {on_line.x + 40, on_line.y + 1});
  EXPECT_LT(found.r, 100) << "the line is still there";
}

TEST_F(PlotTest, DataLeavesAsCsv) {
  const std::vector<double> xs{1, 2}, ys{0.5, 0.25}, counts{3, 1}, cells{1, 2, 3, 4};
  plot::capture_csv(true);
  canvas->frame([&] {
    ASSERT_TRUE(plot::begin("csv", {300, 200}));
    plot::setup_axis(Axis::kX, "stored pairs n", "");
    plot::setup_axis(Axis::kY, "rate, all", "tokens/s");
    plot::line("a, b", xs, ys, {});
    plot::histogram("counts", {-1, 1}, counts, IM_COL32_WHITE);
    plot::end();
    ASSERT_TRUE(plot::begin("csv-heat", {300, 200}));
    plot::setup_axis(Axis::kX, "key i", "");
    plot::setup_axis(Axis::kY, "key j", "");
    plot::heatmap("g", cells, 2, 2, {0, 4}, {0, 0, 0});
    plot::end();
  });
  plot::capture_csv(false);
  EXPECT_EQ(plot::layout("csv")->csv,
            "series,stored pairs n,\"rate, all (tokens/s)\"\n\"a, b\",1,0.5\n\"a, "
            "b\",2,0.25\ncounts,-0.5,3\ncounts,0.5,1\n");
  EXPECT_EQ(plot::layout("csv-heat")->csv, "series,key j,key i,value\ng,0,0,1\ng,0,1,2\ng,1,0,3\ng,1,1,4\n");
}

TEST(PlotColors, BlendRunsThroughTheMiddle) {
  const plot::ColorMap map{IM_COL32(0, 0, 200, 255), IM_COL32(100, 100, 100, 255), IM_COL32(200, 0, 0, 255)};
  EXPECT_EQ(plot::blend(map, 0), map.lo);
  EXPECT_EQ(plot::blend(map, 0.5), map.middle);
  EXPECT_EQ(plot::blend(map, 7), map.hi);
  EXPECT_EQ(plot::blend(map, 0.25), IM_COL32(50, 50, 150, 255));
  EXPECT_EQ(plot::blend(map, std::numeric_limits<double>::quiet_NaN()), map.middle);
}

}  // namespace
}  // namespace statescope::gui
