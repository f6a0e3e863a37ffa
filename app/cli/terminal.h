// The terminal: progress on stderr and Ctrl-C.
#pragma once

#include <string>

#include "profiler/watch.h"

namespace statescope::cli {

/// Ctrl-C asks the running job to stop at its next step; a second one ends the program at once.
void listen_for_interrupt();

/// Progress goes to stderr: one line that overwrites itself on a terminal, else a line every few seconds.
/// Nothing is said in the first second.
Watch watch();

/// Removes the progress line, so that results start at the left margin.
void clear_progress();

}  // namespace statescope::cli
