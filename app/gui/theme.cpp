#include "app/gui/theme.h"

#include <cmath>
#include <filesystem>

#include <statescope/error.h>

namespace statescope::gui {
namespace {

constexpr ImU32 rgb(unsigned hex) {
  return IM_COL32((hex >> 16) & 0xff, (hex >> 8) & 0xff, hex & 0xff, 255);
}

// Okabe and Ito: orange E69F00, sky 56B4E9, green 009E73, yellow F0E442, blue 0072B2, vermilion D55E00,
// purple CC79A7.
Palette dark_palette() {
  Palette p{};
  p.background = rgb(0x12161c);
  p.panel = rgb(0x1a2029);
  p.border = rgb(0x2c3542);
  p.control = rgb(0x27303c);
  p.text = rgb(0xe8edf3);
  p.dim = rgb(0xa3afbd);
  p.grid = rgb(0x2d3643);
  p.accent = rgb(0x56b4e9);
  p.on_accent = rgb(0x0b1017);
  p.naive = rgb(0xe8722a);
  p.subheads = rgb(0x56b4e9);
  p.production = rgb(0x1fbf92);
  p.independent = rgb(0xc9d1da);
  p.linear_expansion = rgb(0xe69f00);
  p.silu_expansion = rgb(0xd98bb6);
  p.captured = rgb(0xf0e442);
  p.theory = rgb(0xe8edf3);
  p.limit = rgb(0xf0e442);
  p.good = rgb(0x1fbf92);
  p.bad = rgb(0xf2803d);
  p.diverging = {rgb(0x3fa7ea), rgb(0x161b22), rgb(0xf28a3c)};
  p.heads = {rgb(0x4f7de0), rgb(0x2fb59b), rgb(0xf4e04d)};
  return p;
}

Palette light_palette() {
  Palette p{};
  p.background = rgb(0xeef1f5);
  p.panel = rgb(0xffffff);
  p.border = rgb(0xd3dae3);
  p.control = rgb(0xe3e8ee);
  p.text = rgb(0x1a222c);
  p.dim = rgb(0x566373);
  p.grid = rgb(0xe1e6ec);
  p.accent = rgb(0x0067a3);
  p.on_accent = rgb(0xffffff);
  p.naive = rgb(0xd55e00);
  p.subheads = rgb(0x0072b2);
  p.production = rgb(0x008a64);
  p.independent = rgb(0x4a5663);
  p.linear_expansion = rgb(0xb87d00);
  p.silu_expansion = rgb(0xb14f86);
  p.captured = rgb(0x7a6a00);
  p.theory = rgb(0x1a222c);
  p.limit = rgb(0x7a4a00);
  p.good = rgb(0x007a59);
  p.bad = rgb(0xb84d00);
  p.diverging = {rgb(0x0072b2), rgb(0xffffff), rgb(0xd55e00)};
  p.heads = {rgb(0x3b2f8f), rgb(0x1f8a80), rgb(0xc98a00)};
  return p;
}

/// Where distributions keep DejaVu.
std::string font_path(const std::string& file) {
  for (const char* folder : {"/usr/share/fonts/truetype/dejavu/", "/usr/share/fonts/dejavu-sans-fonts/",
                             "/usr/share/fonts/TTF/", "/usr/share/fonts/dejavu/"}) {
    if (std::filesystem::exists(folder + file)) return folder + file;
  }
  throw Error(ErrorKind::kUsage,
              "font " + file + " not found in /usr/share/fonts; install fonts-dejavu-core");
}

// Latin, Greek, punctuation, super- and subscripts, arrows, operators, geometric shapes, ticks.
constexpr ImWchar kGlyphs[] = {0x0020, 0x00ff, 0x0370, 0x03ff, 0x1d62, 0x1d6a, 0x2010, 0x2044, 0x2070, 0x209c,
                               0x2190, 0x21ff, 0x2200, 0x22ff, 0x25a0, 0x25ff, 0x2713, 0x2718, 0};

}  // namespace

float Theme::px(float size) const {
  return std::round(size * scale);
}

ImVec4 color(ImU32 packed) {
  return ImGui::ColorConvertU32ToFloat4(packed);
}

void load_fonts(Theme& theme) {
  const std::string regular = font_path("DejaVuSans.ttf"), bold = font_path("DejaVuSans-Bold.ttf");
  ImFontAtlas& atlas = *ImGui::GetIO().Fonts;
  atlas.Clear();
  ImFontConfig config;
  config.OversampleH = 2;
  config.OversampleV = 1;
  const auto add = [&](const std::string& path, float size) {
    return atlas.AddFontFromFileTTF(path.c_str(), std::round(size * theme.scale), &config, kGlyphs);
  };
  theme.fonts.body = add(regular, kBodySize);
  theme.fonts.small = add(regular, kSmallSize);
  theme.fonts.bold = add(bold, kBodySize);
  theme.fonts.large = add(bold, kLargeSize);
  theme.fonts.mono = add(font_path("DejaVuSansMono.ttf"), kMonoSize);
}

void apply_theme(Theme& theme) {
  theme.palette = theme.dark ? dark_palette() : light_palette();
  const Palette& p = theme.palette;
  ImGuiStyle style;
  style.WindowPadding = {0, 0};
  style.WindowBorderSize = 0;
  style.WindowRounding = 0;
  style.ChildRounding = theme.px(6);
  style.ChildBorderSize = 1;
  style.PopupRounding = theme.px(5);
  style.FrameRounding = theme.px(4);
  style.FramePadding = {theme.px(7), theme.px(4)};
  style.ItemSpacing = {theme.px(8), theme.px(6)};
  style.ItemInnerSpacing = {theme.px(6), theme.px(4)};
  style.GrabMinSize = theme.px(10);
  style.GrabRounding = theme.px(4);
  style.ScrollbarSize = theme.px(10);
  style.DisabledAlpha = 0.5f;
  const auto set = [&](ImGuiCol which, ImU32 packed) { style.Colors[which] = color(packed); };
  set(ImGuiCol_Text, p.text);
  set(ImGuiCol_TextDisabled, p.dim);
  set(ImGuiCol_WindowBg, p.background);
  set(ImGuiCol_ChildBg, p.panel);
  set(ImGuiCol_PopupBg, p.panel);
  set(ImGuiCol_Border, p.border);
  set(ImGuiCol_FrameBg, p.control);
  set(ImGuiCol_FrameBgHovered, p.border);
  set(ImGuiCol_FrameBgActive, p.border);
  set(ImGuiCol_Button, p.control);
  set(ImGuiCol_ButtonHovered, p.border);
  set(ImGuiCol_ButtonActive, p.border);
  set(ImGuiCol_Header, p.control);
  set(ImGuiCol_HeaderHovered, p.border);
  set(ImGuiCol_HeaderActive, p.border);
  set(ImGuiCol_CheckMark, p.accent);
  set(ImGuiCol_SliderGrab, p.accent);
  set(ImGuiCol_SliderGrabActive, p.accent);
  set(ImGuiCol_ScrollbarBg, p.panel);
  set(ImGuiCol_ScrollbarGrab, p.border);
  set(ImGuiCol_PlotHistogram, p.accent);
  set(ImGuiCol_Separator, p.border);
  set(ImGuiCol_TextSelectedBg, p.border);
  ImGui::GetStyle() = style;

  plot::Style charts;
  charts.text = p.text;
  charts.dim = p.dim;
  charts.grid = p.grid;
  charts.background = p.panel;
  charts.font = theme.fonts.small;
  charts.font_size = std::round(kSmallSize * theme.scale);
  charts.unit = theme.scale;
  plot::set_style(charts);
}

}  // namespace statescope::gui
