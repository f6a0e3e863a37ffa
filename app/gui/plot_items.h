// What one chart holds between begin() and end(), and how each kind of item is drawn, read out and exported.
#pragma once

#include <string>
#include <variant>

#include "app/gui/plot.h"

namespace statescope::plot {

struct LineItem {
  std::span<const double> xs, ys;
  LineStyle style;
};
struct BarItem {
  double x, height;
  BarStyle style;
};
struct HistogramItem {
  Range bins;
  std::span<const double> counts;
  ImU32 color;
};
struct HeatmapItem {
  std::span<const double> values;
  std::size_t rows, columns;
  Range range;
  ColorMap colors;
};
struct SpansItem {
  double row;
  std::span<const SpanMark> marks;
  std::function<std::string(std::size_t)> note;
};
struct LimitItem {
  Axis axis;
  double value;
  ImU32 color;
};
struct MissingItem {
  double x;
  std::string reason;
  ImU32 color;
};
struct Item {
  std::string label;
  std::variant<LineItem, BarItem, HistogramItem, HeatmapItem, SpansItem, LimitItem, MissingItem> data;
};

struct AxisState {
  std::string label, unit;
  Scale scale = Scale::kLinear;
  std::optional<Range> wanted;
  std::vector<Tick> own_ticks;
  std::function<std::string(double, double)> format;
  bool locked = false;
  Range range;  ///< in force
  /// Ticks of a format of their own carry the unit.
  std::string title() const { return unit.empty() || format ? label : label + " (" + unit + ")"; }
};

struct Chart {
  std::string id;
  bool legend = true;
  std::string message;
  AxisState x, y;
  std::vector<Item> items;
  ImVec2 min, max;              ///< plot area
  ImVec2 outer_min, outer_max;  ///< all of it
  ImVec2 pixel(double x_value, double y_value) const;
};

ImU32 color_of(const Item& item);
/// Values that the item puts on an axis, for fitting.
void append_values(const Item& item, Axis axis, std::vector<double>& values);

void draw_item(ImDrawList& list, const Chart& chart, const Item& item, const Style& style);
/// Of a bar, over everything else.
void draw_value_label(ImDrawList& list, const Chart& chart, const Item& item, const Style& style);
void draw_marker(ImDrawList& list, ImVec2 at, Marker marker, float size, ImU32 color, bool hollow,
                 float thickness);

/// What the item says about the mouse's place, and how far from it (pixels; inside counts as 0).
struct ReadOut {
  float distance;
  ImVec2 at;
  std::string text;
  std::size_t index = 0;  ///< of the point or span
};
std::optional<ReadOut> read_out(const Chart& chart, const Item& item, ImVec2 mouse, const Style& style);

// Spans (plot_spans.cpp).
void draw_spans(ImDrawList& list, const Chart& chart, const SpansItem& item, const Style& style);
std::optional<ReadOut> read_spans(const Chart& chart, const SpansItem& item, ImVec2 mouse,
                                  const Style& style);

/// series,x,y rows (heatmaps: series,row,column,value; spans: series,begin,end,name), axis titles in the
/// header.
std::string to_csv(const Chart& chart);

}  // namespace statescope::plot
