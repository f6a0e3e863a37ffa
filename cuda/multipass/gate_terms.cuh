#pragma once
// The end of the gradient pass: dg and dbeta of a chunk from their terms (gradients.cuh says which).
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::multipass {

/// By one warp, two tokens a lane. `terms` gives by token before(t), after(t) (without beta), ways(t) and
/// pairs(t), what the pairs of tokens add to dbeta; `through` is e^gamma_C <S, D>; `row` the first token's
/// gate.
template <bool kDelta, class Terms>
__device__ __forceinline__ void store_gate_gradients(const Arguments& a, int64_t row, int count, int lane,
                                                     const float* beta, float through, const Terms& terms) {
  const int t = 2 * lane, stride = a.heads * a.expansion;
  const float before[2] = {terms.before(t), terms.before(t + 1)},
              after[2] = {terms.after(t), terms.after(t + 1)};
  const float written[2] = {beta[t] * after[0], beta[t + 1] * after[1]};
  float from = before[0] + before[1], to = written[0] + written[1];  // sums from here on, and up to here
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float x = __shfl_down_sync(~0u, from, d), y = __shfl_up_sync(~0u, to, d);
    if (lane + d < 32) from += x;
    if (lane >= d) to += y;
  }
  const float next = __shfl_down_sync(~0u, from, 1), previous = __shfl_up_sync(~0u, to, 1);
  const float left = lane > 0 ? previous : 0.f, right = lane < 31 ? next : 0.f;
#pragma unroll
  for (int x = 0; x < 2; ++x) {
    if (t + x >= count) continue;
    const int64_t to_token = row + int64_t{t + x} * stride;
    if (a.dg)
      a.dg[to_token] =
          through + terms.ways(t + x) + (x == 0 ? from + left : right + before[1] + left + written[0]);
    if (kDelta) a.dbeta[to_token] = after[x] + terms.pairs(t + x);
  }
}

}  // namespace statescope::cuda::multipass
