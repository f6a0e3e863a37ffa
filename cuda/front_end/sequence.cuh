#pragma once
// Where a token stands in its packed sequence: the convolution starts anew in each.
#include <cstdint>

namespace statescope::cuda::front_end {

struct Standing {
  int sequence, before;  ///< the token's sequence, and the tokens of it before that token
};
__device__ inline Standing standing_of(const std::int32_t* cu_seqlens, int sequences, int t) {
  int low = 0, high = sequences;  // the last n with cu_seqlens[n] <= t; empty sequences share a start
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (cu_seqlens[middle] <= t ? low : high) = middle;
  }
  return {low, t - cu_seqlens[low]};
}
__device__ inline int tokens_before(const std::int32_t* cu_seqlens, int sequences, int t) {
  return standing_of(cu_seqlens, sequences, t).before;
}

}  // namespace statescope::cuda::front_end
