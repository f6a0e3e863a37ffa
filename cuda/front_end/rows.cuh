#pragma once
// What the kernels that hold a row of 16-bit channels four a lane share.
#include <cstdint>

#include "cuda/chunked/ptx.cuh"

namespace statescope::cuda::front_end {

__device__ inline float fast_tanh(float x) {
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(x));
  return t;
}
/// 1 / (1 + e^-x), and x times it: one operation of the special unit where e^x and a division are two.
__device__ inline float fast_sigmoid(float x) {
  return 0.5f + 0.5f * fast_tanh(0.5f * x);
}
__device__ inline float fast_silu(float x) {
  const float h = 0.5f * x;
  return h + h * fast_tanh(h);
}

/// The totals of four values over a warp; lane l gets that of value l / 8.
__device__ inline float sum_of_four(const float (&x)[4], int lane) {
  const bool upper = lane & 16, odd = lane & 8;
  float a = upper ? x[2] : x[0], b = upper ? x[3] : x[1];
  a += __shfl_xor_sync(~0u, upper ? x[0] : x[2], 16);
  b += __shfl_xor_sync(~0u, upper ? x[1] : x[3], 16);
  float sum = (odd ? b : a) + __shfl_xor_sync(~0u, odd ? a : b, 8);
  for (int mask = 4; mask > 0; mask /= 2) sum += __shfl_xor_sync(~0u, sum, mask);
  return sum;
}

/// The four taps of each of four consecutive channels, from taps [K, 4].
template <class T>
__device__ void load_taps(const T* from, float (&taps)[4][4]) {
  const uint4 low = __ldg(reinterpret_cast<const uint4*>(from)),
              high = __ldg(reinterpret_cast<const uint4*>(from) + 1);
  const uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 pair = ptx::unpack<T>(words[i]);
    taps[i / 2][i % 2 * 2] = pair.x, taps[i / 2][i % 2 * 2 + 1] = pair.y;
  }
}

}  // namespace statescope::cuda::front_end
