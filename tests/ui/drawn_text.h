// Reads the text back out of ImGui's draw data: what it finds has really been drawn, where it was drawn. Each
// glyph is a quad with the texture coordinates of one letter of the atlas.
#pragma once

#include <string>
#include <vector>

#include <imgui.h>

namespace statescope::gui {

struct DrawnText {
  std::string text;      ///< UTF-8; spaces where the pen moved by one
  ImVec2 min, max;       ///< of its glyphs, pixels
  bool clipped = false;  ///< some of it lies outside of its clip rectangle or the display
};

std::vector<DrawnText> drawn_text(const ImDrawData& data);

/// Whether a run of text contains the words.
bool has_text(const std::vector<DrawnText>& runs, const std::string& words);

}  // namespace statescope::gui
