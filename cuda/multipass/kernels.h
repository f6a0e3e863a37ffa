// Where the passes' kernels are to be had (host side). One source file a type and K: they compile side by
// side.
#pragma once

namespace statescope::cuda::multipass {

struct Kernels {
  const void *prepare, *prepare_gram, *prepare_inverse, *states, *outputs, *state_gradients, *gradients,
      *values;
};

/// V 64, 128 or 256; null pointers for a pair (K, V) that is not compiled.
Kernels kernels_bf16_64(bool delta, int value_dim);
Kernels kernels_bf16_128(bool delta, int value_dim);
Kernels kernels_bf16_256(bool delta, int value_dim);
Kernels kernels_f16_64(bool delta, int value_dim);
Kernels kernels_f16_128(bool delta, int value_dim);
Kernels kernels_f16_256(bool delta, int value_dim);

}  // namespace statescope::cuda::multipass
