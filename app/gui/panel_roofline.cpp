// The roofline of a device by its own measured ceilings, every measured kernel a point.
#include <algorithm>
#include <cmath>

#include "app/gui/profile.h"

namespace statescope::gui {
namespace {

struct Roof {
  std::string name;
  double flop_per_second;
};

std::vector<Roof> roofs_of(const Ceilings& c) {
  std::vector<Roof> roofs;
  if (c.matrix_flop_per_second > 0)
    roofs.push_back(
        {"matrix units " + quantity(c.matrix_flop_per_second, "flop/s"), c.matrix_flop_per_second});
  if (c.f32_flop_per_second > 0)
    roofs.push_back({"float32 " + quantity(c.f32_flop_per_second, "flop/s"), c.f32_flop_per_second});
  return roofs;
}

/// One point as a series of its own, so that its read-out names it.
struct Mark {
  std::string label;
  std::vector<double> x, y;
  SeriesLook look;
  std::optional<std::size_t> kernel;
};

}  // namespace

void roofline_tab(const View& view, ProfileUi& ui, ImVec2 size) {
  const Theme& theme = view.theme;
  const OpenCapture& open = *ui.shown;
  if (open.points.empty()) {
    wrapped_text(theme.fonts.small, theme.palette.dim, "This capture has no measured kernel.");
    return;
  }
  const std::size_t device =
      ui.kernel < open.kernels.size() ? open.capture.entries[open.kernels[ui.kernel].entry].device : 0;
  const CapturedDevice& on = open.capture.devices[device];
  text(theme.fonts.small, theme.palette.text, on.info.name + "  " + on.info.description, size.x);
  help_on_hover(theme, "roofline");
  const std::vector<Roof> roofs = roofs_of(on.ceilings);
  const double copy = on.ceilings.copy_bytes_per_second;
  std::vector<Mark> marks;
  std::vector<double> intensities, rates;
  for (const RooflinePoint& point : open.points) {
    if (point.device != device) continue;
    std::string label =
        std::string(name(point.series)) + " E " + std::to_string(point.expansion) + ", " + point.kernel;
    if (point.ceiling > 0) {
      label += ": " + percentage(point.share()) + " of its roof (" +
               (point.bound == "memory" ? "memory" : std::string(point.compute_roof) + " units") + ")";
    }
    marks.push_back({label,
                     {point.intensity},
                     {point.flop_per_second},
                     look_of(theme, point.series),
                     kernel_of(open, point)});
    intensities.push_back(point.intensity);
    rates.push_back(point.flop_per_second);
  }
  // Wide enough for the ridges and every point.
  for (const Roof& roof : roofs) {
    if (copy > 0)
      intensities.insert(intensities.end(),
                         {roof.flop_per_second / copy / 4, roof.flop_per_second / copy * 6});
    rates.push_back(roof.flop_per_second * 1.6);
  }
  const plot::Range x = plot::fit(plot::Scale::kLog10, intensities, 0.06);
  const plot::Range y = plot::fit(plot::Scale::kLog10, rates, 0.06);
  // A roof: the slope of the copy, then the units' rate.
  std::vector<std::vector<double>> roof_xs, roof_ys;
  for (const Roof& roof : roofs) {
    const double ridge = copy > 0 ? std::clamp(roof.flop_per_second / copy, x.lo, x.hi) : x.lo;
    roof_xs.push_back({x.lo, ridge, x.hi});
    roof_ys.push_back({copy > 0 ? std::min(x.lo * copy, roof.flop_per_second) : roof.flop_per_second,
                       copy > 0 ? std::min(ridge * copy, roof.flop_per_second) : roof.flop_per_second,
                       roof.flop_per_second});
  }
  const ImVec2 left = ImGui::GetContentRegionAvail();
  ImVec2 chart(size.x, left.y - theme.px(16 * (roofs.size() + 1)) - theme.px(6));
  if (plot::begin("roofline", chart, false)) {
    plot::setup_axis(plot::Axis::kX, "intensity", "flop a byte that must move", plot::Scale::kLog10, x);
    plot::setup_axis(plot::Axis::kY, "reached", "flop/s", plot::Scale::kLog10, y);
    for (std::size_t i = 0; i < roofs.size(); ++i) {
      plot::line(roofs[i].name.c_str(), roof_xs[i], roof_ys[i],
                 {.color = i == 0 ? theme.palette.limit : theme.palette.dim, .width = 2});
    }
    for (const Mark& mark : marks) {
      const bool chosen = mark.kernel == ui.kernel;
      plot::line(mark.label.c_str(), mark.x, mark.y,
                 {.color = mark.look.color,
                  .width = 0,
                  .marker = mark.look.marker,
                  .marker_size = chosen ? 6.5f : 3.5f});
    }
    plot::end();
    if (const auto click = plot::clicked("roofline")) {
      for (const Mark& mark : marks) {
        if (mark.label == click->label && mark.kernel) ui.kernel = *mark.kernel;
      }
    }
  }
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(2)});
  for (std::size_t i = 0; i < roofs.size(); ++i) {
    legend_entry(theme, i == 0 ? theme.palette.limit : theme.palette.dim, plot::Marker::kNone, false,
                 roofs[i].name.c_str());
    help_on_hover(theme, "ceilings");
  }
  const auto chosen = std::find_if(open.points.begin(), open.points.end(), [&](const RooflinePoint& point) {
    return point.device == device && kernel_of(open, point) == ui.kernel;
  });
  if (chosen != open.points.end() && chosen->ceiling > 0) {
    text(theme.fonts.small, theme.palette.text,
         "chosen: " + percentage(chosen->share()) + " of its roof, bound by " +
             (chosen->bound == "memory" ? "memory" : "the " + std::string(chosen->compute_roof) + " units"),
         size.x);
    help_on_hover(theme, "roofline");
  }
  ImGui::PopStyleVar();
}

}  // namespace statescope::gui
