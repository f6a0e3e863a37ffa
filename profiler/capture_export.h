// A capture for other programs: Chrome's trace format (opens in Perfetto), and a table as CSV.
#pragma once

#include <string>

#include "profiler/capture.h"

namespace statescope {

/// Trace Event Format, JSON object form: a process a kind of lane and device, a thread a lane, a complete
/// event
/// ("X", microseconds) a span with its arguments. Spans of one lane that overlap without one holding the
/// other, which the format cannot nest, go to a second thread of the same name.
std::string chrome_trace(const Capture& capture);

/// The kernel table, one line a row, units in the column names.
std::string kernel_csv(const Capture& capture);

}  // namespace statescope
