// One sequence of one subhead: what a recurrence works on by itself. The driver takes a problem apart into
// subheads, hands them to worker threads and adds up what they share (o and dv over the subheads of a head,
// dq and dk over the heads that read the same q and k) in a fixed order.
#pragma once

#include <functional>

#include <statescope/problem.h>

#include "runtime/cpu/dense.h"

namespace statescope::cpu {

/// Inputs, widened to float64. T = 0 for an empty sequence.
struct Subhead {
  Rule rule;
  double scale;
  std::int64_t tokens, key_dim, value_dim;  // T, K, V
  Matrix q, k;                              // [T, K]
  Matrix v, d_o;                            // [T, V]; d_o: backward only
  Matrix g;                                 // [T, 1], gla [T, K]; absent for linear
  Matrix beta;                              // [T, 1]; gated_delta only
  Matrix h0, dht;                           // [K, V], zero where the problem has none; dht: backward only
};

struct SubheadOutputs {
  Matrix o, ht;
};

struct SubheadGradients {
  Matrix dq, dk;  // [T, K]
  Matrix dv;      // [T, V]
  Matrix dg;      // like g
  Matrix dbeta;   // [T, 1]
  Matrix dh0;     // [K, V]

  /// Zeros of the right shapes.
  explicit SubheadGradients(const Subhead& x);
};

/// A form of the recurrences: how one subhead is computed.
struct SubheadForm {
  std::function<SubheadOutputs(const Subhead&)> forward;
  std::function<SubheadGradients(const Subhead&)> backward;
};

/// Throws Error(kUsage) when an input is missing or has another shape than shape_of().
TensorSet run_subheads(const Problem& problem, const TensorSet& inputs, const SubheadForm& form);

}  // namespace statescope::cpu
