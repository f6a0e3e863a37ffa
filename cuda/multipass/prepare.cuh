#pragma once
// Pass 1, every chunk of every subhead at once: what does not depend on the state.
//   gamma_i = g_1 + .. + g_i,  Gamma_ij = e^(gamma_i - gamma_j)
//   P = tril(Q K^T o Gamma),  G = tril(K K^T o Gamma, -1),  A = (I + G diag(beta))^{-1}
// A block has four warps, 16 rows each; of the inverse each takes a block of the diagonal, and two the merges
// (chunked/inverse.cuh).
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
    if (a.g) gamma.x = binary_gate(a.g[at]);
    beta.x = kDelta ? a.beta[at] : 1.f;
  }
  if (2 * lane + 1 < chunk.count) {
    if (a.g) gamma.y = binary_gate(a.g[at + stride]);
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

/// Whether P is left, and G: the gradients of compute capability 9.0 make both again.
template <class T, int kKey, bool kDelta, bool kScores, bool kGram>
__global__ void __launch_bounds__(kPrepareThreads) prepare(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int e = blockIdx.x % a.expansion, h = blockIdx.x / a.expansion % a.heads;
  const Chunk chunk = chunk_of(a, blockIdx.x / a.expansion / a.heads);
  if (chunk.count == 0) return;
  const int64_t index = blockIdx.x;
  const uint32_t base = ptx::shared_address(shared);
  // The scores take the place of the keys, the system and its inverse that of the queries, or of the keys
  // too.
  const uint32_t key = base, query = key + rows_bytes(kKey), system = kScores ? query : key,
                 inverse = system + kSquareBytes;
  float* const gamma = reinterpret_cast<float*>(shared + prepare_bytes(kKey, kScores) - 3 * kChunk * 4);
  float *const beta = gamma + kChunk, *const ones = beta + kChunk;
  const int64_t stride = int64_t{a.qk_heads} * a.expansion * kKey,
                row = key_row(a, chunk.first, key_head(a, h), e) * kKey;
  if (kDelta || kScores) copy_rows<kKey, kChunk, kPrepareThreads>(key, words(a.k) + row, stride, chunk.count);
  if (kScores) copy_rows<kKey, kChunk, kPrepareThreads>(query, words(a.q) + row, stride, chunk.count);
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

  // Rows j of this warp against columns i, twice: with the queries, and with the keys. Blocks of 16 columns
  // from `low` to `high`.
  const Lane at(lane);
  const int j0 = 16 * warp + at.r;
  const float gamma_j[2] = {gamma[j0], gamma[j0 + 8]};
  const auto product = [&](float(&x)[8][4], uint32_t other, int low, int high) {
#pragma unroll
    for (int n = 0; n < 8; ++n) x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0;
#pragma unroll 4
    for (int k = 0; k < kKey; k += 16) {
      uint32_t rows[4];
      load_a(rows, key + k / 64 * (kChunk * 128), at, 16 * warp, k % 64);
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        if (block < low || block > high) continue;
        uint32_t columns[4];
        load_b(columns, other + k / 64 * (kChunk * 128), at, k % 64, 16 * block);
        multiply<T>(x[2 * block], x[2 * block + 1], rows, columns);
      }
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (n / 2 < low || n / 2 > high) continue;
      const float2 gamma_i = two(gamma + 8 * n + at.c);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // gamma falls, so the decay between two tokens is e^-|difference| whichever comes first
        x[n][2 * half] *= ptx::exp2_fast(-fabsf(gamma_i.x - gamma_j[half]));
        x[n][2 * half + 1] *= ptx::exp2_fast(-fabsf(gamma_i.y - gamma_j[half]));
      }
    }
  };
  float x[8][4];
  uint32_t scores[8][2];
  if (kScores) product(x, query, warp, 3);
  if constexpr (kScores) {
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int from = 8 * n + at.c - (j0 + 8 * half);
        scores[n][half] =
            ptx::pack<T>(from >= 0 ? x[n][2 * half] : 0.f, from + 1 >= 0 ? x[n][2 * half + 1] : 0.f);
      }
  }
  if (kDelta) product(x, key, 0, kGram ? 3 : warp);
  __syncthreads();  // everyone is done with the keys and the queries
  if constexpr (kDelta)
    for (int i = threadIdx.x; i < int(kSquareBytes) / 16; i += kPrepareThreads)
      ptx::store_shared(inverse + 16 * i, float4{0, 0, 0, 0});
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int i = 8 * n + at.c;
    const float2 beta_i = two(beta + i);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int j = j0 + 8 * half;
      if constexpr (kScores)
        ptx::store_shared(place(key, at.element, 16 * warp + 8 * half, 8 * n), scores[n][half]);
      if constexpr (kDelta) {
        const float left = x[n][2 * half], right = x[n][2 * half + 1];
        if (kGram)
          reinterpret_cast<uint32_t*>(p.s.gram + index * kChunk * kChunk)[(j * kChunk + i) / 2] =
              ptx::pack<T>(i > j ? left : 0.f, i + 1 > j ? right : 0.f);
        // as row j of the system, column i before it
        ptx::store_shared(
            place(system, at.element, 16 * warp + 8 * half, 8 * n),
            ptx::pack<__half>(i < j ? left * beta_i.x : 0.f, i + 1 < j ? right * beta_i.y : 0.f));
      }
    }
  }
  __syncthreads();
  const auto leave = [&](uint16_t* to, uint32_t square) {
    uint4* const out = reinterpret_cast<uint4*>(to + index * kChunk * kChunk);
#pragma unroll
    for (int i = threadIdx.x; i < kChunk * 8; i += kPrepareThreads)
      out[i] = ptx::load_shared_uint4(square + i / 8 * 128 + ((i % 8 ^ i / 8 % 8) << 4));
  };
  if constexpr (kScores) leave(p.s.scores, key);
  if constexpr (kDelta) {
    const chunked::Lanes lanes(lane);
    const chunked::Inverse<T> inverting{system, inverse, ones, lanes};
    inverting.template diagonal<1>(16 * warp);
    __syncthreads();
    if (warp < 2) inverting.merge_16(32 * warp);
    __syncthreads();
    if (warp < 2) inverting.merge_32(warp);
    __syncthreads();
    leave(p.s.inverse, inverse);
  }
}

}  // namespace statescope::cuda::multipass
