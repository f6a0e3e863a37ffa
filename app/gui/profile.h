// The Profile view: a timeline, the table of kernels, and everything that is known of the one that is chosen.
#pragma once

#include "app/gui/captures.h"
#include "app/gui/panels.h"
#include "app/gui/path_field.h"
#include "app/gui/shader_editor.h"

namespace statescope::gui {

enum class ProfileTab { kKernel, kCode, kRoofline, kBaseline, kShader };

/// What the Profile view keeps from frame to frame beside the settings.
struct ProfileUi {
  Captures captures;
  ShaderEditor shaders;
  std::shared_ptr<const OpenCapture> shown;        ///< of the last frame
  std::size_t kernel = 0;                          ///< chosen, row of the kernel table
  std::vector<std::size_t> order;                  ///< rows as the table shows them
  std::vector<std::vector<plot::SpanMark>> marks;  ///< of the timeline's rows
  std::optional<bool> marks_dark;                  ///< the theme that they are of
  bool run_asked = false;
  PathField capture_field, baseline_field;
  Rect baseline_place{};  ///< where a file is dropped to become the baseline
  std::string filter;

  // Of the code.
  std::size_t representation = 0;
  std::string search;
  std::size_t match = 0;
  bool scroll_to_match = false;
};

void profile_view(const View& view, ProfileUi& ui, Rect rect);
/// The kernel `by` rows further down the table.
void choose_kernel(ProfileUi& ui, int by);

// Its parts, each drawn into what is left of the current panel.
void kernel_table_panel(const View& view, ProfileUi& ui, Rect rect);
void kernel_tab(const View& view, ProfileUi& ui, ImVec2 size);
void code_tab(const View& view, ProfileUi& ui, ImVec2 size);
void roofline_tab(const View& view, ProfileUi& ui, ImVec2 size);
void baseline_tab(const View& view, ProfileUi& ui, ImVec2 size);
void shader_tab(const View& view, ProfileUi& ui, ImVec2 size);
/// What an edited shader is measured on: the chosen series at the slider's E.
Problem shader_problem(const View& view);

/// "recurrent", and what tells it from others of the capture: its pass, its device. A part of a run by what
/// its name adds to the run's.
std::string kernel_label(const OpenCapture& open, const KernelRow& row);
ImU32 verdict_color(const Theme& theme, Verdict verdict);
/// The row of the comparison that is of this kernel, or null.
const CompareRow* compared(const Comparison* comparison, const OpenCapture& open, const KernelRow& row);

/// Where a cell of a table ends: its text stands at the right.
void right_text(ImFont* font, ImU32 color, const std::string& line);
/// A line of a table of two or three columns: "registers   -   64".
void fact(const Theme& theme, const char* name, const char* help_key, const std::string& value);

}  // namespace statescope::gui
