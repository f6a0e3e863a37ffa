#include "app/gui/widgets.h"

#include <algorithm>
#include <cmath>

#include "app/gui/help.h"
#include "app/gui/plot_items.h"

namespace statescope::gui {

ImVec2 begin_panel(const Theme& theme, const char* id, Rect rect, const char* title, const std::string& note,
                   const char* help_key, bool highlight) {
  const Palette& p = theme.palette;
  ImGui::SetCursorScreenPos({std::round(rect.x), std::round(rect.y)});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(11), theme.px(8)});
  ImGui::PushStyleVar(ImGuiStyleVar_ChildBorderSize, highlight ? std::max(2.0f, theme.px(2)) : 1.0f);
  ImGui::PushStyleColor(ImGuiCol_Border, color(highlight ? p.accent : p.border));
  ImGui::BeginChild(id, {std::round(rect.width), std::round(rect.height)}, true,
                    ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse);
  ImGui::PopStyleColor();
  ImGui::PopStyleVar(2);
  if (title && *title) {
    text(theme.fonts.bold, p.text, title);
    if (help_key) help_on_hover(theme, help_key);
    if (!note.empty()) {
      ImGui::SameLine(0, theme.px(10));
      ImGui::SetCursorPosY(ImGui::GetCursorPosY() + theme.px(1));
      text(theme.fonts.small, p.dim, note, ImGui::GetContentRegionAvail().x);
      ImGui::SetCursorPosY(ImGui::GetCursorPosY() + theme.px(1));
    }
  }
  return ImGui::GetContentRegionAvail();
}

void end_panel() {
  ImGui::Dummy({0, 0});  // from 1.89 on, a cursor that was moved wants an item behind it
  ImGui::EndChild();
}

void help_on_hover(const Theme& theme, const char* help_key) {
  if (!ImGui::IsItemHovered()) return;
  const Term& t = term(help_key);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(12), theme.px(10)});
  ImGui::BeginTooltip();
  text(theme.fonts.bold, theme.palette.text, std::string(t.title));
  ImGui::PushTextWrapPos(theme.px(420));
  wrapped_text(theme.fonts.body, theme.palette.dim, std::string(t.text));
  if (!t.equation.empty()) {
    ImGui::Dummy({0, theme.px(2)});
    wrapped_text(theme.fonts.body, theme.palette.accent, std::string(t.equation));
  }
  ImGui::PopTextWrapPos();
  ImGui::EndTooltip();
  ImGui::PopStyleVar();
}

void label(const Theme& theme, const char* name, const char* help_key) {
  ImGui::AlignTextToFramePadding();
  text(theme.fonts.body, theme.palette.dim, name);
  help_on_hover(theme, help_key);
}

void text(ImFont* font, ImU32 packed, const std::string& line, float width) {
  ImGui::PushFont(font);
  ImGui::PushStyleColor(ImGuiCol_Text, color(packed));
  ImGui::TextUnformatted(fitted(line, width).c_str());
  ImGui::PopStyleColor();
  ImGui::PopFont();
}

void wrapped_text(ImFont* font, ImU32 packed, const std::string& lines) {
  ImGui::PushFont(font);
  ImGui::PushStyleColor(ImGuiCol_Text, color(packed));
  ImGui::TextWrapped("%s", lines.c_str());
  ImGui::PopStyleColor();
  ImGui::PopFont();
}

std::string fitted(const std::string& line, float width) {
  std::string shown = line;
  while (width > 0 && !shown.empty() && ImGui::CalcTextSize(shown.c_str()).x > width) {
    // Drops one letter (UTF-8) and the ellipsis, if it is there already.
    if (shown.ends_with("…")) shown.resize(shown.size() - 3);
    while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xc0) == 0x80) shown.pop_back();
    if (!shown.empty()) shown.pop_back();
    shown += "…";
    if (shown == "…") break;
  }
  return shown;
}

void same_line_at(float x) {
  ImGui::SameLine();
  ImGui::SetCursorPosX(ImGui::GetCursorStartPos().x + x);
}

bool choice(const Theme& theme, const char* id, std::span<const char* const> names, int& value, float width) {
  const Palette& p = theme.palette;
  bool changed = false;
  ImGui::PushID(id);
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {theme.px(2), theme.px(4)});
  // Each as wide as its name asks for, and an equal part of what is left.
  const float gap = theme.px(2);
  float left = width - gap * static_cast<float>(names.size() - 1);
  for (const char* name : names) left -= ImGui::CalcTextSize(name).x;
  const float each = left / static_cast<float>(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) ImGui::SameLine(0, gap);
    const bool on = value == static_cast<int>(i);
    if (on) {
      ImGui::PushStyleColor(ImGuiCol_Button, color(p.accent));
      ImGui::PushStyleColor(ImGuiCol_ButtonHovered, color(p.accent));
      ImGui::PushStyleColor(ImGuiCol_ButtonActive, color(p.accent));
      ImGui::PushStyleColor(ImGuiCol_Text, color(p.on_accent));
    }
    if (ImGui::Button(names[i], {std::floor(ImGui::CalcTextSize(names[i]).x + each), 0}) && !on) {
      value = static_cast<int>(i);
      changed = true;
    }
    if (on) ImGui::PopStyleColor(4);
  }
  ImGui::PopStyleVar();
  ImGui::PopID();
  return changed;
}

bool number_combo(const Theme& theme, const char* id, std::span<const std::int64_t> values,
                  std::int64_t& value, std::int64_t fallback, float width) {
  bool changed = false;
  ImGui::SetNextItemWidth(width);
  const std::string shown = std::to_string(value > 0 ? value : fallback);
  if (ImGui::BeginCombo(id, shown.c_str())) {
    if (ImGui::Selectable(("default (" + std::to_string(fallback) + ")").c_str(), value == 0)) {
      changed = value != 0;
      value = 0;
    }
    for (const std::int64_t candidate : values) {
      if (ImGui::Selectable(std::to_string(candidate).c_str(), value == candidate)) {
        changed = changed || value != candidate;
        value = candidate;
      }
    }
    ImGui::EndCombo();
  }
  (void)theme;
  return changed;
}

bool expansion_slider(const Theme& theme, std::int64_t& value, std::int64_t most, ImVec2 size) {
  const Palette& p = theme.palette;
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const float knob = theme.px(11);
  const float left = corner.x + knob, right = corner.x + size.x - knob;
  const float y = std::round(corner.y + knob + theme.px(2));
  ImGui::InvisibleButton("expansion-slider", size);
  const double octaves = std::log2(static_cast<double>(most));
  const auto place = [&](double e) {
    return left + static_cast<float>(std::log2(e) / octaves) * (right - left);
  };

  bool changed = false;
  if (ImGui::IsItemActive()) {
    const double unit = std::clamp((ImGui::GetIO().MousePos.x - left) / (right - left), 0.0f, 1.0f);
    const auto wanted = std::clamp<std::int64_t>(std::llround(std::exp2(unit * octaves)), 1, most);
    changed = wanted != value;
    value = wanted;
  }
  const float thickness = theme.px(6);
  list.AddRectFilled({left, y - thickness / 2}, {right, y + thickness / 2}, p.control, thickness / 2);
  list.AddRectFilled({left, y - thickness / 2}, {place(static_cast<double>(value)), y + thickness / 2},
                     p.accent, thickness / 2);
  const float font_size = std::round(kSmallSize * theme.scale);
  for (std::int64_t e = 1; e <= most; e *= 2) {
    const float x = std::round(place(static_cast<double>(e)));
    list.AddRectFilled({x - 1, y + knob + theme.px(1)}, {x + 1, y + knob + theme.px(5)}, p.dim);
    const std::string name = std::to_string(e);
    const float width = theme.fonts.small->CalcTextSizeA(font_size, FLT_MAX, 0, name.c_str()).x;
    list.AddText(theme.fonts.small, font_size, {std::round(x - width / 2), y + knob + theme.px(6)},
                 e == value ? p.text : p.dim, name.c_str());
  }
  const ImVec2 at(place(static_cast<double>(value)), y);
  const bool hot = ImGui::IsItemHovered() || ImGui::IsItemActive();
  if (hot)
    list.AddCircleFilled(at, knob + theme.px(4), (p.accent & ~IM_COL32_A_MASK) | IM_COL32(0, 0, 0, 60));
  list.AddCircleFilled(at, knob, p.accent);
  list.AddCircleFilled(at, knob - theme.px(4), p.panel);
  return changed;
}

void legend_entry(const Theme& theme, ImU32 packed, plot::Marker marker, bool dashed, const char* name) {
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const float y = std::round(corner.y + theme.px(8)), width = theme.px(14);
  if (dashed) {
    list.AddLine({corner.x, y}, {corner.x + width * 0.4f, y}, packed, theme.px(2));
    list.AddLine({corner.x + width * 0.6f, y}, {corner.x + width, y}, packed, theme.px(2));
  } else {
    list.AddLine({corner.x, y}, {corner.x + width, y}, packed, theme.px(2));
  }
  plot::draw_marker(list, {corner.x + width / 2, y}, marker, theme.px(3.5f), packed, false, theme.px(1.5f));
  ImGui::Dummy({width, theme.px(14)});
  ImGui::SameLine(0, theme.px(4));
  text(theme.fonts.small, theme.palette.text, name);
}

}  // namespace statescope::gui
