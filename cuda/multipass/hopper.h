// The passes' kernels for compute capability 9.0, and what they take (host and device).
#pragma once

#include <cuda.h>

#include "cuda/multipass/parameters.h"

namespace statescope::cuda::multipass {

/// Of a serial pass. Tiles in shared memory have rows of 128 bytes, as tensor_map.h says.
struct SerialParameters {
  CUtensorMap key, query;  ///< [B][T][Hq E][K], a chunk of a subhead
  CUtensorMap value;       ///< [B][T][H][V] v, or do in the gradients' pass: a chunk and the block's columns
  CUtensorMap score, inverse;  ///< of Scratch
  /// Scratch::states and errors, or gradients and dv: 64 columns of V. Of `single` the result is o.
  CUtensorMap state, result;
  Parameters p;
  cuda_multipass::SerialMap map;
  int tile;  ///< columns of V a block
};

struct SerialKernels {
  const void *states, *state_gradients, *state_gradients_scores, *single;
};

/// K 64, 128 or 256 (state_gradients_scores and single: null); V any multiple of 64.
SerialKernels serial_kernels_bf16(bool delta, int key_dim);
SerialKernels serial_kernels_f16(bool delta, int key_dim);

}  // namespace statescope::cuda::multipass
