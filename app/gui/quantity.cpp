#include "app/gui/quantity.h"

#include <cmath>
#include <cstdio>

#include "app/gui/axis.h"

namespace statescope::gui {
namespace {

/// "2.45 G": the number and its prefix apart from each other.
std::string with_prefix(double value) {
  std::string text = plot::format_value(value);
  if (!text.empty() && (text.back() < '0' || text.back() > '9')) text.insert(text.size() - 1, " ");
  return text;
}

struct Unit {
  double seconds;
  const char* name;
};
constexpr Unit kUnits[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}};

/// The largest unit that is no longer than `seconds`.
const Unit& unit_of(double seconds) {
  for (const Unit& unit : kUnits) {
    if (seconds >= unit.seconds * (1 - 5e-4)) return unit;
  }
  return kUnits[3];
}

}  // namespace

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds == 0) return "0 s";
  const Unit& unit = unit_of(std::abs(seconds));
  return plot::format_value(seconds / unit.seconds) + " " + unit.name;
}

std::string quantity(double value, const std::string& unit) {
  if (!std::isfinite(value)) return "-";
  const std::string text = with_prefix(value);
  const bool prefixed = !text.empty() && (text.back() < '0' || text.back() > '9');
  return text + (prefixed ? "" : " ") + unit;
}

std::string memory_size(double bytes) {
  constexpr double kKilo = 1024;
  if (bytes < kKilo) return plot::format_value(bytes) + " B";
  if (bytes < kKilo * kKilo) return plot::format_value(bytes / kKilo) + " KiB";
  if (bytes < kKilo * kKilo * kKilo) return plot::format_value(bytes / kKilo / kKilo) + " MiB";
  return plot::format_value(bytes / kKilo / kKilo / kKilo) + " GiB";
}

std::string percentage(double share) {
  if (!std::isfinite(share)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, std::abs(share) < 0.0995 ? "%.1f %%" : "%.0f %%", 100 * share);
  return text;
}

std::string times(double ratio) {
  if (!std::isfinite(ratio)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, ratio < 9.995 ? "%.2f×" : "%.3g×", ratio);
  return text;
}

std::string time_tick(double seconds, double step) {
  const Unit& unit = unit_of(step > 0 ? step : std::abs(seconds));
  return grouped(std::llround(seconds / unit.seconds)) + " " + unit.name;
}

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::ptrdiff_t sign = value < 0 ? 1 : 0;
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > sign; i -= 3) {
    digits.insert(static_cast<std::size_t>(i), ",");
  }
  return digits;
}

}  // namespace statescope::gui
