// The gradient pass of compute capability 9.0: what it takes, and where its kernels are to be had (host and
// device).
#pragma once

#include <cuda.h>

#include "cuda/multipass/parameters.h"

namespace statescope::cuda::multipass {

/// Maps of q, k, do, the errors (v without a correction) and dr: the tokens of a chunk; of S and D: a panel
/// of 64 channels.
struct GradientParameters {
  CUtensorMap query, key, output, error, correction, state, gradient, query_gradient, key_gradient;
  Parameters p;
  int items;  ///< chunk numbers x Hq x E, shared out among the blocks
};

/// K and V 64 or 128.
const void* gradients_hopper_bf16(bool delta, int key_dim, int value_dim);
const void* gradients_hopper_f16(bool delta, int key_dim, int value_dim);

}  // namespace statescope::cuda::multipass
