// Colours, fonts and spacing, light and dark. Series colours are Okabe and Ito's palette, which stays apart
// for colour-blind readers; each series also has its own marker or hatching.
#pragma once

#include <string>

#include <imgui.h>

#include "app/gui/plot.h"

namespace statescope::gui {

struct Palette {
  ImU32 background, panel, border, control, text, dim, grid, accent, on_accent;
  ImU32 naive, subheads, production;
  ImU32 independent, linear_expansion, silu_expansion, captured, theory;
  ImU32 limit, good, bad;
  plot::ColorMap diverging;  ///< negative, zero, positive
  plot::ColorMap heads;      ///< from the first to the last
};

/// DejaVu Sans: it has the Greek and mathematical letters of the equations.
struct Fonts {
  ImFont* small = nullptr;
  ImFont* body = nullptr;
  ImFont* bold = nullptr;
  ImFont* large = nullptr;
  ImFont* mono = nullptr;  ///< of code
};

struct Theme {
  bool dark = true;
  float scale = 1;  ///< pixels of a device-independent pixel
  Palette palette{};
  Fonts fonts;

  float px(float size) const;  ///< device-independent to whole pixels
};

inline constexpr float kSmallSize = 12, kBodySize = 13.5f, kLargeSize = 27, kMonoSize = 12;

/// Adds the fonts to ImGui's atlas at the theme's scale and rebuilds nothing else: the renderer uploads it.
/// Throws Error(kUsage) that names the package when DejaVu Sans is not there.
void load_fonts(Theme& theme);
/// Sets the palette, ImGui's style and the charts' style.
void apply_theme(Theme& theme);

/// The colour as ImGui's floats.
ImVec4 color(ImU32 packed);

}  // namespace statescope::gui
