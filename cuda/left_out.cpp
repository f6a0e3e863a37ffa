// In place of the kernels that STATESCOPE_CUDA_KERNELS=few leaves out: none. Who asks for one is told
// (launches.cpp).
#include "cuda/chunked/parameters.h"
#include "cuda/multipass/gla_kernels.h"
#include "cuda/multipass/gradients_hopper.h"
#include "cuda/multipass/hopper.h"
#include "cuda/multipass/kernels.h"
#include "cuda/segmented/parameters.h"

namespace statescope::cuda {

namespace chunked {

const void* forward_kernel_f16(bool, int) {
  return nullptr;
}
const void* gla_kernel_f16(int) {
  return nullptr;
}

}  // namespace chunked

namespace multipass {

Kernels kernels_bf16_64(bool, int) {
  return {};
}
Kernels kernels_bf16_256(bool, int) {
  return {};
}
Kernels kernels_f16_64(bool, int) {
  return {};
}
Kernels kernels_f16_128(bool, int) {
  return {};
}
Kernels kernels_f16_256(bool, int) {
  return {};
}
GlaKernels gla_kernels_bf16_64(int) {
  return {};
}
GlaKernels gla_kernels_bf16_256(int) {
  return {};
}
GlaKernels gla_kernels_f16_64(int) {
  return {};
}
GlaKernels gla_kernels_f16_128(int) {
  return {};
}
GlaKernels gla_kernels_f16_256(int) {
  return {};
}
SerialKernels serial_kernels_f16(bool, int) {
  return {};
}
const void* gradients_hopper_f16(bool, int, int) {
  return nullptr;
}

}  // namespace multipass

namespace segmented {

const void* transitions_f16(bool, int) {
  return nullptr;
}

}  // namespace segmented

}  // namespace statescope::cuda
