// The few controls and frames that the views share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <imgui.h>

#include "app/gui/quantity.h"
#include "app/gui/theme.h"

namespace statescope::gui {

struct Rect {
  float x, y, width, height;
};

/// A panel with a title (help under `help_key`) and a dim line beside it. Returns the size left for its
/// content; the cursor stands at its start. Always call end_panel(). `highlight` frames it in the accent
/// colour.
ImVec2 begin_panel(const Theme& theme, const char* id, Rect rect, const char* title, const std::string& note,
                   const char* help_key, bool highlight = false);
void end_panel();

/// Shows the term's help while the last item is hovered.
void help_on_hover(const Theme& theme, const char* help_key);
/// A label with help.
void label(const Theme& theme, const char* text, const char* help_key);
/// Text in one of the theme's fonts and any colour, single line, cut with an ellipsis at `width` (0: not
/// cut).
void text(ImFont* font, ImU32 color, const std::string& line, float width = 0);
/// The line, cut with an ellipsis where the current font needs more than `width`.
std::string fitted(const std::string& line, float width);
void wrapped_text(ImFont* font, ImU32 color, const std::string& lines);

/// Goes on in the same line, `x` from where the panel's lines start.
void same_line_at(float x);
/// A row of alternatives, one of them on; true when it changed.
bool choice(const Theme& theme, const char* id, std::span<const char* const> names, int& value, float width);
/// A combo of whole numbers; true when it changed. `fallback` is shown, dim, while the value is 0.
bool number_combo(const Theme& theme, const char* id, std::span<const std::int64_t> values,
                  std::int64_t& value, std::int64_t fallback, float width);

/// The large slider: whole numbers from 1 to `most` on a log scale, ticks at powers of two. True when it
/// changed.
bool expansion_slider(const Theme& theme, std::int64_t& value, std::int64_t most, ImVec2 size);

/// A legend entry as the charts draw it.
void legend_entry(const Theme& theme, ImU32 color, plot::Marker marker, bool dashed, const char* name);

}  // namespace statescope::gui
