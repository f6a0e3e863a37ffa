// The app without a display: frames are built as for a window, and the last one is drawn into an image.
#pragma once

#include <memory>

#include "app/gui/app.h"
#include "app/gui/renderer.h"

namespace statescope::gui {

class Offscreen {
 public:
  Offscreen(const Settings& settings, int width, int height);

  /// Of the next frame.
  void resize(int width, int height);
  /// Builds frames until the worker has nothing left to do, at most `seconds`; false when it ran out of time.
  bool settle(double seconds);
  /// One more frame, with the mouse where it is told.
  ImDrawData* frame(ImVec2 mouse = {-1, -1}, bool pressed = false);
  /// Draws the last frame.
  Picture picture();

  App& app() { return *app_; }
  Renderer& renderer() { return *renderer_; }

 private:
  ImGuiScope scope_;
  int width_, height_;
  std::unique_ptr<App> app_;
  std::unique_ptr<Renderer> renderer_;
};

}  // namespace statescope::gui
