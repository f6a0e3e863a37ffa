// The arithmetic of an axis: transforms, ticks, zooming and reading back. Pure functions, so that they can be
// tested without drawing anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace statescope::plot {

enum class Scale { kLinear, kLog2, kLog10 };

/// lo at the left or the bottom; lo > hi turns the axis round. On a log scale both are positive.
struct Range {
  double lo = 0, hi = 1;
  bool operator==(const Range&) const = default;
};

/// Position of a value along the axis: 0 at lo, 1 at hi, beyond either end outside [0, 1]. NaN for a value
/// that a log scale cannot place.
double to_unit(Scale scale, Range range, double value);
/// The inverse of to_unit().
double from_unit(Scale scale, Range range, double unit);

struct Tick {
  double value;
  std::string label;  ///< empty for minor ticks
  bool major;
};

/// Ticks within the range, in order. Linear: steps of 1, 2 or 5 times a power of ten, about `wanted` of them.
/// Log: powers of the base, thinned to about `wanted`; minor ticks between decades where there is room.
std::vector<Tick> ticks(Scale scale, Range range, int wanted);

/// "0", "0.25", "12", "1.5k", "3M": at most three significant digits, engineering suffixes from 1000 on.
std::string format_value(double value);

/// Zooms by `factor` (< 1: in) with the value at `pivot` (a unit position) staying in place. Stops before the
/// range degenerates in double precision.
Range zoom(Scale scale, Range range, double pivot, double factor);
/// Moves the range by `delta` of its own length.
Range pan(Scale scale, Range range, double delta);

/// The smallest range that holds every finite (log: positive) value, widened by `margin` of its length at
/// both ends. Without any value: [0, 1], log: [1, base]. A single value is widened so that lo < hi.
Range fit(Scale scale, std::span<const double> values, double margin);

struct Pixel {
  float x, y;
};
/// Index of the point nearest to the mouse within `radius` pixels; points with NaN are ignored.
std::optional<std::size_t> nearest_point(std::span<const Pixel> points, Pixel mouse, float radius);

/// Cell of a heatmap under a unit position, x to the right and y downwards; row-major.
struct Cell {
  std::size_t row, column;
  bool operator==(const Cell&) const = default;
};
std::optional<Cell> cell_at(std::size_t rows, std::size_t columns, double x, double y);

/// One CSV field, quoted where commas, quotes or line ends ask for it.
std::string csv_field(std::string_view text);

}  // namespace statescope::plot
