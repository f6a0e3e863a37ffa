#include "app/gui/plot_items.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace statescope::plot {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

bool finite(ImVec2 p) {
  return std::isfinite(p.x) && std::isfinite(p.y);
}

std::string exact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

void draw_dashed(ImDrawList& list, ImVec2 from, ImVec2 to, ImU32 color, float width, float dash,
                 float& phase) {
  const float length = std::hypot(to.x - from.x, to.y - from.y);
  if (!(length > 0)) return;
  const ImVec2 direction((to.x - from.x) / length, (to.y - from.y) / length);
  // `phase` runs over a dash and the gap after it, and goes on from segment to segment.
  for (float at = -phase; at < length; at += 2 * dash) {
    const float a = std::max(at, 0.0f), b = std::min(at + dash, length);
    if (b > a) {
      list.AddLine({from.x + direction.x * a, from.y + direction.y * a},
                   {from.x + direction.x * b, from.y + direction.y * b}, color, width);
    }
  }
  phase = std::fmod(phase + length, 2 * dash);
}

void draw_line(ImDrawList& list, const Chart& chart, const LineItem& item, const Style& style) {
  const float width = item.style.width * style.unit;
  std::vector<ImVec2> run;
  float phase = 0;
  const auto flush = [&] {
    if (run.size() > 1 && width > 0) {
      if (item.style.dashed) {
        for (std::size_t i = 1; i < run.size(); ++i) {
          draw_dashed(list, run[i - 1], run[i], item.style.color, width, 5 * style.unit, phase);
        }
      } else {
        list.AddPolyline(run.data(), static_cast<int>(run.size()), item.style.color, 0, width);
      }
    }
    run.clear();
  };
  const std::size_t count = std::min(item.xs.size(), item.ys.size());
  for (std::size_t i = 0; i < count; ++i) {
    const ImVec2 p = chart.pixel(item.xs[i], item.ys[i]);
    if (finite(p)) {
      run.push_back(p);
    } else {
      flush();
    }
  }
  flush();
  for (std::size_t i = 0; i < count; ++i) {
    const ImVec2 p = chart.pixel(item.xs[i], item.ys[i]);
    if (finite(p)) {
      draw_marker(list, p, item.style.marker, item.style.marker_size * style.unit, item.style.color,
                  item.style.hollow, 1.5f * style.unit);
    }
  }
}

struct Box {
  ImVec2 min, max;
  bool torn;
};
Box box_of(const Chart& chart, const BarItem& bar) {
  const ImVec2 top = chart.pixel(bar.x - bar.style.width / 2, bar.height);
  const ImVec2 end = chart.pixel(bar.x + bar.style.width / 2, chart.y.range.lo);
  const bool torn = top.y < chart.min.y;
  return {
      {std::round(top.x), torn ? chart.min.y : std::round(top.y)}, {std::round(end.x), chart.max.y}, torn};
}

void draw_hatching(ImDrawList& list, const Box& box, ImU32 color, float unit) {
  list.PushClipRect(box.min, box.max, true);
  const float height = box.max.y - box.min.y;
  for (float x = box.min.x - height; x < box.max.x; x += 7 * unit) {
    list.AddLine({x, box.max.y}, {x + height, box.min.y}, color, 1.5f * unit);
  }
  list.PopClipRect();
}

void draw_bar(ImDrawList& list, const Chart& chart, const BarItem& bar, const Style& style) {
  if (!std::isfinite(bar.height)) return;
  const Box box = box_of(chart, bar);
  const ImU32 soft = (bar.style.color & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 70);
  list.AddRectFilled(box.min, box.max, bar.style.hatched ? soft : bar.style.color);
  if (bar.style.hatched) {
    draw_hatching(list, box, bar.style.color, style.unit);
    list.AddRect(box.min, box.max, bar.style.color, 0, 0, 1.5f * style.unit);
  }
  if (box.torn) {  // a zigzag in the background's colour: the bar goes on
    const float step = (box.max.x - box.min.x) / 6, height = 5 * style.unit;
    for (int i = 0; i < 6; ++i) {
      const float x = box.min.x + step * static_cast<float>(i);
      list.AddTriangleFilled({x, box.min.y}, {x + step, box.min.y}, {x + step / 2, box.min.y + height},
                             style.background);
    }
  }
}

void draw_histogram(ImDrawList& list, const Chart& chart, const HistogramItem& item) {
  const double width = (item.bins.hi - item.bins.lo) / static_cast<double>(item.counts.size());
  for (std::size_t i = 0; i < item.counts.size(); ++i) {
    if (!(item.counts[i] > 0)) continue;
    const double x = item.bins.lo + width * static_cast<double>(i);
    const ImVec2 a = chart.pixel(x, item.counts[i]), b = chart.pixel(x + width, chart.y.range.lo);
    list.AddRectFilled({std::round(a.x), a.y}, {std::max(std::round(b.x) - 1, std::round(a.x) + 1), b.y},
                       item.color);
  }
}

void draw_heatmap(ImDrawList& list, const Chart& chart, const HeatmapItem& item) {
  if (item.values.size() < item.rows * item.columns || item.rows == 0 || item.columns == 0) return;
  const auto edge_x = [&](std::size_t i) {
    return std::round(chart.pixel(static_cast<double>(i), chart.y.range.lo).x);
  };
  const auto edge_y = [&](std::size_t i) {
    return std::round(chart.pixel(chart.x.range.lo, static_cast<double>(i)).y);
  };
  // Reserved in pieces well below 64k vertices: the draw list then starts a new vertex offset where 16-bit
  // indices would wrap around.
  constexpr std::size_t kPiece = 4096;
  for (std::size_t row = 0; row < item.rows; ++row) {
    const float top = edge_y(row), bottom = edge_y(row + 1);
    if (bottom < chart.min.y || top > chart.max.y) continue;
    for (std::size_t first = 0; first < item.columns; first += kPiece) {
      const std::size_t count = std::min(kPiece, item.columns - first);
      list.PrimReserve(static_cast<int>(6 * count), static_cast<int>(4 * count));
      for (std::size_t column = first; column < first + count; ++column) {
        const double value = item.values[row * item.columns + column];
        const double unit = (value - item.range.lo) / (item.range.hi - item.range.lo);
        list.PrimRect({edge_x(column), top}, {edge_x(column + 1), bottom}, blend(item.colors, unit));
      }
    }
  }
}

void draw_limit(ImDrawList& list, const Chart& chart, const std::string& label, const LimitItem& item,
                const Style& style) {
  const bool horizontal = item.axis == Axis::kY;
  const ImVec2 at =
      horizontal ? chart.pixel(chart.x.range.lo, item.value) : chart.pixel(item.value, chart.y.range.lo);
  if (!finite(at)) return;
  const ImVec2 from(horizontal ? chart.min.x : std::round(at.x), horizontal ? std::round(at.y) : chart.min.y);
  const ImVec2 to(horizontal ? chart.max.x : from.x, horizontal ? from.y : chart.max.y);
  if (from.x < chart.min.x || from.x > chart.max.x || from.y < chart.min.y || from.y > chart.max.y) return;
  list.AddLine(from, to, item.color, 1.5f * style.unit);
  if (label.empty()) return;
  const float size = style.font_size;
  const ImVec2 extent = style.font->CalcTextSizeA(size, FLT_MAX, 0, label.c_str());
  const float gap = 3 * style.unit;
  ImVec2 corner;
  if (horizontal) {
    corner = {to.x - extent.x - gap, from.y - extent.y - 1};
    if (corner.y < chart.min.y) corner.y = from.y + 1;
  } else {
    corner = {from.x + gap + 1, chart.min.y + gap};
    if (corner.x + extent.x > chart.max.x) corner.x = from.x - extent.x - gap;
  }
  list.AddRectFilled({corner.x - gap, corner.y}, {corner.x + extent.x + gap, corner.y + extent.y},
                     (style.background & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 200), gap);
  list.AddText(style.font, size, {std::round(corner.x), std::round(corner.y)}, item.color, label.c_str());
}

std::string point_text(const Chart& chart, const std::string& label, double x, double y) {
  std::string text = label + "\n" + chart.x.label + " " + format_value(x) +
                     (chart.x.unit.empty() ? "" : " " + chart.x.unit) + "\n" + chart.y.label + " " +
                     format_value(y);
  if (!chart.y.unit.empty()) text += " " + chart.y.unit;
  return text;
}

bool inside(ImVec2 p, ImVec2 min, ImVec2 max) {
  return p.x >= min.x && p.x < max.x && p.y >= min.y && p.y < max.y;
}

std::optional<ReadOut> read_line(const Chart& chart, const std::string& label, const LineItem& item,
                                 ImVec2 mouse, const Style& style) {
  std::vector<Pixel> points;
  const std::size_t count = std::min(item.xs.size(), item.ys.size());
  for (std::size_t i = 0; i < count; ++i) {
    const ImVec2 p = chart.pixel(item.xs[i], item.ys[i]);
    points.push_back({p.x, p.y});
  }
  const auto hit = nearest_point(points, {mouse.x, mouse.y}, 14 * style.unit);
  if (!hit) return std::nullopt;
  const ImVec2 at(points[*hit].x, points[*hit].y);
  return ReadOut{std::hypot(at.x - mouse.x, at.y - mouse.y), at,
                 point_text(chart, label, item.xs[*hit], item.ys[*hit]), *hit};
}

std::optional<ReadOut> read_bar(const Chart& chart, const std::string& label, const BarItem& bar,
                                ImVec2 mouse) {
  const Box box = box_of(chart, bar);
  if (!inside(mouse, box.min, box.max)) return std::nullopt;
  std::string text = label + "\n" + chart.y.label + " " + format_value(bar.height) + " " + chart.y.unit;
  if (!bar.style.note.empty()) text += "\n" + bar.style.note;
  return ReadOut{0, mouse, text};
}

std::optional<ReadOut> read_histogram(const Chart& chart, const std::string& label, const HistogramItem& item,
                                      ImVec2 mouse) {
  const double unit = (mouse.x - chart.min.x) / (chart.max.x - chart.min.x);
  const double x = from_unit(chart.x.scale, chart.x.range, unit);
  const auto count = static_cast<double>(item.counts.size());
  const double bin = std::floor((x - item.bins.lo) / (item.bins.hi - item.bins.lo) * count);
  if (!(bin >= 0 && bin < count)) return std::nullopt;
  const double width = (item.bins.hi - item.bins.lo) / count;
  const double lo = item.bins.lo + bin * width;
  return ReadOut{13 * 1.0f, mouse,
                 label + "\n" + chart.x.label + " " + format_value(lo) + " to " + format_value(lo + width) +
                     "\n" + chart.y.label + " " + format_value(item.counts[static_cast<std::size_t>(bin)])};
}

std::optional<ReadOut> read_heatmap(const Chart& chart, const std::string& label, const HeatmapItem& item,
                                    ImVec2 mouse) {
  const double ux = (mouse.x - chart.min.x) / (chart.max.x - chart.min.x);
  const double uy = (chart.max.y - mouse.y) / (chart.max.y - chart.min.y);
  const double column = from_unit(chart.x.scale, chart.x.range, ux) / static_cast<double>(item.columns);
  const double row = from_unit(chart.y.scale, chart.y.range, uy) / static_cast<double>(item.rows);
  const auto cell = cell_at(item.rows, item.columns, column, row);
  if (!cell) return std::nullopt;
  return ReadOut{0, mouse,
                 label + "\n" + chart.y.label + " " + std::to_string(cell->row) + ", " + chart.x.label + " " +
                     std::to_string(cell->column) + "\n" +
                     format_value(item.values[cell->row * item.columns + cell->column])};
}

}  // namespace

ImVec2 Chart::pixel(double x_value, double y_value) const {
  const double u = to_unit(x.scale, x.range, x_value), v = to_unit(y.scale, y.range, y_value);
  return {static_cast<float>(min.x + u * (max.x - min.x)), static_cast<float>(max.y - v * (max.y - min.y))};
}

ImU32 color_of(const Item& item) {
  return std::visit(
      Overloaded{[](const LineItem& i) { return i.style.color; },
                 [](const BarItem& i) { return i.style.color; },
                 [](const HeatmapItem& i) { return i.colors.hi; },
                 [](const SpansItem& i) { return i.marks.empty() ? IM_COL32_WHITE : i.marks.front().color; },
                 [](const auto& i) { return i.color; }},
      item.data);
}

void append_values(const Item& item, Axis axis, std::vector<double>& values) {
  const bool x = axis == Axis::kX;
  std::visit(Overloaded{[&](const LineItem& i) {
                          const auto& from = x ? i.xs : i.ys;
                          values.insert(values.end(), from.begin(), from.end());
                        },
                        [&](const BarItem& i) {
                          if (x) {
                            values.insert(values.end(), {i.x - i.style.width / 2, i.x + i.style.width / 2});
                          } else {
                            values.insert(values.end(), {0.0, i.height});
                          }
                        },
                        [&](const HistogramItem& i) {
                          if (x) {
                            values.insert(values.end(), {i.bins.lo, i.bins.hi});
                          } else {
                            values.push_back(0);
                            values.insert(values.end(), i.counts.begin(), i.counts.end());
                          }
                        },
                        [&](const HeatmapItem& i) {
                          values.insert(values.end(), {0.0, static_cast<double>(x ? i.columns : i.rows)});
                        },
                        [&](const SpansItem& i) {
                          if (!x) values.insert(values.end(), {i.row, i.row + 1});
                          if (!x || i.marks.empty()) return;
                          values.insert(values.end(), {i.marks.front().begin, i.marks.back().end});
                        },
                        [](const auto&) {}},
             item.data);
}

void draw_marker(ImDrawList& list, ImVec2 at, Marker marker, float size, ImU32 color, bool hollow,
                 float thickness) {
  const auto polygon = [&](std::initializer_list<ImVec2> points) {
    if (hollow) {
      list.AddPolyline(points.begin(), static_cast<int>(points.size()), color, ImDrawFlags_Closed, thickness);
    } else {
      list.AddConvexPolyFilled(points.begin(), static_cast<int>(points.size()), color);
    }
  };
  switch (marker) {
    case Marker::kNone:
      break;
    case Marker::kCircle:
      hollow ? list.AddCircle(at, size, color, 0, thickness) : list.AddCircleFilled(at, size, color);
      break;
    case Marker::kSquare:
      polygon({{at.x - size, at.y - size},
               {at.x + size, at.y - size},
               {at.x + size, at.y + size},
               {at.x - size, at.y + size}});
      break;
    case Marker::kTriangle:
      polygon({{at.x, at.y - 1.2f * size},
               {at.x + 1.1f * size, at.y + 0.9f * size},
               {at.x - 1.1f * size, at.y + 0.9f * size}});
      break;
    case Marker::kDiamond:
      polygon({{at.x, at.y - 1.3f * size},
               {at.x + 1.3f * size, at.y},
               {at.x, at.y + 1.3f * size},
               {at.x - 1.3f * size, at.y}});
      break;
    case Marker::kCross:
      list.AddLine({at.x - size, at.y - size}, {at.x + size, at.y + size}, color, thickness);
      list.AddLine({at.x - size, at.y + size}, {at.x + size, at.y - size}, color, thickness);
      break;
  }
}

void draw_item(ImDrawList& list, const Chart& chart, const Item& item, const Style& style) {
  std::visit(Overloaded{[&](const LineItem& i) { draw_line(list, chart, i, style); },
                        [&](const BarItem& i) { draw_bar(list, chart, i, style); },
                        [&](const HistogramItem& i) { draw_histogram(list, chart, i); },
                        [&](const HeatmapItem& i) { draw_heatmap(list, chart, i); },
                        [&](const SpansItem& i) { draw_spans(list, chart, i, style); },
                        [&](const LimitItem& i) { draw_limit(list, chart, item.label, i, style); },
                        [&](const MissingItem& i) {
                          const float x = chart.pixel(i.x, chart.y.range.lo).x;
                          draw_marker(list, {x, chart.max.y - 8 * style.unit}, Marker::kCross,
                                      3.5f * style.unit, i.color, true, 2 * style.unit);
                        }},
             item.data);
}

void draw_value_label(ImDrawList& list, const Chart& chart, const Item& item, const Style& style) {
  const BarItem* bar = std::get_if<BarItem>(&item.data);
  if (!bar || bar->style.value_label.empty() || !std::isfinite(bar->height)) return;
  const Box box = box_of(chart, *bar);
  const std::string& label = bar->style.value_label;
  const ImVec2 extent = style.font->CalcTextSizeA(style.font_size, FLT_MAX, 0, label.c_str());
  const float gap = 3 * style.unit;
  const float x = std::round((box.min.x + box.max.x - extent.x) / 2);
  const float y =
      std::round(box.torn ? chart.min.y + 3 * gap : std::max(box.min.y - extent.y - gap, chart.min.y + 1));
  list.AddRectFilled({x - gap, y}, {x + extent.x + gap, y + extent.y},
                     (style.background & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 225), gap);
  list.AddText(style.font, style.font_size, {x, y}, style.text, label.c_str());
}

std::optional<ReadOut> read_out(const Chart& chart, const Item& item, ImVec2 mouse, const Style& style) {
  if (!inside(mouse, chart.min, chart.max)) return std::nullopt;
  return std::visit(
      Overloaded{[&](const LineItem& i) { return read_line(chart, item.label, i, mouse, style); },
                 [&](const BarItem& i) { return read_bar(chart, item.label, i, mouse); },
                 [&](const HistogramItem& i) { return read_histogram(chart, item.label, i, mouse); },
                 [&](const HeatmapItem& i) { return read_heatmap(chart, item.label, i, mouse); },
                 [&](const SpansItem& i) { return read_spans(chart, i, mouse, style); },
                 [&](const LimitItem&) { return std::optional<ReadOut>(); },
                 [&](const MissingItem& i) {
                   const ImVec2 at(chart.pixel(i.x, chart.y.range.lo).x, chart.max.y - 8 * style.unit);
                   const float distance = std::hypot(at.x - mouse.x, at.y - mouse.y);
                   if (distance > 12 * style.unit) return std::optional<ReadOut>();
                   return std::optional<ReadOut>({distance, at, item.label + "\n" + i.reason});
                 }},
      item.data);
}

std::string to_csv(const Chart& chart) {
  bool heat = false, spans = false;
  for (const Item& item : chart.items) {
    heat = heat || std::holds_alternative<HeatmapItem>(item.data);
    spans = spans || std::holds_alternative<SpansItem>(item.data);
  }
  const std::string x = csv_field(chart.x.title()), y = csv_field(chart.y.title());
  std::string csv = "series," + x + "," + y + "\n";
  if (heat) csv = "series," + y + "," + x + ",value\n";
  if (spans) csv = "series,begin (" + chart.x.unit + "),end (" + chart.x.unit + "),name\n";
  const auto row = [&](const std::string& label, const std::string& a, const std::string& b) {
    csv += csv_field(label) + "," + a + "," + b + "\n";
  };
  for (const Item& item : chart.items) {
    std::visit(
        Overloaded{[&](const LineItem& i) {
                     for (std::size_t n = 0; n < std::min(i.xs.size(), i.ys.size()); ++n) {
                       row(item.label, exact(i.xs[n]), exact(i.ys[n]));
                     }
                   },
                   [&](const BarItem& i) { row(item.label, exact(i.x), exact(i.height)); },
                   [&](const HistogramItem& i) {
                     const double width = (i.bins.hi - i.bins.lo) / static_cast<double>(i.counts.size());
                     for (std::size_t n = 0; n < i.counts.size(); ++n) {
                       row(item.label, exact(i.bins.lo + width * (static_cast<double>(n) + 0.5)),
                           exact(i.counts[n]));
                     }
                   },
                   [&](const HeatmapItem& i) {
                     for (std::size_t n = 0; n < i.rows * i.columns; ++n) {
                       row(item.label, std::to_string(n / i.columns),
                           std::to_string(n % i.columns) + "," + exact(i.values[n]));
                     }
                   },
                   [&](const SpansItem& i) {
                     for (const SpanMark& mark : i.marks) {
                       row(item.label, exact(mark.begin), exact(mark.end) + "," + csv_field(mark.name));
                     }
                   },
                   [&](const LimitItem& i) {
                     row(item.label, i.axis == Axis::kX ? exact(i.value) : "",
                         i.axis == Axis::kY ? exact(i.value) : "");
                   },
                   [&](const MissingItem& i) { row(item.label, exact(i.x), csv_field(i.reason)); }},
        item.data);
  }
  return csv;
}

}  // namespace statescope::plot
