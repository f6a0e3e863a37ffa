#pragma once
// What the roles of the gradient pass on compute capability 9.0 share: the ring that tiles pass through, and
// which chunk is at task.
#include "cuda/multipass/gate_terms.cuh"
#include "cuda/multipass/gradients_hopper.h"
#include "cuda/multipass/warpgroup.cuh"
#include "runtime/cuda_gradients.h"

namespace statescope::cuda::multipass {

/// A chunk of a subhead of one head. The heads that share keys come one after the other.
struct Task {
  int first, count;  ///< tokens; a count of -1 ends the kernel
  int head, qk_head, subhead;
  int first_head, last_head;  ///< of those that share keys
  int unused;
};
static_assert(sizeof(Task) + kGateBytes == kTaskBytes);

/// Terms of dg and dbeta by token, halves of the channels apart.
struct GateTerms {
  float before[2][kChunk], after[2][kChunk], ways[4][kChunk], pairs[kChunk], through[8];
};
static_assert(sizeof(GateTerms) == kTermBytes);

constexpr int kSlabWarps = 8, kScoreWarps = 4;
constexpr uint32_t kConsumers = (kSlabWarps + kScoreWarps) * ptx::kWarpArrivals;

/// Where a role stands: the chunk's number in this block's order, and the slot of its first tile.
template <int kKey, int kValue, bool kDelta>
struct Ring {
  static constexpr HopperGradientMap kMap = hopper_gradient_map(kKey, kValue, kDelta);
  static constexpr int kPanels = kMap.panels;
  // tiles of a chunk
  static constexpr int kOutput = 0, kState = 1, kGradient = 1 + kPanels, kError = 1 + 2 * kPanels,
                       kCorrection = kError + 1, kKeys = kMap.tiles - 2, kQueries = kMap.tiles - 1;

  uint8_t* const shared;
  const uint32_t base;
  int it = 0, first = 0;
  uint32_t round = 0;

  __device__ __forceinline__ int slot(int tile) const {
    const int s = first + tile;
    return s >= kMap.slots ? s - kMap.slots : s;
  }
  __device__ __forceinline__ uint32_t parity(int tile) const {
    return round ^ (first + tile >= kMap.slots ? 1u : 0u);
  }
  __device__ __forceinline__ uint32_t address(int tile) const { return base + slot(tile) * kMap.slot; }
  __device__ __forceinline__ uint32_t full(int tile) const { return base + kMap.full + 8 * slot(tile); }
  __device__ __forceinline__ uint32_t empty(int tile) const { return base + kMap.empty + 8 * slot(tile); }
  /// A barrier tells a phase from the next one alone: a warp that skips a tile's phase would find the slot's
  /// next tile there before it is. So all warps wait for all tiles, those that they do not read too.
  __device__ __forceinline__ void wait(int tile) const { ptx::barrier_wait(full(tile), parity(tile)); }
  /// This warp is done with tiles from `begin` up to `end`, and has waited for each of them.
  __device__ __forceinline__ void release(int begin, int end) const {
    __syncwarp();
    if (ptx::kWarpArrivals == 32 || threadIdx.x % 32 == 0)
      for (int tile = begin; tile < end; ++tile) ptx::barrier_arrive(empty(tile));
  }
  __device__ __forceinline__ void advance() {
    first += kMap.tiles, ++it;
    if (first >= kMap.slots) first -= kMap.slots, round ^= 1;
  }

  // The chunk at work: its gates, then what it is.
  __device__ __forceinline__ int task_stage() const { return it % kTaskStages; }
  __device__ __forceinline__ uint32_t task_parity() const { return it / kTaskStages & 1; }
  __device__ __forceinline__ const float* gamma() const {
    return reinterpret_cast<const float*>(shared + kMap.tasks + task_stage() * kTaskBytes);
  }
  __device__ __forceinline__ Task& task() const {
    return *reinterpret_cast<Task*>(shared + kMap.tasks + task_stage() * kTaskBytes + kGateBytes);
  }
  /// Waits for the chunk; false when there is none.
  __device__ __forceinline__ bool next() const {
    ptx::barrier_wait(base + kMap.task_full + 8 * task_stage(), task_parity());
    return __shfl_sync(~0u, task().count, 0) >= 0;  // tells the compiler that loops over chunks are uniform
  }
  __device__ __forceinline__ void release_task() const {
    ptx::warp_arrive(base + kMap.task_empty + 8 * task_stage());
  }

  /// Half of dq and dk lies in the slots of Q and K. A barrier for each warpgroup, since one may be a chunk
  /// ahead of the other; in turn, since they may be two ahead of the warp that sends.
  __device__ __forceinline__ uint32_t results_full(int group) const {
    return base + kMap.results_full + 16 * (it % kResultStages) + 8 * group;
  }
  __device__ __forceinline__ uint32_t results_parity() const { return it / kResultStages & 1; }

  __device__ __forceinline__ int term_stage() const { return it % kTermStages; }
  __device__ __forceinline__ uint32_t term_parity() const { return it / kTermStages & 1; }
  __device__ __forceinline__ GateTerms& terms() const {
    return *reinterpret_cast<GateTerms*>(shared + kMap.terms + term_stage() * kTermBytes);
  }
  __device__ __forceinline__ void wait_for_terms_place() const {
    ptx::barrier_wait(base + kMap.terms_empty + 8 * term_stage(), term_parity() ^ 1);
  }
  __device__ __forceinline__ void leave_terms() const {
    ptx::warp_arrive(base + kMap.terms_full + 8 * term_stage());
  }
};

/// d = rows of one tile times the rows of another, inner index contiguous in both, 64 x 64.
template <class T, int kInner>
__device__ __forceinline__ void rows_by_rows(float (&d)[32], uint32_t left, uint32_t right) {
  const uint64_t a = ptx::operand(left, 16, 1024), b = ptx::operand(right, 16, 1024);
#pragma unroll
  for (int k = 0; k < kInner / 16; ++k) {
    const uint32_t at = k / 4 * (kChunk * 128 / 16) + k % 4 * 2;
    ptx::wgmma_shared<T, 64, false, false>(d, a + at, b + at, k > 0);
  }
  ptx::wgmma_commit();
}

}  // namespace statescope::cuda::multipass
