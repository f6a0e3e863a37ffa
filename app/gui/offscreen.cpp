#include "app/gui/offscreen.h"

#include <chrono>
#include <thread>

namespace statescope::gui {

Offscreen::Offscreen(const Settings& settings, int width, int height) : width_(width), height_(height) {
  app_ = std::make_unique<App>(settings, 1.0f, [] {});
  renderer_ = std::make_unique<Renderer>(std::vector<const char*>{}, Renderer::MakeSurface{});
}

void Offscreen::resize(int width, int height) {
  width_ = width;
  height_ = height;
}

ImDrawData* Offscreen::frame(ImVec2 mouse, bool pressed) {
  if (app_->scale_changed()) {
    app_->reload_fonts();
    renderer_->reload_fonts();
  }
  ImGuiIO& io = ImGui::GetIO();
  io.DisplaySize = {static_cast<float>(width_), static_cast<float>(height_)};
  io.DeltaTime = 1.0f / 60;
#if IMGUI_VERSION_NUM >= 18700
  io.AddMousePosEvent(mouse.x, mouse.y);
  io.AddMouseButtonEvent(0, pressed);
#else
  io.MousePos = mouse.x < 0 ? ImVec2(-FLT_MAX, -FLT_MAX) : mouse;
  io.MouseDown[0] = pressed;
#endif
  renderer_->new_frame();
  ImGui::NewFrame();
  app_->frame();
  ImGui::Render();
  return ImGui::GetDrawData();
}

bool Offscreen::settle(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  // A frame asks for what it lacks: only two quiet frames in a row say that nothing is missing.
  int quiet = 0;
  while (quiet < 3) {
    frame();
    quiet = app_->session.worker().state().busy ? 0 : quiet + 1;
    if (Clock::now() > deadline) return false;
    if (quiet == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

Picture Offscreen::picture() {
  return renderer_->draw_picture(ImGui::GetDrawData(), width_, height_, app_->theme.palette.background);
}

}  // namespace statescope::gui
