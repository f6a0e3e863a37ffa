#pragma once
// Pass 1, every chunk of every subhead at once: what does not depend on the state.
//   gamma_i = g_1 + .. + g_i,  Gamma_ij = e^(gamma_i - gamma_j)
//   P = tril(Q K^T o Gamma),  G = tril(K K^T o Gamma, -1),  A = (I + G diag(beta))^{-1}
// A block has four warps, 16 rows each; the inverse is one warp's work (chunked/inverse.cuh).
#include "cuda/chunked/inverse.cuh"
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::multipass {

/// Cumulated gates in units of ln 2 (token 2 lane and the next), and betas, by one warp.
template <bool kDelta>
__device__ __forceinline__ void cumulate_gates(const Arguments& a, const Chunk& chunk, int h, int e, int lane,
                                               float2& gamma, float2& beta) {
  const int stride = a.heads * a.expansion;
  const int64_t at = (chunk.first + 2 * lane) * stride + h * a.expansion + e;
  gamma = beta = {0, 0};
  if (2 * lane < chunk.count) {
    if (a.g) gamma.x = a.g[at] * kLog2E;
    beta.x = kDelta ? a.beta[at] : 1.f;
  }
  if (2 * lane + 1 < chunk.count) {
    if (a.g) gamma.y = a.g[at + stride] * kLog2E;
    beta.y = kDelta ? a.beta[at + stride] : 1.f;
  }
  float sum = gamma.x + gamma.y;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float other = __shfl_up_sync(~0u, sum, d);
    if (lane >= d) sum += other;
  }
  gamma = {sum - gamma.y, sum};
}

template <class T, int kKey, bool kDelta, bool kBackward>
__global__ void __launch_bounds__(kPrepareThreads) prepare(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int e = blockIdx.x % a.expansion, h = blockIdx.x / a.expansion % a.heads;
  const Chunk chunk = chunk_of(a, blockIdx.x / a.expansion / a.heads);
  if (chunk.count == 0) return;
  const int64_t index = blockIdx.x;
  const uint32_t base = ptx::shared_address(shared);
  // The system and its inverse take the place of the queries, which are read first.
  const uint32_t key = base, query = key + rows_bytes(kKey), system = query, inverse = system + kSquareBytes;
  float* const gamma = reinterpret_cast<float*>(shared + prepare_bytes(kKey) - 3 * kChunk * 4);
  float *const beta = gamma + kChunk, *const ones = beta + kChunk;
  const int64_t stride = int64_t{a.qk_heads} * a.expansion * kKey,
                row = key_row(a, chunk.first, key_head(a, h), e) * kKey;
  copy_rows<kKey, kChunk, kPrepareThreads>(key, words(a.k) + row, stride, chunk.count);
  copy_rows<kKey, kChunk, kPrepareThreads>(query, words(a.q) + row, stride, chunk.count);
  ptx::copies_commit();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (warp == 0) {
    float2 g, b;
    cumulate_gates<kDelta>(a, chunk, h, e, lane, g, b);
    reinterpret_cast<float2*>(gamma)[lane] = g;
    reinterpret_cast<float2*>(beta)[lane] = b;
    reinterpret_cast<float2*>(ones)[lane] = {1, 1};
    float2* const out = reinterpret_cast<float2*>(p.s.gates + index * 2 * kChunk);
    out[lane] = g, out[32 + lane] = b;
  }
  ptx::copies_wait<0>();
  __syncthreads();

  // Rows j of this warp against all columns i, twice: with the queries, and with the keys.
  const Lane at(lane);
  const int j0 = 16 * warp + at.r;
  const float gamma_j[2] = {gamma[j0], gamma[j0 + 8]};
#pragma unroll
  for (int with_query = 1; with_query >= (kDelta ? 0 : 1); --with_query) {
    if (!with_query) {
      __syncthreads();  // everyone is done with the queries
      for (int i = threadIdx.x; i < int(kSquareBytes) / 4; i += kPrepareThreads)
        ptx::store_shared(inverse + 4 * i, 0u);
    }
    float x[8][4] = {};
    const uint32_t other = with_query ? query : key;
#pragma unroll 4
    for (int k = 0; k < kKey; k += 16) {
      uint32_t rows[4];
      load_a(rows, key + k / 64 * (kChunk * 128), at, 16 * warp, k % 64);
#pragma unroll
      for (int n = 0; n < kChunk; n += 16) {
        uint32_t columns[4];
        load_b(columns, other + k / 64 * (kChunk * 128), at, k % 64, n);
        multiply<T>(x[n / 8], x[n / 8 + 1], rows, columns);
      }
    }
    uint32_t* const out =
        reinterpret_cast<uint32_t*>((with_query ? p.s.scores : p.s.gram) + index * kChunk * kChunk);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int i = 8 * n + at.c;
      const float2 gamma_i = *reinterpret_cast<const float2*>(gamma + i);
      const float2 beta_i = *reinterpret_cast<const float2*>(beta + i);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = j0 + 8 * half;
        // gamma falls, so the decay between two tokens is e^-|difference| whichever comes first
        const float left = x[n][2 * half] * ptx::exp2_fast(-fabsf(gamma_i.x - gamma_j[half])),
                    right = x[n][2 * half + 1] * ptx::exp2_fast(-fabsf(gamma_i.y - gamma_j[half]));
        if (with_query) {
          out[(j * kChunk + i) / 2] = ptx::pack<T>(i >= j ? left : 0.f, i + 1 >= j ? right : 0.f);
        } else {
          if (kBackward)
            out[(j * kChunk + i) / 2] = ptx::pack<T>(i > j ? left : 0.f, i + 1 > j ? right : 0.f);
          // as row j of the system, column i before it
          ptx::store_shared(
              place(system, at.element, 16 * warp + 8 * half, 8 * n),
              ptx::pack<__half>(i < j ? left * beta_i.x : 0.f, i + 1 < j ? right * beta_i.y : 0.f));
        }
      }
    }
  }
  if constexpr (kDelta) {
    __syncthreads();
    if (warp == 0) chunked::invert_chunk<T>(system, inverse, ones, chunked::Lanes(lane));
    __syncthreads();
    uint4* const out = reinterpret_cast<uint4*>(p.s.inverse + index * kChunk * kChunk);
    for (int i = threadIdx.x; i < kChunk * 8; i += kPrepareThreads)
      out[i] = ptx::load_shared_uint4(inverse + i / 8 * 128 + ((i % 8 ^ i / 8 % 8) << 4));
  }
}

}  // namespace statescope::cuda::multipass
