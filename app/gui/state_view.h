// The State view: what each head's state does while the recurrence runs over a long input, where it
// collapses, and what the three mitigations make of it.
#pragma once

#include "app/gui/panels.h"
#include "app/gui/path_field.h"
#include "app/gui/recordings.h"

namespace statescope::gui {

/// What of a head's state is drawn.
enum class StateQuantity { kNorm, kMean, kVariance };

/// What the State view keeps from frame to frame beside the settings.
struct StateUi {
  Recordings recordings;
  bool run_asked = false;
  PathField checkpoint_field, text_field, recording_field;
};

void state_view(const View& view, StateUi& ui, Rect rect);

// Its parts.
/// The chosen quantity over the tokens, one chart a recording, all on one scale.
void heads_panel(const View& view, const std::vector<std::shared_ptr<const Recording>>& recordings,
                 Rect rect);
/// Loss over the tokens, a line a recording.
void loss_panel(const View& view, const std::vector<std::shared_ptr<const Recording>>& recordings, Rect rect);
/// How long each head remembers.
void decay_panel(const View& view, const Recording* recording, Rect rect);
/// What the papers' criteria say of each recording.
void verdict_panel(const View& view, const std::vector<std::shared_ptr<const Recording>>& recordings,
                   Rect rect);

}  // namespace statescope::gui
