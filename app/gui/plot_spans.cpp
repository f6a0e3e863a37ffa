// Spans of time: a row of boxes, drawn once a pixel where many fall on one.
#include <algorithm>
#include <cmath>

#include "app/gui/plot_items.h"

namespace statescope::plot {
namespace {

struct Box {
  ImVec2 min, max;
};

/// At least a pixel wide, so that a short span is seen.
Box box_of(const Chart& chart, const SpansItem& item, const SpanMark& mark, float gap) {
  const ImVec2 from = chart.pixel(mark.begin, item.row), to = chart.pixel(mark.end, item.row + 1);
  return {{from.x, std::min(from.y, to.y) + gap}, {std::max(to.x, from.x + 1), std::max(from.y, to.y) - gap}};
}

/// The first mark that may reach into the plot.
std::size_t first_seen(const Chart& chart, const SpansItem& item) {
  const auto first = std::partition_point(item.marks.begin(), item.marks.end(),
                                          [&](const SpanMark& mark) { return mark.end < chart.x.range.lo; });
  return static_cast<std::size_t>(first - item.marks.begin());
}

}  // namespace

void draw_spans(ImDrawList& list, const Chart& chart, const SpansItem& item, const Style& style) {
  const float gap = style.unit;
  float drawn_to = -FLT_MAX;
  for (std::size_t i = first_seen(chart, item); i < item.marks.size(); ++i) {
    const SpanMark& mark = item.marks[i];
    if (mark.begin > chart.x.range.hi) break;
    const Box box = box_of(chart, item, mark, gap);
    if (box.max.x <= drawn_to) continue;
    // Neighbours stay apart where there is room.
    const float right = box.max.x - box.min.x > 4 * style.unit ? box.max.x - style.unit : box.max.x;
    list.AddRectFilled(box.min, {right, box.max.y}, mark.color, 2 * style.unit);
    drawn_to = std::ceil(box.max.x);
    if (mark.name.empty() || right - box.min.x < 24 * style.unit) continue;
    const char *begin = mark.name.data(), *end = begin + mark.name.size();
    const ImVec2 extent = style.font->CalcTextSizeA(style.font_size, FLT_MAX, 0, begin, end);
    const float left = std::max(box.min.x, chart.min.x), to = std::min(right, chart.max.x);
    if (extent.x + 8 * style.unit > to - left || extent.y > box.max.y - box.min.y) continue;
    list.AddText(style.font, style.font_size,
                 {std::round(left + 4 * style.unit), std::round((box.min.y + box.max.y - extent.y) / 2)},
                 style.background, begin, end);
  }
}

std::optional<ReadOut> read_spans(const Chart& chart, const SpansItem& item, ImVec2 mouse,
                                  const Style& style) {
  std::optional<ReadOut> best;
  // The mouse need not hit a span of one pixel exactly.
  const float reach = 2 * style.unit;
  for (std::size_t i = first_seen(chart, item); i < item.marks.size(); ++i) {
    const Box box = box_of(chart, item, item.marks[i], 0);
    if (box.min.x > mouse.x + reach) break;
    if (mouse.y < box.min.y || mouse.y >= box.max.y || mouse.x > box.max.x + reach) continue;
    const float distance = std::max({box.min.x - mouse.x, mouse.x - box.max.x, 0.0f});
    if (best && best->distance <= distance) continue;
    best = ReadOut{distance, {(box.min.x + box.max.x) / 2, (box.min.y + box.max.y) / 2}, "", i};
  }
  if (!best) return std::nullopt;
  best->text = item.note(best->index);
  best->distance = 0;
  return best;
}

}  // namespace statescope::plot
