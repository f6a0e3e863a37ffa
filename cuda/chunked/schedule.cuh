#pragma once
// Which chunks a cluster works on: chains (one sequence of one head, all its subheads) are shared out among
// as many clusters as the device holds at once.
#include "cuda/chunked/parameters.h"
#include "cuda/chunked/ptx.cuh"
#include "cuda/gates.cuh"

namespace statescope::cuda::chunked {

using namespace cuda_chunked;

/// One worker's stay with one chain: chunks [begin, end) of the chain's `chunks`.
struct Segment {
  int n, h;
  int first_row;  // token row of [B * T] where the sequence begins
  int tokens;
  int chunk_base;  // chunks of all sequences before, for the partial sums
  int begin, end, chunks;
};

/// McNaughton's wrap-around rule (Management Science 6, 1959): the chains stand in a line and worker w takes
/// the interval [w C, (w + 1) C) of it, C = max(longest chain, total / workers). A chain across a boundary is
/// split: the worker on the right takes its first chunks and runs them first, the worker on the left its last
/// chunks and runs them last, so the state is ready when it is asked for. Workers start in the order of
/// falling index: none waits for one not yet started.
struct Walk {
  int position, stop;  // what is left of this worker's interval
  int n, h, chain_at;  // the chain at `position` and where it begins in the line
  __device__ __forceinline__ static int chunks_of(const Parameters& p, int n) {
    const int tokens = p.cu_seqlens ? p.cu_seqlens[n + 1] - p.cu_seqlens[n] : p.seq_len;
    return max(1, (tokens + kChunk - 1) / kChunk);
  }
  __device__ __forceinline__ void start(const Parameters& p, int worker, int workers) {
    int longest = 0, total = 0;
    if (p.cu_seqlens) {
      for (int i = 0; i < p.sequences; ++i) {
        const int chunks = chunks_of(p, i);
        longest = max(longest, chunks), total += chunks * p.heads;
      }
    } else {
      longest = chunks_of(p, 0), total = longest * p.heads * p.sequences;
    }
    const int share = max(longest, (total + workers - 1) / workers);
    position = min(worker * share, total), stop = min(position + share, total);
    n = h = chain_at = 0;
    if (position == stop) return;
    if (!p.cu_seqlens) {
      const int chain = position / longest;
      n = chain / p.heads, h = chain % p.heads, chain_at = chain * longest;
    } else {
      int chunks = chunks_of(p, 0);
      while (chain_at + chunks * p.heads <= position)
        chain_at += chunks * p.heads, chunks = chunks_of(p, ++n);
      h = (position - chain_at) / chunks, chain_at += h * chunks;
    }
  }
  __device__ __forceinline__ bool next(const Parameters& p, Segment& s) {
    if (position >= stop) return false;
    const int chunks = chunks_of(p, n);
    const int right = min(chain_at + chunks, stop);
    s.n = n, s.h = h, s.chunks = chunks;
    s.begin = chain_at + chunks - right, s.end = chain_at + chunks - position;
    if (p.cu_seqlens) {
      s.first_row = p.cu_seqlens[n], s.tokens = p.cu_seqlens[n + 1] - s.first_row,
      s.chunk_base = s.first_row / kChunk + n;
    } else {
      s.first_row = n * p.seq_len, s.tokens = p.seq_len, s.chunk_base = n * chunks;
    }
    position = right, chain_at += chunks;
    if (++h == p.heads) h = 0, ++n;
    return true;
  }
};

/// Where a role (a warpgroup, or the copy warp) stands. It lives in shared memory because it is needed at
/// boundaries only.
struct Place {
  Walk walk;
  Segment segment;
};
static_assert(sizeof(Place) <= SharedMap::kPlace);

template <int kRoleThreads>
__device__ __forceinline__ void role_sync(int role) {
  if constexpr (kRoleThreads == 32)
    __syncwarp();
  else
    ptx::named_barrier(1 + role, kRoleThreads);
}
/// Moves the role to its next segment; false when there is none.
template <int kRoleThreads>
__device__ __forceinline__ bool next_segment(const Parameters& p, Place& place, int role) {
  role_sync<kRoleThreads>(role);
  if (threadIdx.x % kRoleThreads == 0) {
    Walk walk = place.walk;
    Segment segment;
    segment.end = -1;
    walk.next(p, segment);
    place.segment = segment, place.walk = walk;
  }
  role_sync<kRoleThreads>(role);
  return __shfl_sync(~0u, place.segment.end, 0) >=
         0;  // a shuffle tells the compiler that the loops over chunks are uniform
}

}  // namespace statescope::cuda::chunked
