#pragma once
// dq and dk of a chunk, half of the channels a warpgroup:
//   dQ = scale e^gamma o (dO S^T) + M K
//   dK = beta o e^(gamma_C - gamma) o (U' D^T) - e^gamma o (dR S^T) + M^T Q + (N + N^T) K,   U' = r
// The first products' rows meet q or k on the way: before_i and after_j, terms of dg and dbeta.
#include "cuda/multipass/gradients_ring.cuh"

namespace statescope::cuda::multipass {

/// d = rows (64 x kValue) times a panel of a transposed state.
template <class T, int kColumns, int kValue>
__device__ __forceinline__ void rows_by_state(float (&d)[kColumns / 2], uint32_t rows, uint32_t panel) {
  const uint64_t a = ptx::operand(rows, 16, 1024), b = ptx::operand(panel, 16, 1024);
#pragma unroll
  for (int k = 0; k < kValue / 16; ++k)
    ptx::wgmma_shared<T, kColumns, false, true>(d, a + (k / 4 * (kChunk * 128 / 16) + k % 4 * 2),
                                                b + k * (2048 / 16), k > 0);
  ptx::wgmma_commit();
}
/// d += a square times a panel of keys or queries.
template <class T, int kColumns, bool kTurned>
__device__ __forceinline__ void square_by_rows(float (&d)[kColumns / 2], uint32_t square, uint32_t panel) {
  const uint64_t a = ptx::operand(square, 16, 1024), b = ptx::operand(panel, 16, 1024);
#pragma unroll
  for (int k = 0; k < kChunk / 16; ++k)
    ptx::wgmma_shared<T, kColumns, kTurned, true>(d, a + k * (kTurned ? 2048 / 16 : 2), b + k * (2048 / 16),
                                                  1);
  ptx::wgmma_commit();
}

/// This warp's part of <S, D> over a panel: 16 rows at a time, the diagonal of S^T D.
template <class T, int kColumns, int kValue>
__device__ __forceinline__ float inner_product(uint32_t state, uint32_t gradient, int column, int warp,
                                               const Lane& at) {
  float left[4] = {}, right[4] = {};
#pragma unroll
  for (int v = 0; v < kValue; v += 64)
#pragma unroll
    for (int k = 0; k < kColumns; k += 16) {
      uint32_t a[4], b[4];
      load_a(a, state, at, v + 16 * warp, column + k);
      load_b(b, gradient, at, column + k, v + 16 * warp);
      ptx::mma<T>(left, a, b[0], b[1]);
      ptx::mma<T>(right, a, b[2], b[3]);
    }
  float sum = at.r == at.c ? left[0] + right[2] : at.r == at.c + 1 ? left[1] + right[3] : 0.f;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) sum += __shfl_xor_sync(~0u, sum, d);
  return sum;
}

/// Leaves 16 rows in 16 bits in the tile. at: of this lane for stmatrix.
template <class T, int kColumns>
__device__ __forceinline__ void leave_rows(const float (&x)[kColumns / 2], uint32_t tile, int row, int column,
                                           const Lane& at) {
#pragma unroll
  for (int block = 0; block < kColumns / 16; ++block) {
    uint32_t words[4];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const int i = 8 * block + 4 * (m / 2) + 2 * (m % 2);
      words[m] = ptx::pack<T>(x[i], x[i + 1]);
    }
    ptx::store_matrix_x4(place(tile, at.straight, row, column + 16 * block), words);
  }
}
/// Of heads that share keys: adds what the heads before left, and leaves the sum in float32 for the next.
/// sums: this thread's first row and column in an array like q.
template <int kColumns>
__device__ __forceinline__ void add_heads(float (&x)[kColumns / 2], float* sums, int64_t row_stride, int row,
                                          const Task& task) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (row + 8 * half >= task.count) continue;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      float2* const sum = reinterpret_cast<float2*>(sums + 8 * half * row_stride + 8 * n);
      float* const y = x + 4 * n + 2 * half;
      if (!task.first_head) y[0] += sum->x, y[1] += sum->y;
      if (!task.last_head) *sum = {y[0], y[1]};
    }
  }
}

template <class T, int kKey, int kValue, bool kDelta>
__device__ __forceinline__ void make_slabs(const Parameters& p, uint8_t* shared, uint32_t base) {
  using Tiles = Ring<kKey, kValue, kDelta>;
  constexpr HopperGradientMap kMap = Tiles::kMap;
  constexpr int kColumns = kKey / 2;
  Tiles ring{shared, base};
  const Arguments& a = p.a;
  const int thread = threadIdx.x % 128, warp = __shfl_sync(~0u, thread / 32, 0),
            group = __shfl_sync(~0u, threadIdx.x / 128, 0);
  const int panel = kKey > 64 ? group : 0, column = kKey > 64 ? 0 : kColumns * group;
  for (; ring.next(); ring.advance()) {
    int lane = thread % 32;
    asm volatile("" : "+r"(lane));  // addresses are computed anew for each chunk: registers are short
    const Lane at(lane);
    const int row = 16 * warp + at.r;
    float q[kColumns / 2], k[kColumns / 2], c[kColumns / 2];
    const uint32_t state = ring.address(Tiles::kState + panel),
                   gradient = ring.address(Tiles::kGradient + panel);
    ring.wait(Tiles::kOutput), ring.wait(Tiles::kState + panel);
    ptx::wgmma_fence();
    rows_by_state<T, kColumns, kValue>(q, ring.address(Tiles::kOutput), state + 2 * column);
    ring.wait(Tiles::kGradient + panel), ring.wait(Tiles::kError);
    ptx::wgmma_fence();
    rows_by_state<T, kColumns, kValue>(k, ring.address(Tiles::kError), gradient + 2 * column);
    if constexpr (kDelta) {
      ring.wait(Tiles::kCorrection);
      ptx::wgmma_fence();
      rows_by_state<T, kColumns, kValue>(c, ring.address(Tiles::kCorrection), state + 2 * column);
    }
    float through = 0;
    if (a.g) through = inner_product<T, kColumns, kValue>(state, gradient, column, warp, at);
    const float* const gamma = ring.gamma();
    float early[2], late[2], beta[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float g = gamma[row + 8 * half];
      early[half] = ptx::exp2_fast(g), late[half] = ptx::exp2_fast(gamma[kChunk - 1] - g);
      beta[half] = gamma[kChunk + row + 8 * half];
    }
    ptx::wgmma_wait<0>();
    ptx::pin(q), ptx::pin(k);
    if constexpr (kDelta) ptx::pin(c);
    if constexpr (kKey > 64) ring.wait(Tiles::kState + 1 - panel), ring.wait(Tiles::kGradient + 1 - panel);
    ring.release(0, Tiles::kKeys);

    const uint32_t keys = ring.address(Tiles::kKeys) + panel * (kChunk * 128),
                   queries = ring.address(Tiles::kQueries) + panel * (kChunk * 128);
    ring.wait(Tiles::kKeys), ring.wait(Tiles::kQueries);
    float before[2] = {}, after[2] = {};
#pragma unroll
    for (int block = 0; block < kColumns / 16; ++block) {
      uint32_t key[4], query[4];
      load_a(key, keys, at, 16 * warp, column + 16 * block);
      load_a(query, queries, at, 16 * warp, column + 16 * block);
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int half = m % 2, i = 8 * block + 4 * (m / 2) + 2 * half;
        const float2 x = ptx::unpack<T>(key[m]), y = ptx::unpack<T>(query[m]);
        q[i] *= a.scale * early[half], q[i + 1] *= a.scale * early[half];
        before[half] += y.x * q[i] + y.y * q[i + 1];
        k[i] *= late[half], k[i + 1] *= late[half];
        after[half] += x.x * k[i] + x.y * k[i + 1];
        if constexpr (kDelta) {
          c[i] *= early[half], c[i + 1] *= early[half];
          before[half] -= x.x * c[i] + x.y * c[i + 1];
          k[i] = beta[half] * k[i] - c[i], k[i + 1] = beta[half] * k[i + 1] - c[i + 1];
        }
      }
    }

    ptx::barrier_wait(base + kMap.squares_full, ring.it & 1);
    ptx::pin(q), ptx::pin(k);
    ptx::wgmma_fence();
    square_by_rows<T, kColumns, true>(q, base + kMap.m, keys + 2 * column);
    square_by_rows<T, kColumns, false>(k, base + kMap.m, queries + 2 * column);
    if constexpr (kDelta) square_by_rows<T, kColumns, false>(k, base + kMap.n, keys + 2 * column);

    // While they run
    ring.wait_for_terms_place();
    GateTerms& terms = ring.terms();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      before[half] += __shfl_xor_sync(~0u, before[half], 1),
          before[half] += __shfl_xor_sync(~0u, before[half], 2);
      after[half] += __shfl_xor_sync(~0u, after[half], 1),
          after[half] += __shfl_xor_sync(~0u, after[half], 2);
      if (at.c == 0)
        terms.before[group][row + 8 * half] = before[half], terms.after[group][row + 8 * half] = after[half];
    }
    if (lane == 0) terms.through[4 * group + warp] = through;
    ring.leave_terms();

    ptx::wgmma_wait<0>();
    ptx::pin(q), ptx::pin(k);
    // The products of all warps are done with the panels, and those for the pairs too. Only then may the next
    // squares come: they would be followed by the next phase of tiles_read.
    ptx::barrier_wait(base + kMap.tiles_read, ring.it & 1);
    ptx::warp_arrive(base + kMap.squares_empty);
    ptx::named_barrier(1 + group, 128);
    if (a.qk_heads < a.heads) {
      const Task& task = ring.task();
      const int64_t row_stride = int64_t{a.qk_heads} * a.expansion * kKey,
                    own = key_row(a, task.first, task.qk_head, task.subhead) * kKey + 64 * panel + column +
                          row * row_stride + at.c;
      add_heads<kColumns>(q, p.s.dq + own, row_stride, row, task);
      add_heads<kColumns>(k, p.s.dk + own, row_stride, row, task);
    }
    leave_rows<T, kColumns>(q, queries, 16 * warp, column, at);
    leave_rows<T, kColumns>(k, keys, 16 * warp, column, at);
    ptx::fence_async_proxy();
    ptx::warp_arrive(ring.results_full(group));
    ring.release_task();
  }
}

}  // namespace statescope::cuda::multipass
