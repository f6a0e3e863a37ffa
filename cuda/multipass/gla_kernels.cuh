#pragma once
// The passes of gla of one type and K, by V.
#include "cuda/multipass/gla_gradients.cuh"
#include "cuda/multipass/gla_kernels.h"
#include "cuda/multipass/gla_outputs.cuh"
#include "cuda/multipass/gla_prepare.cuh"
#include "cuda/multipass/gla_states.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, int kValue>
GlaKernels gla_kernels_of() {
  const auto pointer = [](void (*kernel)(GlaParameters)) { return reinterpret_cast<const void*>(kernel); };
  return {pointer(gla_prepare<T, kKey>), pointer(gla_states<T, kKey, kValue>),
          pointer(gla_outputs<T, kKey, kValue, false>), pointer(gla_gradients<T, kKey, kValue>),
          pointer(gla_outputs<T, kKey, kValue, true>)};
}

template <class T, int kKey>
GlaKernels gla_kernels_of(int value_dim) {
  switch (value_dim) {
    case 64:
      if constexpr (kKey <= 128) return gla_kernels_of<T, kKey, 64>();
      break;
    case 128:
      return gla_kernels_of<T, kKey, 128>();
    case 256:
      if constexpr (kKey >= 128) return gla_kernels_of<T, kKey, 256>();
      break;
  }
  return {};
}

}  // namespace statescope::cuda::multipass
