#include "app/gui/explore.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "app/gui/path_field.h"
#include "app/gui/quantity.h"

namespace statescope::gui {
namespace {

constexpr std::int64_t kDims[] = {16, 32, 64, 128, 256};
constexpr std::int64_t kCounts[] = {1, 2, 4, 8, 16};
constexpr std::int64_t kLengths[] = {64, 256, 1024, 4096, 16384};
constexpr std::int64_t kPairChoices[] = {16, 32, 64, 128, 256};

void heading(const Theme& theme, const char* name) {
  ImGui::Dummy({0, theme.px(3)});
  text(theme.fonts.bold, theme.palette.text, name);
}

void rule_combo(const View& view) {
  label(view.theme, "rule", "rule");
  same_line_at(view.theme.px(56));
  ImGui::SetNextItemWidth(-1);
  if (ImGui::BeginCombo("##rule", std::string(name(view.settings.rule)).c_str())) {
    for (const Rule rule : kRules) {
      if (ImGui::Selectable(std::string(name(rule)).c_str(), rule == view.settings.rule))
        view.settings.rule = rule;
    }
    ImGui::EndCombo();
  }
}

void size_controls(const View& view) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  const float width = ImGui::GetContentRegionAvail().x;
  const float half = std::floor(width / 2), field = half - theme.px(28);
  struct Field {
    const char* name;
    const char* help_key;
    std::span<const std::int64_t> values;
    std::int64_t* value;
    std::int64_t fallback;
  };
  Settings plain = s;
  plain.key_dim = plain.value_dim = plain.heads = plain.seq_len = plain.batch = 0;
  const Problem defaults = view.session.problem_for(plain, view.first);
  const Field fields[] = {{"K", "key-dim", kDims, &s.key_dim, defaults.key_dim},
                          {"V", "value-dim", kDims, &s.value_dim, defaults.value_dim},
                          {"H", "heads", kCounts, &s.heads, defaults.heads},
                          {"T", "seq-len", kLengths, &s.seq_len, defaults.seq_len},
                          {"B", "batch", kCounts, &s.batch, defaults.batch}};
  int column = 0;
  for (const Field& f : fields) {
    if (column == 1) same_line_at(half + theme.px(8));
    label(theme, f.name, f.help_key);
    same_line_at((column == 1 ? half + theme.px(8) : 0) + theme.px(20));
    number_combo(theme, ("##" + std::string(f.name)).c_str(), f.values, *f.value, f.fallback, field);
    column = 1 - column;
  }
  same_line_at(half + theme.px(8));
  ImGui::SetNextItemWidth(field + theme.px(20));
  const std::string shown(name(view.base.dtype));
  if (ImGui::BeginCombo("##dtype", shown.c_str())) {
    for (const DType dtype : kRunTypes) {
      const std::string word(name(dtype));
      if (ImGui::Selectable(word.c_str(), word == shown)) s.dtype = word;
    }
    ImGui::EndCombo();
  }
  help_on_hover(theme, "dtype");
}

void division_control(const View& view) {
  static constexpr const char* kNames[] = {"both", "subheads", "naive"};
  label(view.theme, "division", "division");
  int value = static_cast<int>(view.settings.compare);
  if (choice(view.theme, "division", kNames, value, ImGui::GetContentRegionAvail().x)) {
    view.settings.compare = static_cast<Compare>(value);
  }
}

void device_list(const View& view) {
  const Theme& theme = view.theme;
  heading(theme, "Measured on");
  help_on_hover(theme, "devices");
  const DeviceList* list = view.session.devices();
  if (!list) {
    text(theme.fonts.small, theme.palette.dim, "looking for devices …");
    return;
  }
  std::vector<std::string>& chosen = view.settings.devices;
  for (const DeviceEntry& entry : list->devices) {
    const std::string& id = entry.info.name;
    bool on = chosen.empty() ? view.first && id == view.first->name
                             : std::find(chosen.begin(), chosen.end(), id) != chosen.end();
    ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {theme.px(2), theme.px(2)});
    if (ImGui::Checkbox(("##" + id).c_str(), &on)) {
      if (chosen.empty() && view.first) chosen = {view.first->name};
      std::erase(chosen, id);
      if (on) chosen.push_back(id);
    }
    ImGui::PopStyleVar();
    ImGui::SameLine(0, theme.px(6));
    text(theme.fonts.small, theme.palette.text, id + "  " + entry.info.description,
         ImGui::GetContentRegionAvail().x);
    if (ImGui::IsItemHovered()) {
      ImGui::BeginTooltip();
      text(theme.fonts.bold, theme.palette.text, entry.info.description);
      text(theme.fonts.small, theme.palette.dim, entry.info.driver);
      for (const std::string& note : entry.info.notes) text(theme.fonts.small, theme.palette.dim, note);
      ImGui::EndTooltip();
    }
  }
  for (const BackendStatus& status : list->backends) {
    if (status.available) continue;
    text(theme.fonts.small, theme.palette.dim, std::string(name(status.api)) + ": " + status.reason,
         ImGui::GetContentRegionAvail().x);
    if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", status.reason.c_str());
  }
}

void limits_control(const View& view) {
  const Theme& theme = view.theme;
  heading(theme, "Limit lines");
  help_on_hover(theme, "limits");
  const auto shown = limit_devices(view.settings);
  const std::string summary =
      std::to_string(shown.size()) + " of " + std::to_string(device_database().size()) + " devices";
  ImGui::SetNextItemWidth(-1);
  if (!ImGui::BeginCombo("##limits", summary.c_str(), ImGuiComboFlags_HeightLarge)) return;
  for (const DatabaseDevice& device : device_database()) {
    const std::string id = device.label();
    bool on =
        std::any_of(shown.begin(), shown.end(), [&](const DatabaseDevice& d) { return d.label() == id; });
    const std::string line =
        id + "  " + memory_size(static_cast<double>(device.limits.shared_memory_per_workgroup));
    if (ImGui::Checkbox(line.c_str(), &on)) {
      std::vector<std::string> labels;
      for (const DatabaseDevice& d : shown) {
        if (d.label() != id) labels.push_back(d.label());
      }
      if (on) labels.push_back(id);
      view.settings.limit_devices = labels;
    }
  }
  ImGui::EndCombo();
}

void key_controls(const View& view) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  heading(theme, "Keys");
  help_on_hover(theme, "keys");
  static constexpr const char* kNames[] = {"indep.", "linear", "SiLU", "file"};
  // The file's keys can be shown once there is a file.
  const std::span names(kNames, s.keys_file.empty() && s.keys ? 3 : 4);
  int value = s.keys ? static_cast<int>(*s.keys) : 3;
  if (choice(theme, "keys", names, value, ImGui::GetContentRegionAvail().x)) {
    s.keys = value < 3 ? std::optional(static_cast<KeySource>(value)) : std::nullopt;
  }
  label(theme, "pairs n", "pairs");
  same_line_at(theme.px(64));
  number_combo(theme, "##pairs", kPairChoices, s.pairs, 64, -1);
  if (s.pairs == 0) s.pairs = 64;
  static PathField file, words;
  path_field(theme, "##file", "file with k, or folder", file, s.keys_file, "safetensors");
  help_on_hover(theme, "captured");
  const bool checkpoint = !s.keys_file.empty() && std::filesystem::is_directory(s.keys_file);
  if (checkpoint) {
    path_field(theme, "##text", "text; empty: random", words, s.keys_text);
    help_on_hover(theme, "captured");
    label(theme, "layer", "captured");
    same_line_at(theme.px(64));
    int layer = static_cast<int>(s.keys_layer);
    ImGui::SetNextItemWidth(-1);
    if (ImGui::InputInt("##layer", &layer)) s.keys_layer = std::clamp(layer, 0, 255);
  }
  if (s.keys_file.empty()) {
    text(theme.fonts.small, theme.palette.dim, "no file: random keys only", ImGui::GetContentRegionAvail().x);
    return;
  }
  const std::string error = view.session.file_error(key_file(s));
  const auto shape = view.session.file_shape(key_file(s));
  if (!error.empty()) {
    wrapped_text(theme.fonts.small, theme.palette.bad, error);
  } else if (shape) {
    text(theme.fonts.small, theme.palette.dim,
         "captured: E " + std::to_string(shape->first) + ", K " + std::to_string(shape->second));
  }
}

void controls(const View& view, Rect rect) {
  begin_panel(view.theme, "controls", rect, "Recurrence", "", nullptr);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {view.theme.px(6), view.theme.px(5)});
  rule_combo(view);
  size_controls(view);
  division_control(view);
  device_list(view);
  limits_control(view);
  key_controls(view);
  ImGui::PopStyleVar();
  end_panel();
}

void slider(const View& view, Rect rect) {
  const Theme& theme = view.theme;
  begin_panel(theme, "slider", rect, nullptr, "", nullptr, view.highlight == "slider");
  const float left = theme.px(104);
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  ImGui::SetCursorScreenPos({corner.x, corner.y - theme.px(1)});
  text(theme.fonts.small, theme.palette.dim, "expansion");
  help_on_hover(theme, "expansion");
  ImGui::SetCursorScreenPos({corner.x, corner.y + theme.px(14)});
  text(theme.fonts.large, theme.palette.text, "E = " + std::to_string(view.settings.expansion));
  help_on_hover(theme, "expansion");
  ImGui::SetCursorScreenPos({corner.x + left, corner.y + theme.px(2)});
  expansion_slider(theme, view.settings.expansion, kMostExpansion,
                   {ImGui::GetContentRegionAvail().x, theme.px(48)});
  end_panel();
}

}  // namespace

void explore_view(const View& view, Rect rect, const std::function<void(Rect)>& sidebar) {
  const Theme& theme = view.theme;
  const float gap = theme.px(8);
  const float side = theme.px(214);
  const Rect side_rect{rect.x, rect.y, side, rect.height};
  sidebar ? sidebar(side_rect) : controls(view, side_rect);

  const float x = rect.x + side + gap, width = rect.width - side - gap;
  const float slider_height = theme.px(68);
  slider(view, {x, rect.y, width, slider_height});
  const float top = rect.y + slider_height + gap;
  const float height = rect.height - slider_height - gap;
  const float upper = std::floor((height - gap) * 0.53f), lower = height - gap - upper;
  const float state = std::max(theme.px(196), std::floor(width * 0.19f));
  const float memory = std::floor((width - state - 2 * gap) * 0.53f);
  const float speed = width - state - memory - 2 * gap;
  memory_panel(view, {x, top, memory, upper});
  speed_panel(view, {x + memory + gap, top, speed, upper});
  state_panel(view, {x + memory + speed + 2 * gap, top, state, upper});
  dilution_panel(view, {x, top + upper + gap, width, lower});
  if (view.settings.measure) view.session.want_speed(speed_requests(view));
}

}  // namespace statescope::gui
