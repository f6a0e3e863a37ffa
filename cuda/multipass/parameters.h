// What the passes take, and what they hand on to each other through device memory.
#pragma once

#include <cstdint>

#include "cuda/kernels.h"
#include "runtime/cuda_multipass.h"

namespace statescope::cuda::multipass {

/// Of every chunk of every subhead (index (chunk H + h) E + e), in 16 bits unless said. Tokens past the end
/// of a sequence are zero.
struct Scratch {
  float* gates;              ///< [2][64] cumulated gates in units of ln 2, betas
  std::uint16_t* scores;     ///< [64][64] P^T: [j][i] is Gamma_ij q_i . k_j for j <= i, else 0
  std::uint16_t* gram;       ///< [64][64] G^T: [j][i] is Gamma_ij k_i . k_j for j < i, else 0 (gated_delta)
  std::uint16_t* inverse;    ///< [64][64] A = (I + G diag(beta))^{-1} (gated_delta)
  std::uint16_t* states;     ///< [V][K] S^T before the chunk
  std::uint16_t* gradients;  ///< [V][K] of the state after the chunk, transposed
  std::uint16_t* errors;     ///< [64][V] r = v - e^g k S, what beta multiplies (gated_delta; else v itself)
  std::uint16_t* dv;         ///< [64][V] this subhead's part of dv
  float *dq, *dk;            ///< [tokens][Hq][E][K] sums over the heads so far, or null when Hq = H
};

struct Parameters {
  Arguments a;
  Scratch s;
};

}  // namespace statescope::cuda::multipass
