// One kernel: how its times spread, what it takes of a multiprocessor, predicted beside reported, and what
// keeps more of it from running at once.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/gui/profile.h"

namespace statescope::gui {
namespace {

/// A line of three columns: what, predicted, reported.
struct Three {
  const char* name;
  const char* help_key;
  std::string predicted, reported;
  ImU32 color = 0;  ///< of what is reported; 0: the theme's text
};

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::vector<Three> resource_lines(const Theme& theme, const KernelResources& r) {
  std::vector<Three> lines;
  const Launch& launch = r.launch;
  const auto& shared = launch.reported_shared_memory_bytes;
  lines.push_back(
      {"shared memory", "resource-shared", memory_size(static_cast<double>(launch.shared_memory_bytes)),
       shared ? memory_size(static_cast<double>(*shared)) + (*r.shared_memory_agrees ? "  ✓" : "  ✘") : "-",
       !r.shared_memory_agrees   ? 0
       : *r.shared_memory_agrees ? theme.palette.good
                                 : theme.palette.bad});
  lines.push_back({"registers a thread", "resource-registers", "-",
                   launch.registers ? std::to_string(*launch.registers) : "-"});
  lines.push_back({"spilled a thread", "resource-spills", "-",
                   launch.spill_bytes ? memory_size(static_cast<double>(*launch.spill_bytes)) : "-",
                   launch.spill_bytes && *launch.spill_bytes > 0 ? theme.palette.bad : 0});
  const bool known = r.workgroups_per_multiprocessor > 0;
  lines.push_back({"occupancy", "occupancy", known ? percentage(r.occupancy) : "-",
                   r.reported ? percentage(r.reported->fraction) : "-"});
  lines.push_back({"limited by", "limited-by", known ? or_dash(std::string(r.limited_by)) : "-",
                   r.reported ? or_dash(r.reported->limited_by) : "-"});
  return lines;
}

void draw_three(const Theme& theme, const std::vector<Three>& lines, float width) {
  const float second = std::floor(width * 0.40f), third = std::floor(width * 0.70f);
  same_line_at(second);
  text(theme.fonts.small, theme.palette.dim, "predicted");
  help_on_hover(theme, "predicted");
  same_line_at(third);
  text(theme.fonts.small, theme.palette.dim, "reported");
  help_on_hover(theme, "reported");
  for (const Three& line : lines) {
    text(theme.fonts.small, theme.palette.dim, line.name);
    help_on_hover(theme, line.help_key);
    same_line_at(second);
    text(theme.fonts.small, theme.palette.text, line.predicted, third - second - theme.px(6));
    same_line_at(third);
    text(theme.fonts.small, line.color ? line.color : theme.palette.text, line.reported, width - third);
  }
}

/// One column of figures under each other.
void draw_times(const Theme& theme, const KernelRow& row, float width) {
  struct Figure {
    const char* name;
    std::string value;
  };
  const Figure figures[] = {{"min", duration(row.seconds.min)},
                            {"median", duration(row.seconds.median)},
                            {"p95", duration(row.p95)},
                            {"max", duration(row.seconds.max)}};
  float x = 0;
  for (const bool values : {false, true}) {
    x = 0;
    for (const Figure& figure : figures) {
      if (x > 0) same_line_at(x);
      text(values ? theme.fonts.body : theme.fonts.small, values ? theme.palette.text : theme.palette.dim,
           values ? figure.value : figure.name);
      x += std::floor(width / 4);
    }
  }
}

void draw_histogram(const Theme& theme, const KernelRow& row, ImU32 packed, ImVec2 size) {
  // The unit that fits the median, so that the axis reads in whole numbers.
  const double median = row.seconds.median;
  const double unit = median >= 1 ? 1 : median >= 1e-3 ? 1e-3 : median >= 1e-6 ? 1e-6 : 1e-9;
  const char* name = unit == 1 ? "s" : unit == 1e-3 ? "ms" : unit == 1e-6 ? "µs" : "ns";
  static std::vector<double> counts;  // valid until end()
  counts.assign(row.histogram.counts.begin(), row.histogram.counts.end());
  if (!plot::begin("kernel-times", size, false)) return;
  double lo = row.histogram.min / unit, hi = row.histogram.max / unit;
  if (!(hi > lo)) hi = lo + 1;
  plot::setup_axis(plot::Axis::kX, "time of a call", name);
  plot::setup_axis(plot::Axis::kY, "calls", "");
  plot::histogram("calls", {lo, hi}, counts, packed);
  plot::limit_line("median", plot::Axis::kX, median / unit, theme.palette.text);
  plot::end();
}

void draw_rates(const Theme& theme, const KernelRow& row, float width) {
  if (!row.flop_per_second) {
    wrapped_text(theme.fonts.small, theme.palette.dim, "A part of a run: rates are of the run as a whole.");
    return;
  }
  const auto line = [&](const char* name, const char* help_key, const std::string& rate,
                        const std::optional<double>& share, const char* of) {
    text(theme.fonts.small, theme.palette.dim, name);
    help_on_hover(theme, help_key);
    same_line_at(std::floor(width * 0.26f));
    text(theme.fonts.small, theme.palette.text, rate);
    same_line_at(std::floor(width * 0.54f));
    text(theme.fonts.small, theme.palette.text, share ? percentage(*share) + of : "ceiling not measured",
         width * 0.46f);
    help_on_hover(theme, "ceilings");
  };
  line("computes", "flops", quantity(*row.flop_per_second, "flop/s"), row.share_of_compute, " of the units");
  line("moves", "bytes", quantity(*row.bytes_per_second, "B/s"), row.share_of_copy, " of a copy");
}

std::string errors_of(const CaptureEntry& entry) {
  std::string line;
  for (const CapturedError& e : entry.errors) {
    char shown[64];
    if (e.error) {
      std::snprintf(shown, sizeof shown, "%s %.1e (at most %.0e)", e.output.c_str(), *e.error, e.tolerance);
    } else {
      std::snprintf(shown, sizeof shown, "%s not finite", e.output.c_str());
    }
    line += (line.empty() ? "" : ",  ") + std::string(shown);
  }
  return line;
}

}  // namespace

void fact(const Theme& theme, const char* name, const char* help_key, const std::string& value) {
  text(theme.fonts.small, theme.palette.dim, name);
  if (help_key) help_on_hover(theme, help_key);
  same_line_at(theme.px(104));
  text(theme.fonts.small, theme.palette.text, value, ImGui::GetContentRegionAvail().x);
  if (ImGui::IsItemHovered() && ImGui::CalcTextSize(value.c_str()).x > ImGui::GetItemRectSize().x)
    ImGui::SetTooltip("%s", value.c_str());
}

void kernel_tab(const View& view, ProfileUi& ui, ImVec2 size) {
  const Theme& theme = view.theme;
  const OpenCapture& open = *ui.shown;
  if (ui.kernel >= open.kernels.size()) {
    wrapped_text(theme.fonts.small, theme.palette.dim, "This capture has no measured kernel.");
    for (const CaptureEntry& entry : open.capture.entries)
      wrapped_text(theme.fonts.small, theme.palette.bad,
                   std::string(name(entry.status)) + ": " + entry.reason);
    return;
  }
  const KernelRow& row = open.kernels[ui.kernel];
  const CaptureEntry& entry = open.capture.entries[row.entry];
  const ImVec2 top = ImGui::GetCursorScreenPos();
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(3)});
  text(theme.fonts.bold, theme.palette.text, row.kernel, size.x);
  if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", row.kernel.c_str());
  text(theme.fonts.small, look_of(theme, entry.series).color,
       std::string(name(entry.series)) + "  E " + std::to_string(entry.expansion) + "  " +
           describe(entry.problem),
       size.x);
  if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", describe(entry.problem).c_str());
  draw_times(theme, row, size.x);
  draw_rates(theme, row, size.x);
  ImGui::Dummy({0, theme.px(1)});
  const auto& resources = open.resources[ui.kernel];
  if (resources) {
    text(theme.fonts.bold, theme.palette.text, row.whole_run ? "First launch" : "Resources");
    help_on_hover(theme, "resources");
    draw_three(theme, resource_lines(theme, *resources), size.x);
    const Launch& launch = resources->launch;
    const auto& groups = launch.workgroups;
    fact(theme, "launch", "launch",
         std::to_string(groups[0]) + " × " + std::to_string(groups[1]) + " × " + std::to_string(groups[2]) +
             " workgroups of " + std::to_string(launch.workgroup_size));
  }
  fact(theme, "errors", "errors", errors_of(entry));
  ImGui::PopStyleVar();
  const float left = size.y - (ImGui::GetCursorScreenPos().y - top.y);
  if (left > theme.px(84)) draw_histogram(theme, row, look_of(theme, entry.series).color, {size.x, left});
}

}  // namespace statescope::gui
