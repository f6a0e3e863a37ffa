#include "app/gui/axis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

namespace statescope::plot {
namespace {

double base_of(Scale scale) {
  return scale == Scale::kLog2 ? 2.0 : 10.0;
}

double log_of(Scale scale, double value) {
  if (!(value > 0)) return std::numeric_limits<double>::quiet_NaN();
  return scale == Scale::kLog2 ? std::log2(value) : std::log10(value);
}

/// The range in the coordinates in which the axis is linear.
Range straightened(Scale scale, Range range) {
  if (scale == Scale::kLinear) return range;
  return {log_of(scale, range.lo), log_of(scale, range.hi)};
}

Range bent(Scale scale, Range range) {
  if (scale == Scale::kLinear) return range;
  return {std::pow(base_of(scale), range.lo), std::pow(base_of(scale), range.hi)};
}

/// 1, 2 or 5 times a power of ten: the first that is not much below `step`.
double nice_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= 0.85 * step) return factor * power;
  }
  return 10 * power;
}

std::vector<Tick> linear_ticks(Range range, int wanted) {
  std::vector<Tick> result;
  const double step = nice_step((range.hi - range.lo) / std::max(wanted, 1));
  for (double i = std::ceil(range.lo / step - 1e-9); i * step <= range.hi + 1e-9 * step; ++i) {
    const double value = i * step;
    result.push_back({value, format_value(value), true});
  }
  // Ticks far from zero and near to each other: as many decimals as tell them apart.
  const bool alike = std::adjacent_find(result.begin(), result.end(), [](const Tick& a, const Tick& b) {
                       return a.label == b.label;
                     }) != result.end();
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
  for (Tick& tick : result) {
    if (!alike) break;
    char text[48];
    std::snprintf(text, sizeof text, "%.*f", decimals, tick.value);
    tick.label = text;
  }
  return result;
}

std::vector<Tick> log_ticks(Scale scale, Range range, int wanted) {
  std::vector<Tick> result;
  const double base = base_of(scale);
  const Range exponents = straightened(scale, range);
  const double span = exponents.hi - exponents.lo;
  const auto every = std::max(1.0, std::ceil(span / std::max(wanted, 1)));
  const bool minor = scale == Scale::kLog10 && every == 1;
  const bool label_minor = minor && span < 1.8;
  for (double e = std::floor(exponents.lo); e <= exponents.hi + 1e-9; ++e) {
    for (int digit = 1; digit < (minor ? 10 : 2); ++digit) {
      const double value = digit * std::pow(base, e);
      if (value < range.lo * (1 - 1e-9) || value > range.hi * (1 + 1e-9)) continue;
      const bool major = digit == 1 && std::fmod(e, every) == 0;
      const bool labelled = major || (label_minor && (digit == 2 || digit == 5));
      if (digit == 1 && !major && scale == Scale::kLog2) continue;
      result.push_back({value, labelled ? format_value(value) : "", major});
    }
  }
  return result;
}

}  // namespace

double to_unit(Scale scale, Range range, double value) {
  const Range straight = straightened(scale, range);
  const double x = scale == Scale::kLinear ? value : log_of(scale, value);
  return (x - straight.lo) / (straight.hi - straight.lo);
}

double from_unit(Scale scale, Range range, double unit) {
  const Range straight = straightened(scale, range);
  const double x = straight.lo + unit * (straight.hi - straight.lo);
  return scale == Scale::kLinear ? x : std::pow(base_of(scale), x);
}

std::vector<Tick> ticks(Scale scale, Range range, int wanted) {
  if (range.hi < range.lo) std::swap(range.lo, range.hi);
  if (!(range.lo < range.hi)) return {};
  return scale == Scale::kLinear ? linear_ticks(range, wanted) : log_ticks(scale, range, wanted);
}

std::string format_value(double value) {
  if (std::isnan(value)) return "-";
  if (value == 0) return "0";
  static constexpr std::array<std::pair<double, const char*>, 6> kSuffixes = {
      {{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}}};
  const double size = std::abs(value);
  char text[32];
  if (size < 1e-3 || size >= 1e18) {
    std::snprintf(text, sizeof text, "%.3g", value);
    return text;
  }
  for (const auto& [unit, suffix] : kSuffixes) {
    if (size < unit * (1 - 5e-4) && unit > 1) continue;
    const double scaled = value / unit;
    // Three significant digits without an exponent, then without trailing zeros.
    const int digits = std::max(0, 2 - static_cast<int>(std::floor(std::log10(std::abs(scaled)) + 1e-9)));
    std::snprintf(text, sizeof text, "%.*f", digits, scaled);
    std::string result = text;
    if (result.find('.') != std::string::npos) {
      result.erase(result.find_last_not_of('0') + 1);
      if (result.back() == '.') result.pop_back();
    }
    return result + suffix;
  }
  return "";
}

Range zoom(Scale scale, Range range, double pivot, double factor) {
  const Range straight = straightened(scale, range);
  const double length = straight.hi - straight.lo;
  const double at = straight.lo + pivot * length;
  const Range zoomed{at - pivot * length * factor, at + (1 - pivot) * length * factor};
  const double floor = 1e-9 * std::max({std::abs(straight.lo), std::abs(straight.hi), 1e-30});
  if (std::abs(length * factor) < floor || std::abs(length * factor) > 1e15) return range;
  if (scale != Scale::kLinear && (zoomed.lo < -250 || zoomed.hi > 250)) return range;
  return bent(scale, zoomed);
}

Range pan(Scale scale, Range range, double delta) {
  const Range straight = straightened(scale, range);
  const double shift = delta * (straight.hi - straight.lo);
  return bent(scale, {straight.lo + shift, straight.hi + shift});
}

Range fit(Scale scale, std::span<const double> values, double margin) {
  Range straight{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const double value : values) {
    const double x = scale == Scale::kLinear ? value : log_of(scale, value);
    if (!std::isfinite(x)) continue;
    straight.lo = std::min(straight.lo, x);
    straight.hi = std::max(straight.hi, x);
  }
  if (straight.lo > straight.hi) return bent(scale, {0, 1});
  if (straight.lo == straight.hi) {
    const double half = scale == Scale::kLinear ? std::max(std::abs(straight.lo), 1.0) / 2 : 0.5;
    straight = {straight.lo - half, straight.hi + half};
  }
  const double more = margin * (straight.hi - straight.lo);
  return bent(scale, {straight.lo - more, straight.hi + more});
}

std::optional<std::size_t> nearest_point(std::span<const Pixel> points, Pixel mouse, float radius) {
  std::optional<std::size_t> best;
  float least = radius * radius;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const float dx = points[i].x - mouse.x, dy = points[i].y - mouse.y;
    const float squared = dx * dx + dy * dy;
    if (squared <= least) {
      least = squared;
      best = i;
    }
  }
  return best;
}

std::optional<Cell> cell_at(std::size_t rows, std::size_t columns, double x, double y) {
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1) || rows == 0 || columns == 0) return std::nullopt;
  return Cell{static_cast<std::size_t>(y * static_cast<double>(rows)),
              static_cast<std::size_t>(x * static_cast<double>(columns))};
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace statescope::plot
