// Throughput against E, measured on the devices of this machine, with the paper's training rates beside it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "app/gui/panels.h"
#include "profiler/published.h"

namespace statescope::gui {
namespace {

std::vector<std::string> chosen_devices(const View& view) {
  if (!view.settings.devices.empty()) return view.settings.devices;
  return view.first ? std::vector<std::string>{view.first->name} : std::vector<std::string>{};
}

std::vector<std::int64_t> powers_of_two() {
  std::vector<std::int64_t> powers;
  for (std::int64_t e = 1; e <= kMostExpansion; e *= 2) powers.push_back(e);
  return powers;
}

std::optional<SpeedRequest> request_for(const View& view, const std::string& device, SweepSeries series,
                                        std::int64_t expansion) {
  const DeviceInfo* info = view.session.device(device);
  if (!info) return std::nullopt;
  // The cpu runs one text for both subheads series.
  if (info->api == Api::kCpu && series == SweepSeries::kSubheads) return std::nullopt;
  const Problem base = view.session.problem_for(view.settings, info);
  return SpeedRequest{device, series, expansion, cell_problem(base, series, expansion, Pass::kForward, {})};
}

struct Curve {
  std::string label;
  SeriesLook look;
  int device = 0;
  std::vector<double> xs, ys;
  std::vector<std::pair<double, std::string>> missing;
};

std::vector<Curve> gather_curves(const View& view) {
  std::vector<Curve> curves;
  const auto devices = chosen_devices(view);
  auto expansions = powers_of_two();
  expansions.push_back(view.settings.expansion);
  std::sort(expansions.begin(), expansions.end());
  expansions.erase(std::unique(expansions.begin(), expansions.end()), expansions.end());
  for (std::size_t d = 0; d < devices.size(); ++d) {
    for (const SweepSeries series : kSweepSeries) {
      if (!shows(view.settings, series)) continue;
      Curve curve;
      curve.look = look_of(view.theme, series);
      curve.device = static_cast<int>(d);
      curve.label = devices.size() > 1 ? std::string(curve.look.name) + " " + devices[d] : curve.look.name;
      for (const std::int64_t e : expansions) {
        const auto request = request_for(view, devices[d], series, e);
        const auto cell = request ? view.session.speed(*request) : std::nullopt;
        if (!cell) continue;
        if (cell->status == SweepStatus::kMeasured) {
          curve.xs.push_back(static_cast<double>(e));
          curve.ys.push_back(cell->tokens_per_second);
        } else {
          curve.missing.emplace_back(static_cast<double>(e), cell->reason);
        }
      }
      if (request_for(view, devices[d], series, 1)) curves.push_back(std::move(curve));
    }
  }
  return curves;
}

void draw_curves(const View& view, const std::vector<Curve>& curves, ImVec2 size) {
  if (!plot::begin("throughput", size)) return;
  plot::setup_axis(plot::Axis::kX, "expansion E", "", plot::Scale::kLog2, plot::Range{0.85, 37});
  plot::setup_axis(plot::Axis::kY, "throughput", "tokens/s", plot::Scale::kLog10);
  std::vector<plot::Tick> ticks;
  for (const std::int64_t e : powers_of_two())
    ticks.push_back({static_cast<double>(e), std::to_string(e), true});
  plot::setup_ticks(plot::Axis::kX, std::move(ticks));
  const auto e = static_cast<double>(view.settings.expansion);
  plot::limit_line(("E " + std::to_string(view.settings.expansion)).c_str(), plot::Axis::kX, e,
                   view.theme.palette.dim);
  for (const Curve& curve : curves) {
    plot::line(curve.label.c_str(), curve.xs, curve.ys,
               {.color = curve.look.color, .marker = curve.look.marker, .hollow = curve.device > 0});
    // Refused points side by side, so that two series do not hide each other.
    for (const auto& [x, reason] : curve.missing) {
      plot::missing_point(curve.label.c_str(), x, reason, curve.look.color);
    }
  }
  const bool empty = std::all_of(curves.begin(), curves.end(),
                                 [](const Curve& c) { return c.xs.empty() && c.missing.empty(); });
  if (empty) plot::message(view.settings.measure ? "measuring …" : "measuring is off");
  plot::end();
}

/// Throughput of a series over its own at E = 1, where both are known.
double measured_ratio(const View& view, SweepSeries series, std::int64_t expansion) {
  const auto devices = chosen_devices(view);
  if (devices.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto at = [&](std::int64_t e) {
    const auto request = request_for(view, devices.front(), series, e);
    const auto cell = request ? view.session.speed(*request) : std::nullopt;
    return cell && cell->status == SweepStatus::kMeasured ? cell->tokens_per_second
                                                          : std::numeric_limits<double>::quiet_NaN();
  };
  return at(expansion) / at(1);
}

std::string two_digits(double value) {
  if (std::isnan(value)) return "-";
  char text[16];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

void draw_published(const View& view, ImVec2 size) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  ImGui::PushStyleColor(ImGuiCol_ChildBg, color(p.background));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(9), theme.px(7)});
  ImGui::BeginChild("published", size, true, ImGuiWindowFlags_NoScrollbar);
  ImGui::PopStyleVar();
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(4), theme.px(3)});
  text(theme.fonts.bold, p.text, "Published");
  help_on_hover(theme, "published");
  text(theme.fonts.small, p.dim, "training rates, not ours");
  ImGui::Dummy({0, theme.px(2)});
  const float second = theme.px(44), third = theme.px(102);
  text(theme.fonts.small, p.dim, "to E 1");
  same_line_at(second);
  text(theme.fonts.small, p.dim, "table 9");
  same_line_at(third);
  text(theme.fonts.small, p.dim, "here");
  for (const PublishedTraining& row : published_table_9()) {
    const bool now = row.expansion == view.settings.expansion;
    text(theme.fonts.small, now ? p.accent : p.text, "E " + std::to_string(row.expansion));
    same_line_at(second);
    text(theme.fonts.small, p.text, two_digits(row.ratio));
    same_line_at(third);
    text(theme.fonts.small, p.production,
         two_digits(measured_ratio(view, SweepSeries::kProduction, row.expansion)));
  }
  ImGui::Dummy({0, theme.px(2)});
  text(theme.fonts.small, p.dim, "subheads / naive, table 2");
  help_on_hover(theme, "published");
  const auto table = published_table_2();
  const auto find = [&](Division division, const PublishedDivision& like) {
    return std::find_if(table.begin(), table.end(), [&](const PublishedDivision& row) {
      return row.division == division && row.device == like.device && row.expansion == like.expansion;
    });
  };
  for (const PublishedDivision& row : table) {
    if (row.division != Division::kSubheads) continue;
    const auto naive = find(Division::kNaive, row);
    text(theme.fonts.small, p.text, std::string(row.device) + " E " + std::to_string(row.expansion));
    same_line_at(third);
    const bool both = naive != table.end() && naive->tokens_per_second && row.tokens_per_second;
    text(theme.fonts.small, both ? p.subheads : p.naive,
         both ? two_digits(static_cast<double>(*row.tokens_per_second) / *naive->tokens_per_second) : "OOM");
    if (ImGui::IsItemHovered()) {
      ImGui::BeginTooltip();
      ImGui::PushTextWrapPos(theme.px(360));
      wrapped_text(theme.fonts.small, p.text,
                   both ? "naive " + grouped(*naive->tokens_per_second) + ", subheads " +
                              grouped(*row.tokens_per_second) +
                              " tokens/s. The H800 ran naive: " + std::string(why_h800_ran_naive()) + "."
                        : "naive ran out of shared memory; subheads " + grouped(*row.tokens_per_second) +
                              " tokens/s.");
      ImGui::PopTextWrapPos();
      ImGui::EndTooltip();
    }
  }
  ImGui::PopStyleVar();
  ImGui::EndChild();
  ImGui::PopStyleColor();
}

}  // namespace

SeriesLook look_of(const Theme& theme, SweepSeries series) {
  const Palette& p = theme.palette;
  switch (series) {
    case SweepSeries::kNaive:
      return {p.naive, plot::Marker::kSquare, "naive"};
    case SweepSeries::kSubheads:
      return {p.subheads, plot::Marker::kCircle, "subheads"};
    case SweepSeries::kProduction:
      break;
  }
  return {p.production, plot::Marker::kTriangle, "production"};
}

bool shows(const Settings& settings, SweepSeries series) {
  if (settings.compare == Compare::kBoth) return true;
  return (settings.compare == Compare::kNaive) == (series == SweepSeries::kNaive);
}

std::vector<SpeedRequest> speed_requests(const View& view) {
  std::vector<SpeedRequest> requests;
  std::vector<std::int64_t> order{view.settings.expansion};
  for (const std::int64_t e : powers_of_two()) order.push_back(e);
  for (const std::int64_t e : order) {
    for (const std::string& device : chosen_devices(view)) {
      for (const SweepSeries series : kSweepSeries) {
        if (!shows(view.settings, series)) continue;
        if (const auto request = request_for(view, device, series, e)) requests.push_back(*request);
      }
    }
  }
  return requests;
}

void speed_panel(const View& view, Rect rect) {
  const Theme& theme = view.theme;
  std::string note = "measured";
  if (view.first && chosen_devices(view).size() == 1) {
    const DeviceInfo* info = view.session.device(chosen_devices(view).front());
    note += " on " + (info ? info->description : chosen_devices(view).front() + ", which is not there");
  }
  const ImVec2 size =
      begin_panel(theme, "speed-panel", rect, "Throughput", note, "throughput", view.highlight == "speed");
  const float inset = theme.px(154);
  draw_curves(view, gather_curves(view), {size.x - inset - theme.px(10), size.y});
  ImGui::SameLine(0, theme.px(10));
  draw_published(view, {inset, size.y});
  end_panel();
}

}  // namespace statescope::gui
