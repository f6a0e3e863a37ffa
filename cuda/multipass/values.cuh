#pragma once
// Pass 5: dv, the sum of the subheads' parts in the order of e.
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::multipass {

/// A block a chunk of a head, eight values a thread at a time.
template <class T>
__global__ void __launch_bounds__(kValuesThreads) values(const __grid_constant__ Parameters p) {
  const Arguments& a = p.a;
  const int h = blockIdx.x % a.heads, pieces = a.value_dim / 8;
  const int64_t number = blockIdx.x / a.heads;
  const Chunk chunk = chunk_of(a, number);
  const uint4* const from =
      reinterpret_cast<const uint4*>(p.s.dv) + (number * a.heads + h) * a.expansion * kChunk * pieces;
  for (int i = threadIdx.x; i < chunk.count * pieces; i += kValuesThreads) {
    float2 sum[4] = {};
    for (int e = 0; e < a.expansion; ++e) {
      const uint4 x = from[int64_t{e} * kChunk * pieces + i];
      const uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const float2 y = ptx::unpack<T>(pairs[m]);
        sum[m].x += y.x, sum[m].y += y.y;
      }
    }
    uint4* const to =
        static_cast<uint4*>(a.dv) + ((chunk.first + i / pieces) * a.heads + h) * pieces + i % pieces;
    *to = {ptx::pack<T>(sum[0].x, sum[0].y), ptx::pack<T>(sum[1].x, sum[1].y),
           ptx::pack<T>(sum[2].x, sum[2].y), ptx::pack<T>(sum[3].x, sum[3].y)};
  }
}

}  // namespace statescope::cuda::multipass
