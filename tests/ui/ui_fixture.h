// Drawing without a display. Where there is no Vulkan driver the tests skip themselves and say so, or fail
// where STATESCOPE_REQUIRE_DEVICES asks for vulkan.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <statescope/error.h>

#include "app/gui/app.h"
#include "app/gui/offscreen.h"
#include "app/gui/renderer.h"
#include "tests/ui/drawn_text.h"

namespace statescope::gui {

/// Runs `start`; true when it found a device.
inline bool start_or_skip(const std::function<void()>& start, std::string& reason) {
  try {
    start();
    return true;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNoDevice) throw;
    reason = e.what();
    return false;
  }
}

#define STATESCOPE_START(...)                                                                      \
  do {                                                                                             \
    std::string reason;                                                                            \
    if (!start_or_skip([&] { __VA_ARGS__; }, reason)) {                                            \
      const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");                            \
      if (required && std::string(required).find("vulkan") != std::string::npos) FAIL() << reason; \
      GTEST_SKIP() << reason;                                                                      \
    }                                                                                              \
  } while (false)

struct Rgb {
  int r, g, b;
};
inline Rgb pixel_of(const Picture& picture, ImVec2 at) {
  const int x = static_cast<int>(at.x), y = static_cast<int>(at.y);
  EXPECT_TRUE(x >= 0 && x < picture.width && y >= 0 && y < picture.height) << x << ", " << y;
  const std::uint8_t* p = &picture.rgba[4 * (static_cast<std::size_t>(y) * picture.width + x)];
  return {p[0], p[1], p[2]};
}
inline Rgb rgb_of(ImU32 color) {
  return {static_cast<int>(color & 0xff), static_cast<int>(color >> 8 & 0xff),
          static_cast<int>(color >> 16 & 0xff)};
}
inline void expect_color(const Picture& picture, ImVec2 at, ImU32 wanted, const std::string& what) {
  const Rgb found = pixel_of(picture, at), want = rgb_of(wanted);
  EXPECT_TRUE(std::abs(found.r - want.r) <= 3 && std::abs(found.g - want.g) <= 3 &&
              std::abs(found.b - want.b) <= 3)
      << what << " at " << at.x << ", " << at.y << ": found " << found.r << " " << found.g << " " << found.b
      << ", wanted " << want.r << " " << want.g << " " << want.b;
}

/// One window of 640 x 480 with whatever the test draws into it.
class Canvas {
 public:
  Canvas() {
    load_fonts(theme);
    apply_theme(theme);
    renderer_ = std::make_unique<Renderer>(std::vector<const char*>{}, Renderer::MakeSurface{});
  }
  void frame(const std::function<void()>& draw, ImVec2 mouse = {-FLT_MAX, -FLT_MAX}, float wheel = 0,
             bool pressed = false) {
    ImGuiIO& io = ImGui::GetIO();
    io.DisplaySize = {640, 480};
    io.DeltaTime = 1.0f / 60;
#if IMGUI_VERSION_NUM >= 18700
    io.AddMousePosEvent(mouse.x, mouse.y);
    io.AddMouseButtonEvent(0, pressed);
    io.AddMouseWheelEvent(0, wheel);
#else
    io.MousePos = mouse;
    io.MouseDown[0] = pressed;
    io.MouseWheel = wheel;
#endif
    renderer_->new_frame();
    ImGui::NewFrame();
    plot::begin_frame();
    ImGui::SetNextWindowPos({0, 0});
    ImGui::SetNextWindowSize({640, 480});
    ImGui::Begin("canvas", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove);
    draw();
    ImGui::End();
    ImGui::Render();
  }
  Picture picture() {
    return renderer_->draw_picture(ImGui::GetDrawData(), 640, 480, theme.palette.background);
  }
  std::vector<DrawnText> text() const {
    return drawn_text(*ImGui::GetDrawData());
  }
  int validation_messages() const {
    return renderer_->validation_messages();
  }

 private:
  ImGuiScope scope_;

 public:
  Theme theme;

 private:
  std::unique_ptr<Renderer> renderer_;
};

}  // namespace statescope::gui
