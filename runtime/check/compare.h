// The error measure and its tolerances (DESIGN section 4).
#pragma once

#include <string>
#include <vector>

#include <statescope/problem.h>

namespace statescope {

/// RMS(x - ref) / RMS(ref), in float64. NaN or infinity anywhere in x gives infinity; an all-zero reference
/// gives RMS(x). Throws Error(kUsage) when the shapes differ.
double relative_rms(const Tensor& x, const Tensor& reference);

/// The form is the one that ran (Plan::problem): kAuto counts as chunked.
/// f32: recurrent 1e-5, chunked 1e-4. bf16 and f16: o, ht 5e-3; dq dk dv dh0 8e-3; dg dbeta 2e-2.
double tolerance(const Problem& problem, Slot slot);

struct OutputError {
  Slot slot;
  double error;
  double tolerance;
  bool ok() const { return error <= tolerance; }  // false for NaN
};

/// Every output that takes part, against the float64 reference.
std::vector<OutputError> compare_outputs(const Problem& problem, const TensorSet& outputs,
                                         const TensorSet& reference);

}  // namespace statescope
