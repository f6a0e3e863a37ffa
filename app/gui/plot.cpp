// A chart's frame: layout, axes, legend, mouse. The items draw themselves (plot_items.cpp).
#include "app/gui/plot.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "app/gui/plot_items.h"

namespace statescope::plot {
namespace {

/// What the user did to a chart; kept from frame to frame.
struct Memory {
  std::optional<Range> x, y;  ///< zoomed or panned away from what the program asks for
  std::optional<Click> click;
  std::set<std::string> hidden;
};

struct Context {
  Style style;
  bool open = false;
  bool capture = false;
  Chart chart;
  std::map<std::string, Memory, std::less<>> memories;
  std::map<std::string, Layout, std::less<>> layouts;
  std::vector<ExportRequest> exports;
};

Context& context() {
  static Context instance;
  return instance;
}

float text_width(const Style& style, const std::string& text) {
  return style.font->CalcTextSizeA(style.font_size, FLT_MAX, 0, text.c_str()).x;
}

void draw_text(ImDrawList& list, const Style& style, float x, float y, ImU32 color, const std::string& text) {
  list.AddText(style.font, style.font_size, {std::round(x), std::round(y)}, color, text.c_str());
}

void settle_range(AxisState& axis, Axis which, const std::vector<Item>& items,
                  const std::optional<Range>& moved, const std::set<std::string>& hidden) {
  if (moved) {
    axis.range = *moved;
  } else if (axis.wanted) {
    axis.range = *axis.wanted;
  } else {
    std::vector<double> values;
    for (const Item& item : items) {
      if (!hidden.contains(item.label)) append_values(item, which, values);
    }
    axis.range = fit(axis.scale, values, 0.06);
    // Bars and counts stand on zero.
    if (axis.scale == Scale::kLinear && axis.range.lo < 0 &&
        std::all_of(values.begin(), values.end(), [](double v) { return !(v < 0); })) {
      axis.range.lo = 0;
    }
  }
}

std::vector<Tick> ticks_of(const AxisState& axis, float pixels, float apart) {
  if (!axis.own_ticks.empty()) return axis.own_ticks;
  if (axis.format) apart *= 2;
  auto result = ticks(axis.scale, axis.range, std::clamp(static_cast<int>(pixels / apart), 2, 8));
  for (std::size_t i = 0; axis.format && i < result.size(); ++i) {
    const double step = result.size() > 1 ? std::abs(result[1].value - result[0].value) : 0;
    if (result[i].major) result[i].label = axis.format(result[i].value, step);
  }
  return result;
}

struct LegendEntry {
  const Item* item;
  ImVec2 min, max;
};

bool in_legend(const Item& item) {
  return !item.label.empty() && !std::holds_alternative<LimitItem>(item.data) &&
         !std::holds_alternative<HeatmapItem>(item.data) && !std::holds_alternative<MissingItem>(item.data) &&
         !std::holds_alternative<SpansItem>(item.data);
}

/// Right-aligned rows of entries under the axis title; rows that are needed.
std::vector<LegendEntry> place_legend(const Chart& chart, const Style& style, float title_width, int& rows) {
  std::vector<LegendEntry> entries;
  std::set<std::string> seen;
  const float row_height = style.font_size + 4 * style.unit;
  const float swatch = 16 * style.unit, gap = 10 * style.unit;
  for (const Item& item : chart.items) {
    if (!chart.legend || !in_legend(item) || !seen.insert(item.label).second) continue;
    entries.push_back({&item, {}, {swatch + text_width(style, item.label), row_height}});
  }
  // The first row shares the line with the title when all entries fit beside it.
  float all = 0;
  for (const LegendEntry& entry : entries) all += entry.max.x + gap;
  const float width = chart.outer_max.x - chart.outer_min.x;
  const bool beside = all + title_width + gap <= width;
  rows = entries.empty() ? 0 : (beside ? 0 : 1);
  float x = beside ? chart.outer_max.x - all + gap : chart.outer_min.x;
  float y = chart.outer_min.y + (beside ? 0 : row_height);
  for (LegendEntry& entry : entries) {
    if (x + entry.max.x > chart.outer_max.x + 1 && x > chart.outer_min.x) {
      x = chart.outer_min.x;
      y += row_height;
      ++rows;
    }
    entry.min = {x, y};
    x += entry.max.x + gap;
    entry.max = {entry.min.x + entry.max.x, entry.min.y + entry.max.y};
  }
  return entries;
}

bool hovers(ImVec2 mouse, ImVec2 min, ImVec2 max) {
  return mouse.x >= min.x && mouse.x < max.x && mouse.y >= min.y && mouse.y < max.y;
}

void draw_legend(ImDrawList& list, const std::vector<LegendEntry>& entries, Memory& memory,
                 const Style& style) {
  for (const LegendEntry& entry : entries) {
    const bool hidden = memory.hidden.contains(entry.item->label);
    const ImU32 color = hidden ? style.grid : color_of(*entry.item);
    const ImVec2 middle(entry.min.x + 6 * style.unit, (entry.min.y + entry.max.y) / 2 - style.unit);
    if (const auto* item = std::get_if<LineItem>(&entry.item->data)) {
      if (item->style.width > 0) {
        const float half = 6 * style.unit;
        if (item->style.dashed) {
          for (const float from : {-1.0f, 0.3f}) {
            list.AddLine({middle.x + from * half, middle.y}, {middle.x + (from + 0.8f) * half, middle.y},
                         color, 2 * style.unit);
          }
        } else {
          list.AddLine({middle.x - half, middle.y}, {middle.x + half, middle.y}, color, 2 * style.unit);
        }
      }
      draw_marker(list, middle, item->style.marker, 3.5f * style.unit, color, item->style.hollow,
                  1.5f * style.unit);
    } else {
      const float half = 4 * style.unit;
      list.AddRectFilled({middle.x - half, middle.y - half}, {middle.x + half, middle.y + half}, color);
    }
    draw_text(list, style, entry.min.x + 16 * style.unit, entry.min.y, hidden ? style.grid : style.text,
              entry.item->label);
    if (ImGui::IsWindowHovered() && ImGui::IsMouseClicked(0) &&
        hovers(ImGui::GetMousePos(), entry.min, entry.max)) {
      if (!memory.hidden.erase(entry.item->label)) memory.hidden.insert(entry.item->label);
    }
  }
}

void draw_grid(ImDrawList& list, const Chart& chart, const std::vector<Tick>& x_ticks,
               const std::vector<Tick>& y_ticks, const Style& style) {
  list.AddRectFilled(chart.min, chart.max, style.background);
  const ImU32 faint = (style.grid & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 90);
  for (const Tick& tick : x_ticks) {
    const float x = std::round(chart.pixel(tick.value, chart.y.range.lo).x);
    if (x > chart.min.x && x < chart.max.x) {
      list.AddLine({x, chart.min.y}, {x, chart.max.y}, tick.major ? style.grid : faint);
    }
  }
  for (const Tick& tick : y_ticks) {
    const float y = std::round(chart.pixel(chart.x.range.lo, tick.value).y);
    if (y > chart.min.y && y < chart.max.y) {
      list.AddLine({chart.min.x, y}, {chart.max.x, y}, tick.major ? style.grid : faint);
    }
  }
}

/// The colours of a heatmap with the values at both ends, right of the axis title.
void draw_color_bar(ImDrawList& list, const Chart& chart, const HeatmapItem& item, const Style& style) {
  const std::string lo = format_value(item.range.lo), hi = format_value(item.range.hi);
  const float width = 60 * style.unit, height = style.font_size * 0.6f, gap = 4 * style.unit;
  const float hi_x = chart.max.x - text_width(style, hi);
  const float right = hi_x - gap, left = right - width;
  const float top = chart.outer_min.y + 0.25f * style.font_size;
  const float middle = (left + right) / 2;
  list.AddRectFilledMultiColor({left, top}, {middle, top + height}, item.colors.lo, item.colors.middle,
                               item.colors.middle, item.colors.lo);
  list.AddRectFilledMultiColor({middle, top}, {right, top + height}, item.colors.middle, item.colors.hi,
                               item.colors.hi, item.colors.middle);
  list.AddRect({left, top}, {right, top + height}, style.grid);
  draw_text(list, style, hi_x, chart.outer_min.y, style.dim, hi);
  draw_text(list, style, left - gap - text_width(style, lo), chart.outer_min.y, style.dim, lo);
}

void draw_labels(ImDrawList& list, const Chart& chart, const std::vector<Tick>& x_ticks,
                 const std::vector<Tick>& y_ticks, const Style& style) {
  float last = -FLT_MAX;
  for (const Tick& tick : x_ticks) {
    const float x = chart.pixel(tick.value, chart.y.range.lo).x;
    if (tick.label.empty() || x < chart.min.x - 1 || x > chart.max.x + 1) continue;
    const float width = text_width(style, tick.label);
    const float left = std::clamp(x - width / 2, chart.outer_min.x, chart.outer_max.x - width);
    if (left < last) continue;
    draw_text(list, style, left, chart.max.y + 3 * style.unit, style.dim, tick.label);
    last = left + width + 4 * style.unit;
  }
  for (const Tick& tick : y_ticks) {
    const float y = chart.pixel(chart.x.range.lo, tick.value).y;
    if (tick.label.empty() || y < chart.min.y - 1 || y > chart.max.y + 1) continue;
    draw_text(list, style, chart.min.x - 5 * style.unit - text_width(style, tick.label),
              y - style.font_size / 2, style.dim, tick.label);
  }
  const std::string title = chart.x.title();
  draw_text(list, style, (chart.min.x + chart.max.x - text_width(style, title)) / 2,
            chart.max.y + style.font_size + 5 * style.unit, style.dim, title);
  draw_text(list, style, chart.outer_min.x, chart.outer_min.y, style.dim, chart.y.title());
}

void move_with_mouse(const Chart& chart, Memory& memory, bool hovered, bool dragged) {
  const ImGuiIO& io = ImGui::GetIO();
  const double width = chart.max.x - chart.min.x, height = chart.max.y - chart.min.y;
  if (hovered && io.MouseWheel != 0) {
    const double factor = std::pow(0.85, io.MouseWheel);
    if (!chart.x.locked)
      memory.x = zoom(chart.x.scale, chart.x.range, (io.MousePos.x - chart.min.x) / width, factor);
    if (!chart.y.locked)
      memory.y = zoom(chart.y.scale, chart.y.range, (chart.max.y - io.MousePos.y) / height, factor);
  }
  if (dragged && (io.MouseDelta.x != 0 || io.MouseDelta.y != 0)) {
    if (!chart.x.locked) memory.x = pan(chart.x.scale, chart.x.range, -io.MouseDelta.x / width);
    if (!chart.y.locked) memory.y = pan(chart.y.scale, chart.y.range, io.MouseDelta.y / height);
  }
  if (hovered && ImGui::IsMouseDoubleClicked(0)) memory.x = memory.y = std::nullopt;
}

/// A click is a press and a release in one place; a drag pans.
bool clicks() {
  const ImVec2 moved = ImGui::GetMouseDragDelta(0, 0);
  return ImGui::IsMouseReleased(0) && std::hypot(moved.x, moved.y) < 4;
}

void show_read_out(ImDrawList& list, const Chart& chart, Memory& memory, const Style& style) {
  std::optional<ReadOut> best;
  ImU32 color = style.text;
  std::string label;
  for (const Item& item : chart.items) {
    if (memory.hidden.contains(item.label)) continue;
    const auto found = read_out(chart, item, ImGui::GetMousePos(), style);
    if (found && (!best || found->distance < best->distance)) {
      best = found;
      color = color_of(item);
      label = item.label;
    }
  }
  if (!best) return;
  if (clicks()) memory.click = Click{label, best->index};
  if (best->distance > 0) list.AddCircle(best->at, 6 * style.unit, color, 0, 1.5f * style.unit);
  ImGui::BeginTooltip();
  ImGui::PushStyleColor(ImGuiCol_Text, color);
  const std::size_t end = best->text.find('\n');
  ImGui::TextUnformatted(best->text.substr(0, end).c_str());
  ImGui::PopStyleColor();
  ImGui::PushTextWrapPos(380 * style.unit);
  if (end != std::string::npos) ImGui::TextUnformatted(best->text.c_str() + end + 1);
  ImGui::PopTextWrapPos();
  ImGui::EndTooltip();
}

void show_menu(const Chart& chart, Memory& memory) {
  if (!ImGui::BeginPopupContextItem("menu")) return;
  ExportRequest request{chart.id, {}, false, chart.outer_min, chart.outer_max};
  if (ImGui::MenuItem("Copy data as CSV")) ImGui::SetClipboardText(to_csv(chart).c_str());
  if (ImGui::MenuItem("Save data as CSV")) {
    request.csv = to_csv(chart);
    context().exports.push_back(request);
  }
  if (ImGui::MenuItem("Save picture")) {
    request.picture = true;
    context().exports.push_back(request);
  }
  if (ImGui::MenuItem("Reset zoom", nullptr, false, memory.x.has_value())) memory.x = memory.y = std::nullopt;
  ImGui::EndPopup();
}

void add(const char* label, decltype(Item::data) data) {
  IM_ASSERT(context().open);
  context().chart.items.push_back({label, std::move(data)});
}

}  // namespace

void set_style(const Style& style) {
  context().style = style;
}

void begin_frame() {
  context().layouts.clear();
}

void capture_csv(bool on) {
  context().capture = on;
}

bool begin(const char* id, ImVec2 size, bool legend) {
  Context& c = context();
  IM_ASSERT(!c.open && c.style.font);
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  c.chart = {};
  c.chart.id = id;
  c.chart.legend = legend;
  c.chart.outer_min = {std::round(corner.x), std::round(corner.y)};
  c.chart.outer_max = {std::round(corner.x + size.x), std::round(corner.y + size.y)};
  if (size.x < 60 * c.style.unit || size.y < 60 * c.style.unit) {
    ImGui::Dummy(size);
    return false;
  }
  c.open = true;
  return true;
}

void setup_axis(Axis axis, const char* label, const char* unit, Scale scale, std::optional<Range> range) {
  AxisState& state = axis == Axis::kX ? context().chart.x : context().chart.y;
  state.label = label;
  state.unit = unit;
  state.scale = scale;
  state.wanted = range;
}

void setup_ticks(Axis axis, std::vector<Tick> own) {
  (axis == Axis::kX ? context().chart.x : context().chart.y).own_ticks = std::move(own);
}

void setup_format(Axis axis, std::function<std::string(double, double)> format) {
  (axis == Axis::kX ? context().chart.x : context().chart.y).format = std::move(format);
}

void lock_axis(Axis axis) {
  (axis == Axis::kX ? context().chart.x : context().chart.y).locked = true;
}

void line(const char* label, std::span<const double> xs, std::span<const double> ys, const LineStyle& style) {
  add(label, LineItem{xs, ys, style});
}
void bar(const char* label, double x, double height, const BarStyle& style) {
  add(label, BarItem{x, height, style});
}
void histogram(const char* label, Range bins, std::span<const double> counts, ImU32 color) {
  add(label, HistogramItem{bins, counts, color});
}
void heatmap(const char* label, std::span<const double> values, std::size_t rows, std::size_t columns,
             Range range, const ColorMap& colors) {
  add(label, HeatmapItem{values, rows, columns, range, colors});
}
void spans(const char* label, double row, std::span<const SpanMark> marks,
           std::function<std::string(std::size_t)> note) {
  add(label, SpansItem{row, marks, std::move(note)});
}
void limit_line(const char* label, Axis axis, double value, ImU32 color) {
  add(label, LimitItem{axis, value, color});
}
void missing_point(const char* label, double x, const std::string& reason, ImU32 color) {
  add(label, MissingItem{x, reason, color});
}

void message(const std::string& line) {
  context().chart.message = line;
}

void end() {
  Context& c = context();
  IM_ASSERT(c.open);
  c.open = false;
  Chart& chart = c.chart;
  const Style& style = c.style;
  Memory& memory = c.memories[chart.id];
  ImDrawList& list = *ImGui::GetWindowDrawList();

  settle_range(chart.x, Axis::kX, chart.items, memory.x, memory.hidden);
  settle_range(chart.y, Axis::kY, chart.items, memory.y, memory.hidden);

  int legend_rows = 0;
  const auto legend = place_legend(chart, style, text_width(style, chart.y.title()), legend_rows);
  const float row = style.font_size + 4 * style.unit;
  // Without a title, a legend or a colour bar nothing stands above the plot.
  const bool bare = chart.y.title().empty() && legend.empty() &&
                    std::none_of(chart.items.begin(), chart.items.end(), [](const Item& item) {
                      return std::holds_alternative<HeatmapItem>(item.data);
                    });
  chart.min.y = chart.outer_min.y + (bare ? 0 : row * static_cast<float>(1 + legend_rows)) + 2 * style.unit;
  chart.max.y = chart.outer_max.y - 2 * row - 1;
  const bool nothing =
      !chart.message.empty() && !chart.y.wanted;  // a range that no data has set means nothing
  const auto y_ticks =
      nothing ? std::vector<Tick>() : ticks_of(chart.y, chart.max.y - chart.min.y, 30 * style.unit);
  float label_width = 0;
  for (const Tick& tick : y_ticks) label_width = std::max(label_width, text_width(style, tick.label));
  chart.min.x = std::round(chart.outer_min.x + label_width + 7 * style.unit);
  chart.max.x = std::round(chart.outer_max.x - 4 * style.unit);
  const auto x_ticks = ticks_of(chart.x, chart.max.x - chart.min.x, 48 * style.unit);

  // The mouse has the plot area; the layout sees the whole chart as one item.
  ImGui::SetCursorScreenPos(chart.min);
  ImGui::PushID(chart.id.c_str());
  ImGui::InvisibleButton(
      "plot", {std::max(chart.max.x - chart.min.x, 1.0f), std::max(chart.max.y - chart.min.y, 1.0f)});
  const bool hovered = ImGui::IsItemHovered(), dragged = ImGui::IsItemActive();
  show_menu(chart, memory);
  ImGui::PopID();
  ImGui::SetCursorScreenPos(chart.outer_min);
  ImGui::Dummy({chart.outer_max.x - chart.outer_min.x, chart.outer_max.y - chart.outer_min.y});

  draw_grid(list, chart, x_ticks, y_ticks, style);
  list.PushClipRect(chart.min, chart.max, true);
  for (const Item& item : chart.items) {
    if (!memory.hidden.contains(item.label)) draw_item(list, chart, item, style);
  }
  for (const Item& item : chart.items) {
    if (!memory.hidden.contains(item.label)) draw_value_label(list, chart, item, style);
  }
  if (!chart.message.empty()) {
    draw_text(list, style, (chart.min.x + chart.max.x - text_width(style, chart.message)) / 2,
              (chart.min.y + chart.max.y - style.font_size) / 2, style.dim, chart.message);
  }
  memory.click.reset();
  if (hovered) show_read_out(list, chart, memory, style);
  list.PopClipRect();
  list.AddRect({chart.min.x, chart.min.y}, {chart.max.x + 1, chart.max.y + 1}, style.grid);
  draw_labels(list, chart, x_ticks, y_ticks, style);
  draw_legend(list, legend, memory, style);
  for (const Item& item : chart.items) {
    if (const auto* heat = std::get_if<HeatmapItem>(&item.data)) draw_color_bar(list, chart, *heat, style);
  }

  Layout layout{chart.min,
                chart.max,
                chart.outer_min,
                chart.outer_max,
                chart.x.scale,
                chart.y.scale,
                chart.x.range,
                chart.y.range,
                {},
                {}};
  for (const LegendEntry& entry : legend) layout.legend.push_back(entry.item->label);
  if (c.capture) layout.csv = to_csv(chart);
  c.layouts[chart.id] = layout;
  move_with_mouse(chart, memory, hovered, dragged);
}

ImVec2 Layout::pixel(double x_value, double y_value) const {
  const double u = to_unit(x_scale, x, x_value), v = to_unit(y_scale, y, y_value);
  return {static_cast<float>(min.x + u * (max.x - min.x)), static_cast<float>(max.y - v * (max.y - min.y))};
}

const Layout* layout(std::string_view id) {
  const auto& layouts = context().layouts;
  const auto found = layouts.find(id);
  return found == layouts.end() ? nullptr : &found->second;
}

std::vector<std::string> charts() {
  std::vector<std::string> ids;
  for (const auto& [id, ignored] : context().layouts) ids.push_back(id);
  return ids;
}

std::optional<Click> clicked(std::string_view id) {
  const auto& memories = context().memories;
  const auto found = memories.find(id);
  return found == memories.end() ? std::nullopt : found->second.click;
}

void reset_zoom(std::string_view id) {
  auto& memories = context().memories;
  const auto found = memories.find(id);
  if (found != memories.end()) found->second.x = found->second.y = std::nullopt;
}

std::vector<ExportRequest> take_exports() {
  return std::exchange(context().exports, {});
}

ImU32 blend(const ColorMap& map, double unit) {
  if (std::isnan(unit)) return map.middle;
  unit = std::clamp(unit, 0.0, 1.0);
  const ImU32 from = unit < 0.5 ? map.lo : map.middle, to = unit < 0.5 ? map.middle : map.hi;
  const double share = unit < 0.5 ? 2 * unit : 2 * unit - 1;
  ImU32 result = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    const double a = (from >> shift) & 0xff, b = (to >> shift) & 0xff;
    result |= static_cast<ImU32>(std::lround(a + share * (b - a))) << shift;
  }
  return result;
}

}  // namespace statescope::plot
