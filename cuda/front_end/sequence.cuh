#pragma once
// Where a token stands in its packed sequence: the convolution starts anew in each.
#include <cstdint>

namespace statescope::cuda::front_end {

/// Tokens of the same sequence before token t.
__device__ inline int tokens_before(const std::int32_t* cu_seqlens, int sequences, int t) {
  int low = 0, high = sequences;  // the last n with cu_seqlens[n] <= t; empty sequences share a start
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (cu_seqlens[middle] <= t ? low : high) = middle;
  }
  return t - cu_seqlens[low];
}

}  // namespace statescope::cuda::front_end
