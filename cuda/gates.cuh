#pragma once
// Gates in units of ln 2, as the chunked kernels cumulate them.

namespace statescope::cuda {

constexpr float kLog2E = 1.4426950408889634f;

/// Below it a gate's exponential is zero in float32 (denormals are flushed).
constexpr float kLeastGate = -128;

/// Of a natural logarithm. Gates below the least, such as resets by -1e9, count as the least one: the decay
/// is the same zero, and sums stay small enough for the differences of those that follow (8,192 at most, 5e-4
/// of a decay).
__device__ __forceinline__ float binary_gate(float g) {
  return fmaxf(kLog2E * g, kLeastGate);
}

}  // namespace statescope::cuda
