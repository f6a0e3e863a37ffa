// Where the kernels of gla's passes are to be had (host side). One source file a type and K: they compile
// side by side.
#pragma once

namespace statescope::cuda::multipass {

struct GlaKernels {
  const void *prepare, *states, *outputs, *gradients, *values;
};

/// V 64, 128 or 256; null pointers for a pair (K, V) that is not compiled.
GlaKernels gla_kernels_bf16_64(int value_dim);
GlaKernels gla_kernels_bf16_128(int value_dim);
GlaKernels gla_kernels_bf16_256(int value_dim);
GlaKernels gla_kernels_f16_64(int value_dim);
GlaKernels gla_kernels_f16_128(int value_dim);
GlaKernels gla_kernels_f16_256(int value_dim);

}  // namespace statescope::cuda::multipass
