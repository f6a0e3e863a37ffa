#include "app/gui/path_field.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <imgui.h>

#include "app/gui/widgets.h"

namespace statescope::gui {
namespace {

namespace fs = std::filesystem;

struct Completion {
  const char* extension;
};

int on_tab(ImGuiInputTextCallbackData* data) {
  const auto* completion = static_cast<const Completion*>(data->UserData);
  const std::string prefix = common_prefix(completions(
      std::string(data->Buf, static_cast<std::size_t>(data->BufTextLen)), completion->extension, SIZE_MAX));
  if (static_cast<int>(prefix.size()) > data->BufTextLen && prefix.size() < 1024) {
    data->DeleteChars(0, data->BufTextLen);
    data->InsertChars(0, prefix.c_str());
  }
  return 0;
}

void put(PathField& field, const std::string& text) {
  if (text.size() < sizeof field.typed) std::strcpy(field.typed, text.c_str());
}

/// The list under the field, or above it where there is no room; a word that was clicked, or nothing.
std::string pick(const Theme& theme, const char* id, const std::vector<std::string>& words, ImVec2 min,
                 ImVec2 max, bool& hovered) {
  std::string picked;
  const float width = std::max(max.x - min.x, theme.px(280));
  const float height =
      ImGui::GetTextLineHeightWithSpacing() * static_cast<float>(words.size()) + theme.px(12);
  const bool below = max.y + height < ImGui::GetIO().DisplaySize.y;
  ImGui::SetNextWindowPos({min.x, below ? max.y + theme.px(2) : min.y - height - theme.px(2)});
  ImGui::SetNextWindowSize({width, height});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(6), theme.px(6)});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 1);
  ImGui::PushStyleColor(ImGuiCol_WindowBg, color(theme.palette.control));
  const std::string name = std::string("##list") + id;
  ImGui::Begin(name.c_str(), nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoFocusOnAppearing | ImGuiWindowFlags_NoNav);
  for (const std::string& word : words) {
    const std::string shown =
        fs::path(word.ends_with('/') ? word.substr(0, word.size() - 1) : word).filename();
    if (ImGui::Selectable(("##" + word).c_str())) picked = word;
    ImGui::SameLine(theme.px(8));
    text(theme.fonts.small, theme.palette.text, shown + (word.ends_with('/') ? "/" : ""),
         width - theme.px(20));
  }
  hovered = ImGui::IsWindowHovered(ImGuiHoveredFlags_AllowWhenBlockedByActiveItem);
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar(2);
  return picked;
}

}  // namespace

std::vector<std::string> completions(const std::string& typed, const std::string& extension,
                                     std::size_t most) {
  const std::size_t slash = typed.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : typed.substr(0, slash + 1);
  const std::string begin = typed.substr(folder.size());
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(begin) || (name.starts_with('.') && !begin.starts_with('.'))) continue;
    std::error_code unknown;
    const bool is_folder = entry->is_directory(unknown);
    if (!is_folder && !extension.empty() && !name.ends_with("." + extension)) continue;
    found.push_back(folder + name + (is_folder ? "/" : ""));
  }
  std::sort(found.begin(), found.end());
  if (found.size() > most) found.resize(most);
  return found;
}

std::string common_prefix(const std::vector<std::string>& words) {
  if (words.empty()) return "";
  std::string prefix = words.front();
  for (const std::string& word : words) {
    const auto [end, ignored] = std::mismatch(prefix.begin(), prefix.end(), word.begin(), word.end());
    prefix.erase(end, prefix.end());
  }
  return prefix;
}

bool path_field(const Theme& theme, const char* id, const char* hint, PathField& field, std::string& value,
                const char* extension) {
  if (!field.active && !field.list_hovered) put(field, value);
  if (field.focus) ImGui::SetKeyboardFocusHere();
  field.focus = false;
  ImGui::SetNextItemWidth(-1);
  Completion completion{extension};
  bool done = ImGui::InputTextWithHint(
      id, hint, field.typed, sizeof field.typed,
      ImGuiInputTextFlags_CallbackCompletion | ImGuiInputTextFlags_EnterReturnsTrue, on_tab, &completion);
  const ImVec2 min = ImGui::GetItemRectMin(), max = ImGui::GetItemRectMax();
  field.active = ImGui::IsItemActive();
  if (ImGui::IsItemDeactivated() && !field.list_hovered) done = true;
  const bool listing = field.active || field.list_hovered;
  field.list_hovered = false;
  if (listing && *field.typed) {
    const auto words = completions(field.typed, extension);
    const bool only_itself = words.size() == 1 && words.front() == field.typed;
    if (!words.empty() && !only_itself) {
      const std::string picked = pick(theme, id, words, min, max, field.list_hovered);
      if (!picked.empty()) {
        put(field, picked);
        done = !picked.ends_with('/');
        field.focus = !done;
        field.list_hovered = false;
      }
    }
  }
  std::string typed = field.typed;
  if (!done || typed == value) return false;
  value = typed;
  return true;
}

}  // namespace statescope::gui
