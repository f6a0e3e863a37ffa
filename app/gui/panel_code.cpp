// The code of a kernel: SPIR-V, what the driver made of it, SASS; whatever the capture has kept.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "app/gui/profile.h"

namespace statescope::gui {
namespace {

/// A text cut into lines once, not every frame.
struct Lines {
  const std::string* of = nullptr;
  std::vector<std::string_view> lines;
  std::size_t longest = 0;
  std::string searched;
  std::vector<std::size_t> matches;  ///< numbers of lines
};

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

bool holds(std::string_view line, const std::string& word) {
  return std::search(line.begin(), line.end(), word.begin(), word.end(),
                     [](char a, char b) { return lower(a) == lower(b); }) != line.end();
}

void cut(Lines& lines, const std::string& whole, const std::string& search) {
  const bool fresh = lines.of != &whole;
  if (fresh) {
    lines = {&whole, {}, 0, "", {}};
    for (std::size_t from = 0; from < whole.size();) {
      const std::size_t to = std::min(whole.find('\n', from), whole.size());
      lines.lines.emplace_back(whole.data() + from, to - from);
      lines.longest = std::max(lines.longest, to - from);
      from = to + 1;
    }
  }
  if (fresh || lines.searched != search) {
    lines.searched = search;
    lines.matches.clear();
    for (std::size_t i = 0; i < lines.lines.size() && !search.empty(); ++i) {
      if (holds(lines.lines[i], search)) lines.matches.push_back(i);
    }
  }
}

void search_bar(const View& view, ProfileUi& ui, const Lines& lines, float width) {
  const Theme& theme = view.theme;
  char typed[128];
  std::snprintf(typed, sizeof typed, "%s", ui.search.c_str());
  const float button = theme.px(24), count_width = theme.px(76);
  ImGui::SetNextItemWidth(width - 2 * button - count_width - theme.px(12));
  const bool entered = ImGui::InputTextWithHint("##search", "search", typed, sizeof typed,
                                                ImGuiInputTextFlags_EnterReturnsTrue);
  const auto go = [&](std::size_t to) {
    if (lines.matches.empty()) return;
    ui.match = to % lines.matches.size();
    ui.scroll_to_match = true;
  };
  if (ui.search != typed) {
    ui.search = typed;
    ui.match = 0;
    ui.scroll_to_match = true;
  } else if (entered) {
    go(ui.match + 1);
    ImGui::SetKeyboardFocusHere(-1);
  }
  ImGui::SameLine(0, theme.px(4));
  if (ImGui::Button("↑##previous", {button, 0}))
    go(ui.match + std::max<std::size_t>(lines.matches.size(), 1) - 1);
  ImGui::SameLine(0, theme.px(4));
  if (ImGui::Button("↓##next", {button, 0})) go(ui.match + 1);
  ImGui::SameLine(0, theme.px(6));
  ImGui::AlignTextToFramePadding();
  const std::string count =
      ui.search.empty()       ? std::to_string(lines.lines.size()) + " lines"
      : lines.matches.empty() ? "none"
                              : std::to_string(ui.match + 1) + " of " + std::to_string(lines.matches.size());
  text(theme.fonts.small, theme.palette.dim, count, count_width);
}

void draw_lines(const View& view, ProfileUi& ui, const Lines& lines, ImVec2 size) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  ImGui::PushStyleColor(ImGuiCol_ChildBg, color(p.background));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(6), theme.px(4)});
  ImGui::BeginChild("code", size, true, ImGuiWindowFlags_HorizontalScrollbar);
  ImGui::PopStyleVar();
  ImGui::PushFont(theme.fonts.mono);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0, theme.px(1)});
  const float letter = ImGui::CalcTextSize("0").x, height = ImGui::GetTextLineHeightWithSpacing();
  const float gutter = letter * static_cast<float>(std::to_string(lines.lines.size()).size() + 1);
  const bool any = !lines.matches.empty();
  const std::size_t current = any ? lines.matches[std::min(ui.match, lines.matches.size() - 1)] : SIZE_MAX;
  if (ui.scroll_to_match && any) {
    ImGui::SetScrollY(std::max(0.0f, static_cast<float>(current) * height - size.y / 3));
    ui.scroll_to_match = false;
  }
  ImDrawList& list = *ImGui::GetWindowDrawList();
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(lines.lines.size()), height);
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const std::string_view line = lines.lines[index];
      const ImVec2 at = ImGui::GetCursorScreenPos();
      if (std::binary_search(lines.matches.begin(), lines.matches.end(), index)) {
        list.AddRectFilled(
            {at.x, at.y},
            {at.x + std::max(size.x, gutter + letter * static_cast<float>(line.size())), at.y + height},
            index == current ? (p.accent & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 90) : p.control);
      }
      const std::string number = std::to_string(i + 1);
      list.AddText({at.x + gutter - letter * static_cast<float>(number.size() + 1), at.y}, p.dim,
                   number.c_str());
      ImGui::SetCursorPosX(ImGui::GetCursorPosX() + gutter);
      ImGui::TextUnformatted(line.data(), line.data() + line.size());
    }
  }
  ImGui::PopStyleVar();
  ImGui::PopFont();
  ImGui::EndChild();
  ImGui::PopStyleColor();
}

}  // namespace

void code_tab(const View& view, ProfileUi& ui, ImVec2 size) {
  const Theme& theme = view.theme;
  const OpenCapture& open = *ui.shown;
  const auto index = ui.kernel < open.compiled.size() ? open.compiled[ui.kernel] : std::nullopt;
  if (!index) {
    wrapped_text(theme.fonts.small, theme.palette.dim, "This device reports no code.");
    return;
  }
  const CompiledKernel& compiled = open.capture.entries[open.kernels[ui.kernel].entry].compiled[*index];
  text(theme.fonts.bold, theme.palette.text, compiled.kernel, size.x);
  if (compiled.representations.empty()) {
    std::string figures;
    for (const CompiledKernel::Statistic& statistic : compiled.statistics) {
      figures += "\n" + statistic.name + "  " + plot::format_value(statistic.value);
    }
    wrapped_text(theme.fonts.small, theme.palette.dim,
                 "The capture keeps no code (statescope profile --with-code does)." +
                     (figures.empty() ? "" : " What the compiler reports:" + figures));
    return;
  }
  ui.representation = std::min(ui.representation, compiled.representations.size() - 1);
  const auto& shown = compiled.representations[ui.representation];
  ImGui::SetNextItemWidth(size.x);
  if (ImGui::BeginCombo("##representation", shown.name.c_str())) {
    for (std::size_t i = 0; i < compiled.representations.size(); ++i) {
      ImGui::PushID(static_cast<int>(i));
      if (ImGui::Selectable(compiled.representations[i].name.c_str(), i == ui.representation))
        ui.representation = i;
      ImGui::PopID();
    }
    ImGui::EndCombo();
  }
  help_on_hover(theme, "code");
  static Lines lines;
  cut(lines, shown.text, ui.search);
  search_bar(view, ui, lines, size.x);
  draw_lines(view, ui, lines, ImGui::GetContentRegionAvail());
}

}  // namespace statescope::gui
