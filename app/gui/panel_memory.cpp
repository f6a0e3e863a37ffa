// Shared memory of a workgroup at the slider's E, against what devices offer: the paper's argument
// (section 4.2). All of it predicted from the kernel table, which tests hold against what drivers report.
#include <algorithm>
#include <cmath>

#include <statescope/error.h>

#include "app/gui/panels.h"
#include "app/gui/quantity.h"
#include "profiler/limits.h"

namespace statescope::gui {
namespace {

constexpr double kKibibyte = 1024;

/// Whether and with how much the series runs at E on a device.
struct Need {
  double kibibytes = 0;
  bool known = false, fits = false;
  std::string refusal;
};

Need need_of(const View& view, SweepSeries series, std::int64_t expansion, const DatabaseDevice& device) {
  const Problem problem = cell_problem(view.base, series, expansion, Pass::kForward, {});
  Need need;
  try {
    const Choice choice = choose_variant(problem, device.limits, device.label());
    need = {static_cast<double>(choice.geometry.shared_memory_bytes()) / kKibibyte, true, true, ""};
  } catch (const Error& e) {
    need.refusal = e.what();
    const Division division = series == SweepSeries::kNaive ? Division::kNaive : Division::kSubheads;
    if (series == SweepSeries::kProduction) return need;
    if (const auto geometry = comparison_geometry(view.base, division, expansion, device.limits)) {
      need.kibibytes = static_cast<double>(geometry->shared_memory_bytes()) / kKibibyte;
      need.known = true;
    }
  }
  return need;
}

/// The largest E up to the slider's end that runs; 0: none.
std::int64_t largest(const View& view, SweepSeries series, const DatabaseDevice& device) {
  std::int64_t most = 0;
  while (most < kMostExpansion && need_of(view, series, most + 1, device).fits) ++most;
  return most;
}

/// The device whose kernels the bars show: of the first device's API, the one with the most shared memory.
const DatabaseDevice* bar_device(const View& view, const std::vector<DatabaseDevice>& devices) {
  const Api api = view.first && view.first->api == Api::kVulkan ? Api::kVulkan : Api::kCuda;
  const DatabaseDevice* best = nullptr;
  for (const DatabaseDevice& device : devices) {
    const auto better = [&] {
      if (!best) return true;
      if ((device.limits.api == api) != (best->limits.api == api)) return device.limits.api == api;
      return device.limits.shared_memory_per_workgroup > best->limits.shared_memory_per_workgroup;
    };
    if (better()) best = &device;
  }
  return best;
}

void draw_bars(const View& view, const DatabaseDevice& bars_of, const std::vector<DatabaseDevice>& devices,
               ImVec2 size) {
  const Palette& p = view.theme.palette;
  double most = 0;
  for (const DatabaseDevice& device : devices) {
    most = std::max(most, static_cast<double>(device.limits.shared_memory_per_workgroup) / kKibibyte);
  }
  if (!plot::begin("memory", size, false)) return;
  plot::setup_axis(plot::Axis::kX, "", "", plot::Scale::kLinear, plot::Range{-0.5, 2.5});
  plot::setup_axis(plot::Axis::kY, "shared memory a workgroup", "KiB", plot::Scale::kLinear,
                   plot::Range{0, most * 1.15});
  plot::setup_ticks(plot::Axis::kX, {{0, "naive", false}, {1, "subheads", false}, {2, "production", false}});
  for (const SweepSeries series : kSweepSeries) {
    if (!shows(view.settings, series)) continue;
    const Need need = need_of(view, series, view.settings.expansion, bars_of);
    const SeriesLook look = look_of(view.theme, series);
    const auto x = static_cast<double>(series);
    if (!need.known) {
      plot::missing_point(look.name, x, need.refusal, look.color);
      continue;
    }
    plot::bar(look.name, x, need.kibibytes,
              {.color = look.color,
               .width = 0.72,
               .hatched = !need.fits,
               .value_label = memory_size(need.kibibytes * kKibibyte),
               .note = need.fits ? "fits " + bars_of.label() : need.refusal});
  }
  double last = -1;
  for (const DatabaseDevice& device : devices) {
    const double limit = static_cast<double>(device.limits.shared_memory_per_workgroup) / kKibibyte;
    if (limit == last) continue;
    last = limit;
    plot::limit_line(memory_size(limit * kKibibyte).c_str(), plot::Axis::kY, limit, p.limit);
  }
  plot::end();
}

std::string reach(std::int64_t most) {
  if (most == 0) return "not at all";
  if (most == kMostExpansion) return "any E";
  return "E ≤ " + std::to_string(most);
}

/// Without the brand's first word: the model number says it, and the API must not be cut off.
std::string short_label(const DatabaseDevice& device) {
  std::string shown = device.label();
  for (const std::string brand : {"GeForce ", "Radeon "}) {
    if (shown.starts_with(brand)) shown.erase(0, brand.size());
  }
  return shown;
}

void draw_table(const View& view, const std::vector<DatabaseDevice>& devices, ImVec2 size) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  ImGui::BeginChild("limits", size, false);
  text(theme.fonts.small, p.dim, "runs up to");
  help_on_hover(theme, "runs-out");
  for (const DatabaseDevice& device : devices) {
    ImGui::Dummy({0, theme.px(1)});
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(2)});
    text(theme.fonts.bold, p.limit,
         memory_size(static_cast<double>(device.limits.shared_memory_per_workgroup)));
    ImGui::SameLine();
    ImGui::SetCursorPosY(ImGui::GetCursorPosY() + theme.px(1));
    text(theme.fonts.small, p.dim, short_label(device), ImGui::GetContentRegionAvail().x);
    float column = 0;
    for (const SweepSeries series : kSweepSeries) {
      if (!shows(view.settings, series)) continue;
      if (column > 0) same_line_at(column);
      const SeriesLook look = look_of(theme, series);
      const std::int64_t most = largest(view, series, device);
      const bool runs = view.settings.expansion <= most;
      ImGui::BeginGroup();
      text(theme.fonts.small, look.color, std::string(runs ? "✓ " : "✘ ") + reach(most));
      ImGui::EndGroup();
      if (ImGui::IsItemHovered()) {
        const std::int64_t shown = std::min(most + 1, kMostExpansion);
        const Need need = need_of(view, series, shown, device);
        ImGui::BeginTooltip();
        text(theme.fonts.bold, look.color, std::string(look.name) + " on " + device.label());
        ImGui::PushTextWrapPos(theme.px(380));
        wrapped_text(theme.fonts.small, p.text,
                     need.fits ? "runs at every E up to " + std::to_string(kMostExpansion)
                               : "E = " + std::to_string(shown) + ": " + need.refusal);
        ImGui::PopTextWrapPos();
        ImGui::EndTooltip();
      }
      column += size.x / 3;
    }
    ImGui::PopStyleVar();
  }
  ImGui::EndChild();
}

}  // namespace

std::vector<DatabaseDevice> limit_devices(const Settings& settings) {
  static const std::vector<std::string> kUsual = {"GeForce RTX 3090 (vulkan)", "Radeon RX 7900 XTX (vulkan)",
                                                  "GeForce RTX 3090 (cuda)", "H100 (cuda)"};
  const auto& wanted = settings.limit_devices.empty() ? kUsual : settings.limit_devices;
  std::vector<DatabaseDevice> found;
  for (const DatabaseDevice& device : device_database()) {
    if (std::find(wanted.begin(), wanted.end(), device.label()) != wanted.end()) found.push_back(device);
  }
  std::stable_sort(found.begin(), found.end(), [](const DatabaseDevice& a, const DatabaseDevice& b) {
    return a.limits.shared_memory_per_workgroup < b.limits.shared_memory_per_workgroup;
  });
  return found;
}

void memory_panel(const View& view, Rect rect) {
  const auto devices = limit_devices(view.settings);
  const DatabaseDevice* bars_of = bar_device(view, devices);
  const std::string note =
      bars_of ? "predicted, " + std::string(name(bars_of->limits.api)) + " kernels; hatched: refused" : "";
  const ImVec2 size = begin_panel(view.theme, "memory-panel", rect, "Shared memory", note, "shared-memory",
                                  view.highlight == "memory");
  if (!bars_of) {
    wrapped_text(view.theme.fonts.body, view.theme.palette.dim, "Choose devices under Limit lines.");
  } else {
    const float table = std::max(view.theme.px(188), std::floor(size.x * 0.4f));
    draw_bars(view, *bars_of, devices, {size.x - table - view.theme.px(12), size.y});
    ImGui::SameLine(0, view.theme.px(12));
    draw_table(view, devices, {table, size.y});
  }
  end_panel();
}

}  // namespace statescope::gui
