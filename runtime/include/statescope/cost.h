// What a problem must move and compute, whatever kernel runs it: the yardstick for GB/s and TFLOP/s.
#pragma once

#include <statescope/problem.h>

namespace statescope {

/// Bytes of all inputs read once and all outputs written once.
double minimum_bytes(const Problem& problem);

/// Floating-point operations (a multiply-add is two) of the given form, all heads and subheads. The recurrent
/// form counts the state update and the read-out per token; the chunked form counts its matrix products with
/// chunk 64.
double flop(const Problem& problem, Form form);

/// State elements a layer holds for one sequence: E H K V.
double state_elements(const Problem& problem);

/// Context at which a Transformer's key-value cache averages as many elements: 2 E K V / (K + V) tokens
/// (paper, 3.1).
double transformer_equivalent_context(double expansion, double key_dim, double value_dim);

}  // namespace statescope
