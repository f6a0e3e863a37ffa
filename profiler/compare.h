// Two captures, kernel by kernel: is the second slower, beyond what the spread of both can explain?
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "profiler/capture.h"
#include "profiler/statistics.h"

namespace statescope {

enum class Verdict {
  kSame,    ///< the ratio of medians is within the threshold
  kSlower,  ///< past the threshold, and the intervals of both medians are apart by half of it
  kFaster,
  kNoise,   ///< past the threshold, but the intervals are too near
  kTooFew,  ///< past the threshold, with fewer than kFewestRuns runs on a side
  kGone,    ///< measured in the baseline; refused, wrong, failed or absent now
  kNew,     ///< not measured in the baseline
};
std::string_view name(Verdict verdict);  ///< "same", "slower", ...

/// Fewer runs on a side could be apart by chance alone (1 in 126 of two samples of five).
inline constexpr std::size_t kFewestRuns = 8;

struct CompareRow {
  std::string device;   ///< in the second capture; in the first when gone
  std::string problem;  ///< describe(), with series and E
  std::string kernel;
  MedianInterval before, after;          ///< seconds; all zero where not measured
  double ratio = 0;                      ///< after over before, of the medians; 0 when there are not two
  double ratio_low = 0, ratio_high = 0;  ///< from the ends of the intervals: after.low / before.high ...
  Verdict verdict = Verdict::kSame;
  std::string note;  ///< why it is gone
};

struct Comparison {
  double threshold = 0;
  std::vector<std::string>
      warnings;                  ///< what makes the captures hard to compare: another card, another driver
  std::vector<CompareRow> rows;  ///< slower first, by ratio; then gone; then the others
};

/// `threshold` 0.05: 5 %. Entries are matched by api, problem, series and E, launches by name. Throws
/// Error(kUsage) on a threshold that is negative or not finite, and when no entry matches.
Comparison compare(const Capture& before, const Capture& after, double threshold);

/// The decision on two samples, in the order in which they were taken.
CompareRow compare_samples(const std::vector<double>& before, const std::vector<double>& after,
                           double threshold);

/// 1 when anything is slower or gone, else 0.
int exit_code(const Comparison& comparison);

}  // namespace statescope
