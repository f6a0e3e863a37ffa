// The Tour: five steps through the Explore view. A step sets the controls and says what to look at.
#pragma once

#include <span>

#include "app/gui/panels.h"

namespace statescope::gui {

struct TourStep {
  const char* title;
  const char* text;   ///< two sentences
  const char* panel;  ///< that it points at: "slider", "memory", "speed", "dilution", "state"
  void (*apply)(Settings&);
};
std::span<const TourStep> tour_steps();

/// The card with the step's text and its buttons; moving to another step applies it.
void tour_card(const View& view, Rect rect);
/// Sets the controls of the current step.
void apply_tour_step(Settings& settings);

}  // namespace statescope::gui
