#include "app/gui/app.h"

#include <algorithm>
#include <cmath>

#define GLFW_INCLUDE_NONE
#include <GLFW/glfw3.h>

#include "app/gui/explore.h"
#include "app/gui/tour.h"
#include "profiler/build_info.h"

namespace statescope::gui {
namespace {

struct Shortcut {
  const char* keys;
  const char* does;
};
constexpr Shortcut kShortcuts[] = {{"← →", "E one down, one up"},
                                   {"Shift ← →", "halve or double E"},
                                   {"Home, End", "E = 1, E = 32"},
                                   {"Ctrl 1 … 4", "Explore, Profile, State, Tour"},
                                   {"↑ ↓", "the kernel above, below (Profile)"},
                                   {"Ctrl R", "profile, or record states"},
                                   {"Page Up, Page Down", "step of the tour"},
                                   {"Ctrl D", "dark or light"},
                                   {"Ctrl + − 0", "larger, smaller, the display's scale"},
                                   {"F12", "save a screenshot"},
                                   {"Esc", "stop what is being measured"},
                                   {"F1", "this list"},
                                   {"Ctrl Q", "quit"}};

bool tab(const Theme& theme, const char* name, bool on) {
  const Palette& p = theme.palette;
  ImGui::PushStyleColor(ImGuiCol_Button, color(on ? p.control : p.background));
  ImGui::PushStyleColor(ImGuiCol_Text, color(on ? p.text : p.dim));
  const bool pressed = ImGui::Button(name);
  ImGui::PopStyleColor(2);
  return pressed;
}

}  // namespace

ImGuiScope::ImGuiScope() {
  IMGUI_CHECKVERSION();
  ImGui::CreateContext();
  ImGui::GetIO().IniFilename = nullptr;  // the layout is fixed; settings have their own file
  ImGui::GetIO().ConfigFlags |= ImGuiConfigFlags_NoMouseCursorChange;
}

ImGuiScope::~ImGuiScope() {
  ImGui::DestroyContext();
}

App::App(Settings initial, float display_scale, std::function<void()> wake)
    : settings(std::move(initial)), session(std::move(wake)), display_scale_(display_scale) {
  reload_fonts();
}

float App::wanted_scale() const {
  return settings.scale > 0 ? static_cast<float>(settings.scale) : display_scale_;
}

bool App::scale_changed() const {
  return theme.scale != wanted_scale();
}

void App::reload_fonts() {
  theme.scale = wanted_scale();
  theme.dark = settings.dark;
  load_fonts(theme);
  apply_theme(theme);
}

void App::run() {
  if (settings.view == "profile") profile.run_asked = true;
  if (settings.view == "state") states.run_asked = true;
}

void App::drop(const std::vector<std::string>& paths, ImVec2 at) {
  if (paths.empty()) return;
  if (is_recording(paths.front())) {
    settings.view = "state";
    settings.recordings = paths;
    return;
  }
  const Rect& place = profile.baseline_place;
  const bool on_baseline = settings.view == "profile" && at.x >= place.x && at.y >= place.y &&
                           at.x < place.x + place.width && at.y < place.y + place.height;
  settings.view = "profile";
  (on_baseline ? settings.baseline : settings.capture) = paths.front();
}

void App::say(const std::string& line) {
  toast_ = line;
  toast_until_ = ImGui::GetTime() + 5;
}

void App::press(KeyPress press) {
  if (ImGui::GetIO().WantTextInput) return;
  const bool control = press.mods & GLFW_MOD_CONTROL, shift = press.mods & GLFW_MOD_SHIFT;
  std::int64_t& e = settings.expansion;
  const auto zoom = [&](double factor) {
    settings.scale = std::clamp(static_cast<double>(theme.scale) * factor, 0.5, 4.0);
  };
  const auto step = [&](int by) {
    if (settings.view != "tour") return;
    settings.tour_step = std::clamp(settings.tour_step + by, 0, static_cast<int>(tour_steps().size()) - 1);
    apply_tour_step(settings);
  };
  switch (press.key) {
    case GLFW_KEY_LEFT:
      e = shift ? e / 2 : e - 1;
      break;
    case GLFW_KEY_RIGHT:
      e = shift ? e * 2 : e + 1;
      break;
    case GLFW_KEY_HOME:
      e = 1;
      break;
    case GLFW_KEY_END:
      e = kMostExpansion;
      break;
    case GLFW_KEY_PAGE_UP:
      step(-1);
      break;
    case GLFW_KEY_PAGE_DOWN:
      step(1);
      break;
    case GLFW_KEY_F1:
      shortcuts_asked_ = true;
      break;
    case GLFW_KEY_F12:
      screenshot = true;
      break;
    case GLFW_KEY_ESCAPE:
      session.worker().cancel();
      break;
    case GLFW_KEY_1:
      if (control) settings.view = "explore";
      break;
    case GLFW_KEY_2:
      if (control) settings.view = "profile";
      break;
    case GLFW_KEY_3:
      if (control) settings.view = "state";
      break;
    case GLFW_KEY_4:
      if (control) settings.view = "tour";
      break;
    case GLFW_KEY_UP:
      if (settings.view == "profile") choose_kernel(profile, -1);
      break;
    case GLFW_KEY_DOWN:
      if (settings.view == "profile") choose_kernel(profile, 1);
      break;
    case GLFW_KEY_R:
      if (control) run();
      break;
    case GLFW_KEY_D:
      if (control) settings.dark = !settings.dark;
      break;
    case GLFW_KEY_Q:
      if (control) quit = true;
      break;
    case GLFW_KEY_EQUAL:
    case GLFW_KEY_KP_ADD:
      if (control) zoom(1.1);
      break;
    case GLFW_KEY_MINUS:
    case GLFW_KEY_KP_SUBTRACT:
      if (control) zoom(1 / 1.1);
      break;
    case GLFW_KEY_0:
      if (control) settings.scale = 0;
      break;
    default:
      break;
  }
  e = std::clamp<std::int64_t>(e, 1, kMostExpansion);
}

void App::shortcuts_popup() {
  if (shortcuts_asked_) ImGui::OpenPopup("shortcuts");
  shortcuts_asked_ = false;
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {theme.px(16), theme.px(12)});
  if (ImGui::BeginPopup("shortcuts")) {
    text(theme.fonts.bold, theme.palette.text, "Keys");
    for (const Shortcut& shortcut : kShortcuts) {
      text(theme.fonts.body, theme.palette.accent, shortcut.keys);
      same_line_at(theme.px(170));
      text(theme.fonts.body, theme.palette.text, shortcut.does);
    }
    ImGui::Dummy({0, theme.px(4)});
    text(theme.fonts.small, theme.palette.dim,
         "Charts: wheel zooms, drag pans, double click resets, right click exports.");
    text(theme.fonts.small, theme.palette.dim,
         "Statescope " + std::string(version()) + " (" + std::string(commit()) + ")");
    ImGui::EndPopup();
  }
  ImGui::PopStyleVar();
}

void App::top_bar(float width, float height) {
  const Palette& p = theme.palette;
  const float margin = theme.px(12);
  const float frame = theme.px(kBodySize) + 2 * theme.px(4);
  const float y = std::floor((height - frame) / 2);
  ImGui::SetCursorPos({margin, y});
  ImGui::AlignTextToFramePadding();
  text(theme.fonts.bold, p.text, "Statescope");
  ImGui::SameLine(0, theme.px(18));
  constexpr std::pair<const char*, const char*> kViews[] = {
      {"Explore", "explore"}, {"Profile", "profile"}, {"State", "state"}};
  for (const auto& [title, key] : kViews) {
    if (tab(theme, title, settings.view == key)) settings.view = key;
    ImGui::SameLine(0, theme.px(4));
  }
  if (tab(theme, "Tour", settings.view == "tour")) {
    settings.view = "tour";
    settings.tour_step = 0;
    apply_tour_step(settings);
  }

  if (profile.shaders.result().in_use) {
    ImGui::SameLine(0, theme.px(12));
    ImGui::AlignTextToFramePadding();
    text(theme.fonts.small, p.limit, "edited shaders");
    help_on_hover(theme, "shader");
  }
  const char* other = settings.dark ? "Light" : "Dark";
  const float right = width - margin;
  const float theme_width = ImGui::CalcTextSize(other).x + theme.px(18), help_width = theme.px(28);
  ImGui::SetCursorPos({right - theme_width, y});
  if (ImGui::Button(other, {theme_width, 0})) settings.dark = !settings.dark;
  ImGui::SetCursorPos({right - theme_width - help_width - theme.px(6), y});
  if (ImGui::Button("?", {help_width, 0})) shortcuts_asked_ = true;
  shortcuts_popup();

  const Worker::State state = session.worker().state();
  const float status_right = right - theme_width - help_width - theme.px(22);
  const float stop_width = theme.px(52);
  const auto status = [&](const std::string& line, ImU32 packed, float to) {
    ImGui::PushFont(theme.fonts.small);
    const float available = to - theme.px(400);
    const float text_width = std::min(ImGui::CalcTextSize(line.c_str()).x, available);
    ImGui::PopFont();
    ImGui::SetCursorPos({to - text_width, y + theme.px(5)});
    text(theme.fonts.small, packed, line, available);
  };
  if (state.busy) {
    ImGui::SetCursorPos({status_right - stop_width, y});
    if (ImGui::Button("Stop", {stop_width, 0})) session.worker().cancel();
    const float left = status_right - stop_width - theme.px(10);
    status(state.job + (state.step.empty() ? "" : ": " + state.step), p.dim, left);
  } else if (!state.error.empty()) {
    status(state.error, p.bad, status_right);
    if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", state.error.c_str());
  } else if (ImGui::GetTime() < toast_until_) {
    status(toast_, p.good, status_right);
  } else {
    status("everything on screen is up to date", p.dim, status_right);
  }
}

void App::frame() {
  if (theme.dark != settings.dark) {
    theme.dark = settings.dark;
    apply_theme(theme);
  }
  plot::begin_frame();
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  ImGui::SetNextWindowPos({0, 0});
  ImGui::SetNextWindowSize(size);
  ImGui::PushFont(theme.fonts.body);
  ImGui::Begin("statescope", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
                   ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoScrollWithMouse);
  const float bar = theme.px(42), margin = theme.px(10);
  top_bar(size.x, bar);

  const DeviceInfo* first = session.device(settings.devices.empty() ? "" : settings.devices.front());
  const bool touring = settings.view == "tour";
  const View view{
      theme,
      settings,
      session,
      session.problem_for(settings, first),
      first,
      touring ? tour_steps()[static_cast<std::size_t>(settings.tour_step)].panel : std::string_view()};
  for (const std::string& line : session.take_notes()) say(line);
  const Rect rect{margin, bar, size.x - 2 * margin, size.y - bar - margin};
  if (settings.view == "profile") {
    profile_view(view, profile, rect);
  } else if (settings.view == "state") {
    state_view(view, states, rect);
  } else if (touring) {
    explore_view(view, rect, [&](Rect side) { tour_card(view, side); });
  } else {
    explore_view(view, rect);
  }
  ImGui::End();
  ImGui::PopFont();
}

}  // namespace statescope::gui
