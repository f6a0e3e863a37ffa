// Figures with their units, as people write them: three significant digits.
#pragma once

#include <cstdint>
#include <string>

namespace statescope::gui {

/// "12.3 ms", "431 µs", "1.25 s"
std::string duration(double seconds);
/// "2.45 Gflop/s", "785 Tflop/s", "12 B"
std::string quantity(double value, const std::string& unit);
/// "14.8 KiB" (of 1024 B), "512 B": every size in bytes that the app writes
std::string memory_size(double bytes);
/// "12 %", "0.4 %"
std::string percentage(double share);
/// "1.27×"
std::string times(double ratio);
/// A tick of a time axis: "1,234 µs" where ticks are `step` seconds apart.
std::string time_tick(double seconds, double step);
/// "8,192"
std::string grouped(std::int64_t value);

}  // namespace statescope::gui
