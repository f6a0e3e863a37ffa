#pragma once
// The passes of one type and K, by rule and V.
#include "cuda/multipass/gradients.cuh"
#include "cuda/multipass/kernels.h"
#include "cuda/multipass/outputs.cuh"
#include "cuda/multipass/prepare.cuh"
#include "cuda/multipass/state_gradients.cuh"
#include "cuda/multipass/values.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, int kValue, bool kDelta>
Kernels kernels_of() {
  const auto pointer = [](void (*kernel)(Parameters)) { return reinterpret_cast<const void*>(kernel); };
  return {pointer(prepare<T, kKey, kDelta, true, false>),  pointer(prepare<T, kKey, kDelta, true, true>),
          pointer(prepare<T, kKey, kDelta, false, false>), pointer(states<T, kKey, kValue, kDelta>),
          pointer(outputs<T, kKey, kValue, kDelta>),       pointer(state_gradients<T, kKey, kValue, kDelta>),
          pointer(gradients<T, kKey, kValue, kDelta>),     pointer(values<T>)};
}

template <class T, int kKey>
Kernels kernels_of(bool delta, int value_dim) {
  switch (value_dim) {
    case 64:
      if constexpr (kKey <= 128)
        return delta ? kernels_of<T, kKey, 64, true>() : kernels_of<T, kKey, 64, false>();
      break;
    case 128:
      return delta ? kernels_of<T, kKey, 128, true>() : kernels_of<T, kKey, 128, false>();
    case 256:
      if constexpr (kKey >= 128)
        return delta ? kernels_of<T, kKey, 256, true>() : kernels_of<T, kKey, 256, false>();
      break;
  }
  return {};
}

}  // namespace statescope::cuda::multipass
