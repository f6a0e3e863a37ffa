#pragma once
// The serial passes of one type, by rule and K.
#include "cuda/multipass/single_hopper.cuh"
#include "cuda/multipass/state_gradients_hopper.cuh"
#include "cuda/multipass/states_hopper.cuh"

namespace statescope::cuda::multipass {

template <class T, int kKey, bool kDelta>
SerialKernels serial_kernels() {
  const auto pointer = [](void (*kernel)(SerialParameters)) { return reinterpret_cast<const void*>(kernel); };
  SerialKernels kernels{pointer(hopper_states<T, kKey, kDelta>),
                        pointer(hopper_state_gradients<T, kKey, kDelta, false>), nullptr, nullptr};
  if constexpr (kKey <= 128) {
    kernels.state_gradients_scores = pointer(hopper_state_gradients<T, kKey, kDelta, true>);
    kernels.single = pointer(hopper_single<T, kKey, kDelta>);
  }
  return kernels;
}
template <class T, int kKey>
SerialKernels serial_kernels(bool delta) {
  return delta ? serial_kernels<T, kKey, true>() : serial_kernels<T, kKey, false>();
}

template <class T>
SerialKernels serial_kernels(bool delta, int key_dim) {
  return key_dim == 64    ? serial_kernels<T, 64>(delta)
         : key_dim == 128 ? serial_kernels<T, 128>(delta)
                          : serial_kernels<T, 256>(delta);
}

}  // namespace statescope::cuda::multipass
