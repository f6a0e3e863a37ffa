#pragma once
// SiLU(x) = x / (1 + e^-x) and its slope, in float32.

namespace statescope::cuda::front_end {

__device__ inline float silu(float x) {
  return x / (1 + expf(-x));
}
__device__ inline float silu_slope(float x) {
  const float s = 1 / (1 + expf(-x));
  return s * (1 + x * (1 - s));
}

}  // namespace statescope::cuda::front_end
