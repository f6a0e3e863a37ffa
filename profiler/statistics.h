// What a sample of times says: order statistics only, since times are skewed and never normal.
#pragma once

#include <cstddef>
#include <vector>

namespace statescope {

/// The q-quantile (0 to 1), linear between neighbours (type 7 of Hyndman and Fan, 1996). 0 of an empty
/// sample.
double quantile(const std::vector<double>& sorted, double q);

/// Equal bins from the smallest to the largest; the largest is in the last.
struct Histogram {
  double min = 0, max = 0;
  std::vector<std::size_t> counts;
};
Histogram histogram_of(const std::vector<double>& sample, std::size_t bins);

/// Where the median of a device's times lies, given a sample in the order in which it was taken.
struct MedianInterval {
  double low = 0, median = 0, high = 0;
};
/// The 99.9 % confidence interval of the median by order statistics (no distribution assumed), widened to
/// hold the median of each eighth of the run, so that a drift of clocks counts as spread. Under 11 samples no
/// pair reaches 99.9 %: the whole range.
MedianInterval median_interval(const std::vector<double>& in_order);

}  // namespace statescope
