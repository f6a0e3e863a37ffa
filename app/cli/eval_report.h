// eval.html: accuracy against length, and the length that was recalled beside the published fits of capacity.
#pragma once

#include <string>
#include <vector>

namespace statescope::cli {

struct EvalResult {
  std::string model, device, task, unit;  ///< unit of lengths: "bytes" or "tokens"
  std::int64_t samples = 0;
  std::vector<std::int64_t> lengths;
  std::vector<double> accuracy;
  double state_millions = 0;  ///< state elements over the model
};

/// Levels of accuracy for which the longest length is reported (paper, figure 2).
inline constexpr double kThresholds[] = {0.5, 0.6, 0.7, 0.8};

std::string eval_html(const EvalResult& result);

}  // namespace statescope::cli
