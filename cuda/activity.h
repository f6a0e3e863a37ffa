// Kernels as CUPTI records them: exact begins and ends, placed on the host's clock. CUPTI is looked for at
// run time; activity records need no administrator's rights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace statescope::cuda {

/// Seconds on std::chrono::steady_clock.
struct Activity {
  double begin = 0, end = 0;
};

/// Opens CUPTI at the first call. Returns why there is none, or nothing.
const std::string& load_activity();

/// Records every kernel of this process from construction on, one recording at a time. Only after
/// load_activity() has returned nothing.
class ActivityRecording {
 public:
  ActivityRecording();
  ~ActivityRecording();
  ActivityRecording(const ActivityRecording&) = delete;
  ActivityRecording& operator=(const ActivityRecording&) = delete;

  /// Those of the stream of the first kernel whose name contains `marker`, which come after it, by begin. The
  /// device must be done with them. Throws Error(kDevice) when CUPTI fails or there is no such kernel.
  std::vector<Activity> after(const std::string& marker);
};

}  // namespace statescope::cuda
