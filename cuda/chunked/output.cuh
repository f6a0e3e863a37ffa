#pragma once
// o = scale * sum over subheads: the blocks of a cluster hold one subhead each. The 64 tokens of a chunk are
// eight pieces of eight; piece j belongs to block j mod E. A block sends its part of each piece to the owner,
// who adds the E parts in float32 in the order of e (the same bits each time) and stores the sum once. A
// thread's part of a piece is the four numbers that it has in its accumulators, and the thread of the same
// index adds them. Parts travel in o's own 16-bit type: in float32 they cost 10 % of the whole kernel (stores
// to other blocks hold up the shared memory for as long as they drain) and lower the error of o from 3.9e-3
// to 3.5e-3.
#include "cuda/chunked/schedule.cuh"

namespace statescope::cuda::chunked {

/// Map is where the kernel keeps parts and barriers in shared memory.
template <class T, int kLogE, class Map>
struct Output {
  static constexpr int kCluster = 1 << kLogE, kOwned = 8 >> kLogE;
  static constexpr uint32_t kPart = 8;  // bytes
  static_assert(2 * kCluster * kOwned * 128 * kPart == SharedMap::kTile);
  static_assert(Map::receive % 1024 == 0);

  const Parameters& p;
  uint32_t base;
  int rank, wg, tid;

  __device__ __forceinline__ uint32_t slot(int stage, int e, int owned) const {
    return Map::receive + ((((stage * 2 + wg) * kCluster + e) * kOwned + owned) * 128 + tid) * kPart;
  }
  /// 8 tokens x 16 values a warp, transposed on the way out
  __device__ __forceinline__ void store(const Segment& s, int chunk, int j, float v0, float v1, float v2,
                                        float v3) const {
    if (p.sum_in || p.sum_out) {
      const size_t at = ((size_t(s.chunk_base + chunk) * p.heads + s.h) * 8 + j) * 256 + wg * 128 + tid;
      if (p.sum_in) {
        const float4 in = p.sum_in[at];
        v0 += in.x, v1 += in.y, v2 += in.z, v3 += in.w;
      }
      if (p.sum_out) {
        p.sum_out[at] = float4{v0, v1, v2, v3};
        return;
      }
    }
    const int lane = tid % 32, warp = tid / 32;
    const uint32_t lo = ptx::transpose_8x8(ptx::pack<T>(v0 * p.scale, v1 * p.scale));
    const uint32_t hi = ptx::transpose_8x8(ptx::pack<T>(v2 * p.scale, v3 * p.scale));
    const int t = chunk * kChunk + 8 * j + lane / 4;
    if (t < s.tokens) {
      T* row = static_cast<T*>(p.o) + (size_t(s.first_row + t) * p.heads + s.h) * kDim + 64 * wg + 16 * warp +
               2 * (lane % 4);
      *reinterpret_cast<uint32_t*>(row) = lo;
      *reinterpret_cast<uint32_t*>(row + 8) = hi;
    }
  }
  /// Pieces of a cluster of one block, the last of a head's clusters if there are others: through shared
  /// memory, so that a row of 64 values leaves in 16-byte pieces.
  template <int kCount>
  __device__ __forceinline__ void store_whole(const Segment& s, int chunk, int first,
                                              const float (&o)[kCount]) const {
    const int lane = tid % 32, warp = tid / 32;
    const uint32_t tile = base + Map::receive + wg * SharedMap::kHalf + first * 1024;
    const int row = lane % 8 + 8 * (lane / 16), column = 2 * warp + (lane / 8) % 2;
    ptx::named_barrier(2 + wg, 128);  // the chunk before has left
#pragma unroll
    for (int j = 0; j < kCount / 4; j += 2) {
      float v[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) v[k] = o[4 * j + k];
      if (p.sum_in) {
        const float4* in = p.sum_in + ((size_t(s.chunk_base + chunk) * p.heads + s.h) * 8 + first + j) * 256 +
                           wg * 128 + tid;
        const float4 x = in[0], y = in[256];
        v[0] += x.x, v[1] += x.y, v[2] += x.z, v[3] += x.w, v[4] += y.x, v[5] += y.y, v[6] += y.z,
            v[7] += y.w;
      }
      ptx::store_matrix_x4_transposed(
          tile + (row + 8 * j) * 128 + ((column ^ (row & 7)) << 4),
          ptx::pack<T>(v[0] * p.scale, v[1] * p.scale), ptx::pack<T>(v[2] * p.scale, v[3] * p.scale),
          ptx::pack<T>(v[4] * p.scale, v[5] * p.scale), ptx::pack<T>(v[6] * p.scale, v[7] * p.scale));
    }
    ptx::named_barrier(2 + wg, 128);
    const int t = chunk * kChunk + 8 * first + tid / 8;
    T* to = static_cast<T*>(p.o) + (size_t(s.first_row + t) * p.heads + s.h) * kDim + 64 * wg + 8 * (tid % 8);
#pragma unroll
    for (int k = 0; k < kCount / 8; ++k)
      if (t + 16 * k < s.tokens)
        *reinterpret_cast<uint4*>(to + size_t(16 * k) * p.heads * kDim) =
            ptx::load_shared_uint4(tile + (tid / 8 + 16 * k) * 128 + (((tid % 8) ^ (tid / 8 & 7)) << 4));
  }
  /// Sends the chunk's parts, pieces `first` and the following in o; `it` counts this block's chunks.
  template <int kCount>
  __device__ __forceinline__ void send(const Segment& s, int chunk, int it, int first,
                                       const float (&o)[kCount]) const {
    if constexpr (kLogE == 0) {
      store_whole(s, chunk, first, o);
    } else {
      const int stage = it % kReceiveStages;
      if (first == 0)
        ptx::barrier_wait(base + Map::receive_free + 8 * (wg * kReceiveStages + stage),
                          ((it / kReceiveStages) & 1) ^ 1);
#pragma unroll
      for (int n = 0; n < kCount / 4; ++n) {
        const int j = first + n;
        const uint32_t there = ptx::map_to_rank(base, j % kCluster);
        const uint32_t bar = there + Map::receive_full + 8 * (wg * kReceiveStages + stage);
        ptx::store_async(there + slot(stage, rank, j / kCluster), bar, ptx::pack<T>(o[4 * n], o[4 * n + 1]),
                         ptx::pack<T>(o[4 * n + 2], o[4 * n + 3]));
      }
    }
  }
  /// Adds and stores the pieces that this block owns.
  __device__ __forceinline__ void sum(const Segment& s, int chunk, int it) const {
    if constexpr (kLogE > 0) {
      const int stage = it % kReceiveStages, lane = tid % 32;
      const uint32_t full = base + Map::receive_full + 8 * (wg * kReceiveStages + stage);
      if (tid == 0) ptx::barrier_arrive_expect(full, kOwned * kCluster * 128 * kPart);
      __syncwarp();
      ptx::barrier_wait(full, (it / kReceiveStages) & 1);
      float total[kOwned][4];
#pragma unroll
      for (int j = 0; j < kOwned; ++j) {
#pragma unroll
        for (int e = 0; e < kCluster; ++e) {
          const uint2 x = ptx::load_shared_uint2(base + slot(stage, e, j));
          const float2 low = ptx::unpack<T>(x.x), high = ptx::unpack<T>(x.y);
          const float v[4] = {low.x, low.y, high.x, high.y};
#pragma unroll
          for (int k = 0; k < 4; ++k) total[j][k] = e == 0 ? v[k] : total[j][k] + v[k];
        }
      }
#pragma unroll
      for (int j = 0; j < kOwned; ++j)
        store(s, chunk, j * kCluster + rank, total[j][0], total[j][1], total[j][2], total[j][3]);
      // After the stores, not before: they use the sums, so every part has been read when its place is given
      // back.
      __syncwarp();
      if (lane < kCluster)
        ptx::barrier_arrive_remote(
            ptx::map_to_rank(base + Map::receive_free + 8 * (wg * kReceiveStages + stage), lane));
    }
  }
};

}  // namespace statescope::cuda::chunked
