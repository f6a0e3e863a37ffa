#pragma once
// The history of the convolution: y of the three tokens before each sequence, [N, 3, Hq, E, K].
#include "cuda/elements.cuh"
#include "cuda/front_end/expand.h"

namespace statescope::cuda::front_end {

/// Index of a subkey's first channel in history token i (0: the oldest) of sequence n.
__device__ inline std::int64_t history_at(const ExpandParameters& p, int n, int i, int subkey) {
  return ((std::int64_t(n) * 3 + i) * p.qk_heads * p.expansion + subkey) * p.key_dim;
}

/// Behind sequences of fewer than three tokens stays some of the history from before: every thread of the one
/// block that has this subkey and side calls this.
__device__ inline void keep_histories(const ExpandParameters& p, int side, int subkey) {
  for (int n = 0; n < p.sequences; ++n) {
    const int length = p.cu_seqlens ? p.cu_seqlens[n + 1] - p.cu_seqlens[n] : p.seq_len;
    for (int i = threadIdx.x; i < (3 - length) * p.key_dim; i += blockDim.x) {
      const int token = i / p.key_dim, c = i % p.key_dim;
      store1(p.after[side], history_at(p, n, token, subkey) + c, p.dtype,
             load1(p.history[side], history_at(p, n, length + token, subkey) + c, p.dtype));
    }
  }
}

}  // namespace statescope::cuda::front_end
