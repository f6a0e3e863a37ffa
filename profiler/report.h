// report.html: one file that needs nothing beside it and no network.
#pragma once

#include <string>
#include <vector>

#include "profiler/limits.h"
#include "profiler/sweep.h"

namespace statescope {

/// One source of keys in the dilution charts. The profiler does not know models: the caller measures.
struct DilutionCurve {
  struct Point {
    std::int64_t expansion = 1;
    double interference = 0, theory = 0, recall = 0;
    std::string reason = {};  ///< why it was not measured; empty when it was
  };
  std::string name;         ///< "independent subkeys"
  bool has_theory = false;  ///< the expectation (n - 1) / (E K) is of this source
  std::vector<Point> points;
};

/// What a choice of E costs in parameters.
struct ParameterPoint {
  std::int64_t expansion = 1;
  double headwise_ratio = 1, naive_ratio = 1;  ///< of W_q and W_k (table 1)
  std::int64_t model_parameters = 0;           ///< of `parameter_model`
  double model_overhead = 0;                   ///< over E = 1: 0.14 is 14 % more
};

struct ReportInputs {
  SweepResult sweep;
  std::vector<DilutionCurve> dilution;
  std::int64_t dilution_pairs = 0, dilution_key_dim = 0;
  std::string recall_run;  ///< "linear on vulkan:0, 4 draws"
  std::vector<ParameterPoint> parameters;
  std::string parameter_model;          ///< "Gated DeltaNet 400M"
  Problem limits_shape;                 ///< of the shared-memory chart
  std::vector<DeviceLimitsRow> limits;  ///< of the database
};

std::string report_html(const ReportInputs& inputs);

}  // namespace statescope
