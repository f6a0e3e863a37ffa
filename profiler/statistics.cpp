#include "profiler/statistics.h"

#include <algorithm>
#include <cmath>

namespace statescope {
namespace {

/// Samples to leave out at each end of n sorted ones so that the rest holds the median with probability 1 -
/// `miss`: the largest r with P(Binomial(n, 1/2) <= r) <= miss / 2, or 0.
std::size_t ranks_outside(std::size_t n, double miss) {
  double term = std::exp2(-static_cast<double>(n));  // P(X = 0)
  double below = 0;
  for (std::size_t r = 0; r < n / 2; ++r) {
    below += term;  // P(X <= r)
    if (below > miss / 2) return r == 0 ? 0 : r - 1;
    term *= static_cast<double>(n - r) / static_cast<double>(r + 1);
  }
  return n / 2;
}

}  // namespace

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Histogram histogram_of(const std::vector<double>& sample, std::size_t bins) {
  Histogram histogram;
  if (sample.empty() || bins == 0) return histogram;
  const auto [min, max] = std::ranges::minmax(sample);
  histogram.min = min;
  histogram.max = max;
  histogram.counts.assign(max > min ? bins : 1, 0);
  for (const double x : sample) {
    const double place = max > min ? (x - min) / (max - min) * static_cast<double>(bins) : 0;
    ++histogram.counts[std::min(static_cast<std::size_t>(place), histogram.counts.size() - 1)];
  }
  return histogram;
}

MedianInterval median_interval(const std::vector<double>& in_order) {
  constexpr double kMiss = 1e-3;
  constexpr std::size_t kParts = 8;
  constexpr std::size_t kSmallestPart = 8;  // the median of fewer is mostly noise
  if (in_order.empty()) return {};
  std::vector<double> sorted = in_order;
  std::ranges::sort(sorted);
  // 2^-n underflows past n = 1074; far fewer runs than that say all there is to say of a median.
  const std::size_t n = sorted.size();
  const std::size_t outside =
      n <= 1000
          ? ranks_outside(n, kMiss)
          : static_cast<std::size_t>(0.5 * static_cast<double>(n) - 1.65 * std::sqrt(static_cast<double>(n)));
  MedianInterval interval{sorted[std::min(outside, n - 1)], quantile(sorted, 0.5), sorted[n - 1 - outside]};
  if (n < kParts * kSmallestPart) return interval;
  for (std::size_t part = 0; part < kParts; ++part) {
    const auto from = in_order.begin() + static_cast<std::ptrdiff_t>(part * n / kParts);
    const auto to = in_order.begin() + static_cast<std::ptrdiff_t>((part + 1) * n / kParts);
    std::vector<double> piece(from, to);
    std::ranges::sort(piece);
    interval.low = std::min(interval.low, quantile(piece, 0.5));
    interval.high = std::max(interval.high, quantile(piece, 0.5));
  }
  return interval;
}

}  // namespace statescope
