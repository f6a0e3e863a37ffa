// The Explore view: one slider, and everything that follows from it.
#pragma once

#include "app/gui/panels.h"

namespace statescope::gui {

/// Draws controls, slider and panels into the rectangle. Where `sidebar` is given it is drawn in place of the
/// controls.
void explore_view(const View& view, Rect rect, const std::function<void(Rect)>& sidebar = {});

}  // namespace statescope::gui
