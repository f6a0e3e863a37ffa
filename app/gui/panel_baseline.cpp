// What is open against a baseline, kernel by kernel: the ratio of the medians with what the spread of both
// leaves open, so that noise is not called a regression.
#include <algorithm>
#include <cmath>

#include "app/gui/profile.h"

namespace statescope::gui {
namespace {

/// Over which the intervals are drawn; wider ones end at its edges.
constexpr double kLeast = 0.5, kMost = 2;

float place(double ratio, float left, float width) {
  const double unit = std::log(std::clamp(ratio, kLeast, kMost) / kLeast) / std::log(kMost / kLeast);
  return left + static_cast<float>(unit) * width;
}

/// The interval of the ratio as a bar with the ratio as a tick, 1 as a line, the threshold shaded.
void draw_interval(const Theme& theme, const CompareRow& row, double threshold, float width) {
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const float height = theme.px(14), middle = corner.y + height / 2;
  const auto x = [&](double ratio) { return place(ratio, corner.x, width); };
  list.AddRectFilled({x(1 / (1 + threshold)), corner.y}, {x(1 + threshold), corner.y + height},
                     theme.palette.control);
  list.AddLine({x(1), corner.y}, {x(1), corner.y + height}, theme.palette.dim);
  if (row.ratio > 0) {
    const ImU32 packed = verdict_color(theme, row.verdict);
    list.AddLine({x(row.ratio_low), middle}, {std::max(x(row.ratio_high), x(row.ratio_low) + 1), middle},
                 packed, theme.px(3));
    list.AddLine({x(row.ratio), corner.y + theme.px(2)}, {x(row.ratio), corner.y + height - theme.px(2)},
                 packed, theme.px(2));
  }
  ImGui::Dummy({width, height});
}

std::string summary_of(const Comparison& comparison) {
  const auto count = [&](Verdict verdict) {
    return std::count_if(comparison.rows.begin(), comparison.rows.end(),
                         [&](const CompareRow& row) { return row.verdict == verdict; });
  };
  std::string line;
  for (const Verdict verdict : {Verdict::kSlower, Verdict::kFaster, Verdict::kGone, Verdict::kNew,
                                Verdict::kNoise, Verdict::kTooFew, Verdict::kSame}) {
    if (count(verdict) == 0) continue;
    line += (line.empty() ? "" : ", ") + std::to_string(count(verdict)) + " " + std::string(name(verdict));
  }
  return line;
}

void details(const Theme& theme, const CompareRow& row) {
  ImGui::BeginTooltip();
  text(theme.fonts.bold, theme.palette.text, row.kernel);
  text(theme.fonts.small, theme.palette.dim, row.problem);
  const auto interval = [&](const char* when, const MedianInterval& m) {
    if (m.median > 0)
      text(
          theme.fonts.small, theme.palette.text,
          std::string(when) + duration(m.median) + "  (" + duration(m.low) + " to " + duration(m.high) + ")");
  };
  interval("baseline ", row.before);
  interval("now ", row.after);
  if (row.ratio > 0)
    text(theme.fonts.small, verdict_color(theme, row.verdict),
         std::string(name(row.verdict)) + ": " + times(row.ratio) + ", between " + times(row.ratio_low) +
             " and " + times(row.ratio_high));
  if (!row.note.empty()) text(theme.fonts.small, theme.palette.dim, row.note);
  ImGui::EndTooltip();
}

}  // namespace

ImU32 verdict_color(const Theme& theme, Verdict verdict) {
  switch (verdict) {
    case Verdict::kSlower:
    case Verdict::kGone:
      return theme.palette.bad;
    case Verdict::kFaster:
      return theme.palette.good;
    case Verdict::kNew:
      return theme.palette.accent;
    case Verdict::kSame:
    case Verdict::kNoise:
    case Verdict::kTooFew:
      break;
  }
  return theme.palette.dim;
}

const CompareRow* compared(const Comparison* comparison, const OpenCapture& open, const KernelRow& row) {
  if (!comparison) return nullptr;
  const CaptureEntry& entry = open.capture.entries[row.entry];
  const std::string& device = open.capture.devices[entry.device].info.name;
  const std::string problem = std::string(name(entry.series)) + " E" + std::to_string(entry.expansion) + " " +
                              describe(entry.problem);
  for (const CompareRow& candidate : comparison->rows) {
    if (candidate.device == device && candidate.kernel == row.kernel && candidate.problem == problem)
      return &candidate;
  }
  return nullptr;
}

void baseline_tab(const View& view, ProfileUi& ui, ImVec2 size) {
  const Theme& theme = view.theme;
  const auto comparison = ui.captures.comparison();
  if (!comparison) {
    wrapped_text(
        theme.fonts.small, theme.palette.dim,
        ui.captures.baseline()
            ? "The baseline and what is open have no kernel in common."
            : "No baseline. Open one at the left, or keep what is shown and profile again: every kernel "
              "is then compared, with the spread of both.");
    return;
  }
  text(theme.fonts.small, theme.palette.text, summary_of(*comparison), size.x);
  for (const std::string& warning : comparison->warnings)
    wrapped_text(theme.fonts.small, theme.palette.bad, warning);
  const float verdict_width = theme.px(76), bar = std::floor(size.x * 0.34f);
  const float names = size.x - verdict_width - bar - theme.px(20);
  text(theme.fonts.small, theme.palette.dim, "now over baseline");
  help_on_hover(theme, "ratio");
  same_line_at(names + theme.px(8));
  const float scale_left = ImGui::GetCursorScreenPos().x;
  const float font_size = std::round(kSmallSize * theme.scale);
  constexpr std::pair<double, const char*> kTicks[] = {{kLeast, "½"}, {1, "1"}, {kMost, "2"}};
  for (const auto& [ratio, label] : kTicks) {
    const float width = theme.fonts.small->CalcTextSizeA(font_size, FLT_MAX, 0, label).x;
    const float at =
        std::clamp(place(ratio, scale_left, bar) - width / 2, scale_left, scale_left + bar - width);
    ImGui::GetWindowDrawList()->AddText(theme.fonts.small, font_size,
                                        {std::round(at), ImGui::GetCursorScreenPos().y}, theme.palette.dim,
                                        label);
  }
  ImGui::Dummy({bar, theme.px(14)});
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(4)});
  const float row_height = theme.px(14) + theme.px(4);
  const float height = std::floor(ImGui::GetContentRegionAvail().y / row_height) * row_height;
  ImGui::BeginChild("compared", {size.x, height}, false);
  for (std::size_t i = 0; i < comparison->rows.size(); ++i) {
    const CompareRow& row = comparison->rows[i];
    ImGui::PushID(static_cast<int>(i));
    ImGui::BeginGroup();
    // The series and E tell kernels of one name apart; the rest of the problem is in the tooltip.
    const std::string where = row.problem.substr(0, row.problem.find(' ', row.problem.find(' ') + 1));
    text(theme.fonts.small, theme.palette.text, where + "  " + row.kernel, names);
    same_line_at(names + theme.px(8));
    draw_interval(theme, row, comparison->threshold, bar);
    same_line_at(names + bar + theme.px(18));
    const ImU32 packed = verdict_color(theme, row.verdict);
    std::string verdict(name(row.verdict));
    if (row.verdict == Verdict::kTooFew) verdict = "too few";
    text(theme.fonts.small, packed, row.ratio > 0 ? times(row.ratio) + " " + verdict : verdict,
         verdict_width);
    ImGui::EndGroup();
    if (ImGui::IsItemHovered()) details(theme, row);
    if (ImGui::IsItemClicked()) {
      for (std::size_t k = 0; k < ui.shown->kernels.size(); ++k) {
        if (compared(comparison.get(), *ui.shown, ui.shown->kernels[k]) == &row) ui.kernel = k;
      }
    }
    ImGui::PopID();
  }
  ImGui::EndChild();
  ImGui::PopStyleVar();
}

}  // namespace statescope::gui
