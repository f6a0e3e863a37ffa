// The app: settings, theme and session, and one frame of it. Who draws the frame (a window, an image) is not
// its business.
#pragma once

#include <functional>
#include <string>

#include "app/gui/profile.h"
#include "app/gui/session.h"
#include "app/gui/settings.h"
#include "app/gui/state_view.h"
#include "app/gui/theme.h"

namespace statescope::gui {

/// A key that was pressed, GLFW's codes.
struct KeyPress {
  int key, mods;
};

class App {
 public:
  /// Needs a current ImGui context. `display_scale` is used where the settings have none. `wake` is called
  /// from another thread when there is something new to show.
  App(Settings initial, float display_scale, std::function<void()> wake);

  /// Builds one frame, between ImGui::NewFrame() and ImGui::Render().
  void frame();
  void press(KeyPress key);
  /// Starts what the view measures when asked: a profile, a recording of states.
  void run();
  /// True when the fonts must be loaded and uploaded again before the next frame.
  bool scale_changed() const;
  void reload_fonts();

  Settings settings;
  Theme theme;
  ProfileUi profile;
  StateUi states;
  Session session;  ///< after what its worker writes to: its thread ends first
  bool quit = false;
  bool screenshot = false;  ///< asked for; who draws resets it
  /// Opens files that were dropped on the window: a capture, a recording of states.
  void drop(const std::vector<std::string>& paths, ImVec2 at);
  /// One line at the bottom for some seconds.
  void say(const std::string& line);

 private:
  float wanted_scale() const;
  void top_bar(float width, float height);
  void shortcuts_popup();

  float display_scale_;
  bool shortcuts_asked_ = false;
  std::string toast_;
  double toast_until_ = 0;
};

/// Context, style and input settings that every frame needs. Destroys the context at its end.
struct ImGuiScope {
  ImGuiScope();
  ~ImGuiScope();
  ImGuiScope(const ImGuiScope&) = delete;
  ImGuiScope& operator=(const ImGuiScope&) = delete;
};

}  // namespace statescope::gui
