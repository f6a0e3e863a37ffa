// The roofline (Williams, Waterman and Patterson, 2009): what a device could reach at a kernel's arithmetic
// intensity, by the device's own measured ceilings, against what the kernel reached.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "profiler/capture.h"

namespace statescope {

struct RooflinePoint {
  std::size_t device = 0;  ///< index into Capture::devices
  SweepSeries series = SweepSeries::kProduction;
  std::int64_t expansion = 1;
  Problem problem;
  std::string kernel;
  double intensity = 0;           ///< flop() over minimum_bytes(): flop a byte that must move
  double flop_per_second = 0;     ///< reached, by the median
  double bytes_per_second = 0;    ///< of minimum_bytes()
  double ceiling = 0;             ///< flop/s that the roof allows at this intensity; 0: unmeasured
  std::string_view compute_roof;  ///< "f32" or "matrix": which units this kernel may use
  std::string_view bound;         ///< "memory" or "compute": which roof is lower here
  double share() const { return ceiling > 0 ? flop_per_second / ceiling : 0; }
};

/// flop/s of the compute roof of a problem: 16-bit chunked kernels have the matrix units where the device has
/// any, all others float32 multiply-adds.
struct ComputeRoof {
  std::string_view name;
  double flop_per_second = 0;
};
ComputeRoof compute_roof(const Problem& problem, const Ceilings& ceilings);

/// One point a measured entry.
std::vector<RooflinePoint> roofline(const Capture& capture);

/// The letter of a device's n-th point in its drawing.
char roofline_mark(std::size_t index);

/// The chart of one device as text, both axes logarithmic: '/' and '-' the roofs, letters the points, `width`
/// by `height` characters, then the axes' units. Empty without points or ceilings.
std::string draw_roofline(const Capture& capture, const std::vector<RooflinePoint>& points,
                          std::size_t device, int width = 72, int height = 18);

}  // namespace statescope
