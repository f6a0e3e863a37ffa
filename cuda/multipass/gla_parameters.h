// What the passes of gla take, and what they hand on to each other through device memory.
#pragma once

#include <cstdint>

#include "cuda/kernels.h"
#include "runtime/cuda_multipass_gla.h"

namespace statescope::cuda::multipass {

/// Of every chunk of every subhead (index (chunk H + h) E + e). Tokens past the end of a sequence are zero.
///
/// Channels stand in the order in which a lane wants two that are neighbours in memory as rows r and r + 8 of
/// a product: position p of sixteen holds channel 2 p, or 2 (p - 8) + 1 from p = 8 on. gamma is the sum of
/// the gates from the chunk's start on, gamma_C that of all of them.
struct GlaScratch {
  float* decays;           ///< [K] e^gamma_C
  std::uint16_t* queries;  ///< [64][K] scale Q e^gamma
  std::uint16_t* keys;     ///< [64][K] K e^(gamma_C - gamma)
  std::uint16_t* scores;   ///< [64][64] P_ij = scale sum_c Q_ic K_jc e^(gamma_ic - gamma_jc) for j <= i. The
                           ///< 16 x 16 blocks above the diagonal are not written
  std::uint16_t* states;   ///< S before the chunk, as `gla_fragment` says
  std::uint16_t* gradients;  ///< of the state after the chunk, in the same order
  float *dq, *dk;            ///< [tokens][Hq][E][K] sums over the heads so far, or null when Hq = H
};

struct GlaParameters {
  Arguments a;
  GlaScratch s;
};

}  // namespace statescope::cuda::multipass
