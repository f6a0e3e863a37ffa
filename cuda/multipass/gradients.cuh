#pragma once
// Pass 4, every chunk of every subhead at once: dq, dk, dg and dbeta. With S the state before the chunk, D
// the gradient of the state after it, u = beta o r, and all decays <= 1:
//   dQ = scale e^gamma o (dO S^T) + M K,                  M = scale tril(dO U^T) o Gamma
//   dK = e^(gamma_C - gamma) o (U D^T) + M^T Q
//        - e^gamma o (dR S^T) + (N + N^T) K,              N = -tril(dR U^T, -1) o Gamma
// Each of the three lines is one role: rows of do, r or dr, which a warp keeps as operands in registers,
// times a state, plus a square matrix times keys or queries. The squares never leave the warp that makes
// them: what a product leaves in its accumulators is the next one's operand. Roles two and three meet where
// dk is stored.
//
// dg and dbeta come from the terms of <O, dO> + <S+, D> by the way that they take through the chunk (nothing
// cancels, see runtime/cpu/chunked.h):  dg_t = through + sum_{i>=t} before_i + sum_{j<t} after_j +
// sum_{j<t<=i} beta_j Z_ji
//   through = e^gamma_C <S, D>,  before_i = q_i . dq_i's first term + k_i . dk_i's third,  after_j = k_j .
//   dk_j's first Z_ji = scale P_ij do_i . r_j - G_ij dr_i . r_j,       dbeta_j = after_j / beta_j + sum_i
//   Z_ji
#include "cuda/multipass/gate_terms.cuh"
#include "cuda/multipass/gradient_warp.cuh"

namespace statescope::cuda::multipass {

/// Terms of dg and dbeta by token.
template <int kWarps>
struct GradientSums {
  float before[2][kChunk], after[kChunk], dbeta[2][kChunk], ways[2][kWarps][kChunk], through[16];
  float decays[8 *
               kChunk];  ///< of columns: [4] to the first row of 16, beta in it; [4] from the last row of 16
};

template <class T, int kKey, int kValue, bool kDelta>
__global__ void __launch_bounds__(gradient_threads(kValue, kDelta), kValue > 128 ? 1 : 2)
    gradients(const __grid_constant__ Parameters p) {
  constexpr int kThreads = gradient_threads(kValue, kDelta), kTiles = role_tiles(kValue),
                kWarps = role_warps(kValue), kSlabs = kKey / kSlab, kEarly = early_slabs(kValue),
                kPlaces = kEarly + 2;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int e = blockIdx.x % a.expansion, qk_head = blockIdx.x / a.expansion % a.qk_heads;
  const int64_t chunk_number = blockIdx.x / a.expansion / a.qk_heads;
  const Chunk chunk = chunk_of(a, chunk_number);
  if (chunk.count == 0) return;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const Role role = static_cast<Role>(warp / kWarps);
  const uint32_t base = ptx::shared_address(shared);
  const uint32_t outputs = base, errors = outputs + rows_bytes(kValue),
                 corrections = errors + rows_bytes(kValue);
  const uint32_t early = base + gradient_tiles_bytes(kValue, kDelta),
                 handover = early + kEarly * slab_bytes(kValue),
                 gates = handover + (kDelta ? kChunk * kSlab * 4 : 0);
  const float* const gamma = reinterpret_cast<const float*>(shared + (gates - base));
  const float* const beta = gamma + kChunk;
  GradientSums<kWarps>& sums = *reinterpret_cast<GradientSums<kWarps>*>(shared + (gates - base) + kGateBytes);
  // The first slabs have a place of their own, the next two that of the tiles, and so on in turn.
  const auto slab_at = [&](int s) {
    const int at = s % kPlaces;
    return (at < kEarly ? early : base) + (at < kEarly ? at : at - kEarly) * slab_bytes(kValue);
  };

  const int group = a.heads / a.qk_heads;
  for (int h = qk_head * group; h < (qk_head + 1) * group; ++h) {
    const int64_t index = (chunk_number * a.heads + h) * a.expansion + e;
    int from_head = qk_head, thread = threadIdx.x;
    asm volatile("" : "+r"(from_head), "+r"(thread));  // computed anew for each head: registers are short
    const int64_t row = key_row(a, chunk.first, from_head, e), row_stride = int64_t{a.qk_heads} * a.expansion;
    // A thread keeps to one of the eight 16-byte pieces of a row, four of S or Q and four of D or K.
    constexpr int kStep = kThreads / 8;
    const int piece = thread % 8, first_row = thread / 8;
    const uint32_t slab_part = first_row * 128 + ((piece ^ first_row % 8) << 4);
    const uint16_t* const state_from =
        (piece < 4 ? p.s.states : p.s.gradients) + (index * kValue + first_row) * kKey + piece % 4 * 8;
    const uint16_t* const keys_from =
        words(piece < 4 ? a.q : a.k) + (row + first_row * row_stride) * kKey + piece % 4 * 8;
    const auto fetch_slab = [&](int s) {
      const uint32_t to = slab_at(s) + slab_part;
#pragma unroll
      for (int i = 0; i < (kValue + kStep - 1) / kStep; ++i)
        if (kValue % kStep == 0 || first_row + i * kStep < kValue)
          ptx::copy_or_zero(to + i * kStep * 128, state_from + i * kStep * kKey + s * kSlab, true);
#pragma unroll
      for (int i = 0; i < (kChunk + kStep - 1) / kStep; ++i)
        if (kChunk % kStep == 0 || first_row + i * kStep < kChunk)
          ptx::copy_or_zero(to + (kValue + i * kStep) * 128,
                            keys_from + i * kStep * row_stride * kKey + s * kSlab,
                            first_row + i * kStep < chunk.count);
      ptx::copies_commit();
    };
    __syncthreads();  // the head before is done with shared memory
    const int64_t value_row = (chunk.first * a.heads + h) * kValue, value_stride = int64_t{a.heads} * kValue;
    copy_plain<kGateBytes, kThreads>(gates, p.s.gates + index * 2 * kChunk);
    copy_rows<kValue, kChunk, kThreads>(outputs, words(a.d_o) + value_row, value_stride, chunk.count);
    if (kDelta) {
      copy_rows<kValue, kChunk, kThreads>(errors, p.s.errors + index * kChunk * kValue, kValue, kChunk);
      copy_rows<kValue, kChunk, kThreads>(corrections, p.s.dv + index * kChunk * kValue, kValue, kChunk);
    } else {
      copy_rows<kValue, kChunk, kThreads>(errors, words(a.v) + value_row, value_stride, chunk.count);
    }
    ptx::copies_commit();
    for (int s = 0; s < kEarly; ++s) fetch_slab(s);
    const GradientWarp<T, kValue, kDelta> own{p,     Lane(lane), warp % kWarps * 16 * kTiles,
                                              gamma, beta,       sums.decays};
    const Lane& at = own.at;
    const int low = own.first / 16, high = low + kTiles - 1;  // blocks of the diagonal
    uint32_t z[kTiles][4][4];                                 // pairs of P^T or G^T, then Z, as operands
    if (role != Role::kQuery) {
      const uint32_t* const pairs = reinterpret_cast<const uint32_t*>(
          (role == Role::kKey ? p.s.scores : p.s.gram) + index * kChunk * kChunk);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int m = 0; m < 16; ++m)
          z[t][m / 4][m % 4] =
              m / 4 < low + t
                  ? 0u
                  : pairs[((own.first + 16 * t + at.r + 8 * (m % 2)) * kChunk + 8 * (m / 2) + at.c) / 2];
    }
    ptx::copies_wait<kEarly>();
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * kChunk; i += kThreads) {
      const int tile = i / kChunk % 4, token = i % kChunk;
      sums.decays[i] = i < 4 * kChunk
                           ? beta[token] * ptx::exp2_fast(fminf(gamma[16 * tile] - gamma[token], 0.f))
                           : ptx::exp2_fast(fminf(gamma[token] - gamma[16 * tile + 15], 0.f));
    }
    if (!kDelta)
      for (int i = threadIdx.x; i < kChunk; i += kThreads) sums.before[1][i] = 0;
    __syncthreads();

    // The squares, and the ways between two tokens. The first role makes the lower half of the third's square
    // too.
    const uint32_t exchange = handover + (warp % kWarps * kTiles * 4 * 32 + lane) * 16;
    uint32_t square[kTiles][4][4];  // operands
    {
      float x[kTiles][8][4];
      if (role == Role::kQuery) {
        if constexpr (kDelta) {
          own.multiply_rows(x, corrections, errors, 0, high);  // N, rows i
          own.template decayed<true, true>(square, x, -1.f);
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
#pragma unroll
            for (int block = 0; block < 4; ++block)
              ptx::store_shared(exchange + (t * 4 + block) * 512, square[t][block]);
        }
        own.multiply_rows(x, outputs, errors, 0, high);  // M, rows i
        own.template decayed<true, false>(square, x, a.scale);
      } else {
        // Rows j, columns i > j: M^T, or N^T
        const bool keys = role == Role::kKey;
        own.multiply_rows(x, errors, keys ? outputs : corrections, low, 3);
        const float factor = keys ? a.scale : -1.f;
        if (kDelta || a.g) {
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
#pragma unroll
            for (int m = 0; m < 16; ++m) {
              const float2 pair = ptx::unpack<T>(z[t][m / 4][m % 4]);
              const float* const y = x[t][m / 2] + 2 * (m % 2);
              z[t][m / 4][m % 4] = ptx::pack<__nv_bfloat16>(pair.x * y[0], pair.y * y[1]);
            }
          own.add_ways(z, factor, sums.ways[keys ? 0 : 1][warp % kWarps], sums.dbeta[keys ? 0 : 1]);
        }
        if (keys)
          own.template decayed<false, false>(square, x, factor);
        else
          own.template decayed<false, true>(square, x, factor);
      }
    }
    uint32_t operand[kTiles][kValue / 16][4];
    const uint32_t own_rows = role == Role::kQuery ? outputs : role == Role::kKey ? errors : corrections;
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int k = 0; k < kValue; k += 16)
        load_a(operand[t][k / 16], own_rows + k / 64 * (kChunk * 128), at, own.first + 16 * t, k % 64);
    float factor[kTiles][2], dots[kTiles][2];
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float g = gamma[own.first + 16 * t + at.r + 8 * half];
        factor[t][half] = role == Role::kQuery ? a.scale * ptx::exp2_fast(g)
                          : role == Role::kKey ? ptx::exp2_fast(gamma[kChunk - 1] - g)
                                               : -ptx::exp2_fast(g);
        dots[t][half] = 0;
      }
    const int square_low = role == Role::kKey ? low : 0, square_high = role == Role::kQuery ? high : 3;
    const int state_column = role == Role::kKey ? kSlab : 0;  // D, or S
    const int other_column = role == Role::kKey ? 0 : kSlab;  // Q, or K
    const int own_column = role == Role::kQuery ? 0 : kSlab;
    float inner = 0;  // <S, D>, this thread's part

    __syncthreads();  // the tiles are in registers
    if (role == Role::kCorrection) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          const uint4 lower = ptx::load_shared_uint4(exchange + (t * 4 + block) * 512);
          square[t][block][0] |= lower.x, square[t][block][1] |= lower.y;
          square[t][block][2] |= lower.z, square[t][block][3] |= lower.w;
        }
    }
    for (int s = kEarly; s < min(kPlaces, kSlabs); ++s) fetch_slab(s);
    for (int s = 0; s < kSlabs; ++s) {
      if (s + kPlaces - 1 < kSlabs)
        ptx::copies_wait<kPlaces - 1>();
      else if (s + 2 < kSlabs)
        ptx::copies_wait<2>();
      else if (s + 1 < kSlabs)
        ptx::copies_wait<1>();
      else
        ptx::copies_wait<0>();
      __syncthreads();
      const uint32_t state = slab_at(s), keys = state + kValue * 128;
      float x[kTiles][4][4] = {};
#pragma unroll
      for (int k = 0; k < kValue; k += 16) {
#pragma unroll
        for (int n = 0; n < kSlab; n += 16) {
          uint32_t columns[4];
          load_b_turned(columns, state, at, k, state_column + n);
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
            multiply<T>(x[t][n / 8], x[t][n / 8 + 1], operand[t][k / 16], columns);
        }
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int m = 0; m < 8; ++m) {
          const int half = m % 2;
          float* const y = x[t][m / 2] + 2 * half;
          const float2 other = ptx::unpack<T>(ptx::load_shared(
              place(keys, at.element, own.first + 16 * t + 8 * half, own_column + 8 * (m / 2))));
          y[0] *= factor[t][half], y[1] *= factor[t][half];
          dots[t][half] += other.x * y[0] + other.y * y[1];
          if (role == Role::kKey) {
            const float b = beta[own.first + 16 * t + at.r + 8 * half];
            y[0] *= b, y[1] *= b;
          }
        }
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        if (block < square_low || block > square_high) continue;
#pragma unroll
        for (int n = 0; n < kSlab; n += 16) {
          uint32_t columns[4];
          load_b_turned(columns, keys, at, 16 * block, other_column + n);
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
            multiply<T>(x[t][n / 8], x[t][n / 8 + 1], square[t][block], columns);
        }
      }
      if (a.g) {
        for (int i = threadIdx.x; i < kValue * 4; i += kThreads) {
          const int v = i / 4, piece = i % 4;
          const uint4 left = ptx::load_shared_uint4(state + v * 128 + ((piece ^ v % 8) << 4)),
                      right = ptx::load_shared_uint4(state + v * 128 + ((piece + 4 ^ v % 8) << 4));
          const auto add = [&](uint32_t l, uint32_t r) {
            const float2 u = ptx::unpack<T>(l), w = ptx::unpack<T>(r);
            inner += u.x * w.x + u.y * w.y;
          };
          add(left.x, right.x), add(left.y, right.y), add(left.z, right.z), add(left.w, right.w);
        }
      }
      if constexpr (kDelta) {
        if (role == Role::kCorrection) {
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
#pragma unroll
            for (int n = 0; n < 4; ++n) ptx::store_shared(exchange + (t * 4 + n) * 512, x[t][n]);
        }
        if (role != Role::kQuery) ptx::named_barrier(1 + warp % kWarps, 64);
        if (role == Role::kKey) {
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
#pragma unroll
            for (int n = 0; n < 4; ++n) {
              const uint4 y = ptx::load_shared_uint4(exchange + (t * 4 + n) * 512);
              x[t][n][0] += __uint_as_float(y.x), x[t][n][1] += __uint_as_float(y.y);
              x[t][n][2] += __uint_as_float(y.z), x[t][n][3] += __uint_as_float(y.w);
            }
        }
      }
      if (role != Role::kCorrection) {
        const bool first_head = h == qk_head * group, last_head = h + 1 == (qk_head + 1) * group;
        int from_here = from_head;
        asm volatile("" : "+r"(from_here));
        const int64_t to = key_row(a, chunk.first, from_here, e) * kKey + s * kSlab + at.c;
        uint32_t* const out = static_cast<uint32_t*>(role == Role::kQuery ? a.dq : a.dk) + to / 2;
        float* const so_far = (role == Role::kQuery ? p.s.dq : p.s.dk) + to;
#pragma unroll
        for (int t = 0; t < kTiles; ++t)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int token = own.first + 16 * t + at.r + 8 * half,
                      line = token * static_cast<int>(row_stride) * kKey;
            if (token >= chunk.count) continue;
#pragma unroll
            for (int n = 0; n < 4; ++n) {
              float2 y = {x[t][n][2 * half], x[t][n][2 * half + 1]};
              if (!first_head) {
                const float2 sum = *reinterpret_cast<const float2*>(so_far + line + 8 * n);
                y.x += sum.x, y.y += sum.y;
              }
              if (last_head)
                out[line / 2 + 4 * n] = ptx::pack<T>(y.x, y.y);
              else
                *reinterpret_cast<float2*>(so_far + line + 8 * n) = y;
            }
          }
      }
      if (s + kPlaces < kSlabs) {
        __syncthreads();  // everyone is done with the slab
        fetch_slab(s + kPlaces);
      }
    }

#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = dots[t][half];
        sum += __shfl_xor_sync(~0u, sum, 1), sum += __shfl_xor_sync(~0u, sum, 2);
        const int token = own.first + 16 * t + at.r + 8 * half;
        if (at.c == 0)
          (role == Role::kQuery ? sums.before[0]
           : role == Role::kKey ? sums.after
                                : sums.before[1])[token] = sum;
      }
#pragma unroll
    for (int d = 1; d < 32; d *= 2) inner += __shfl_xor_sync(~0u, inner, d);
    if (lane == 0) sums.through[warp] = inner;
    __syncthreads();
    if (warp == 0) {
      float whole = 0;
#pragma unroll
      for (int i = 0; i < kThreads / 32; ++i) whole += sums.through[i];
      struct Terms {
        const GradientSums<kWarps>& x;
        __device__ float before(int t) const { return x.before[0][t] + x.before[1][t]; }
        __device__ float after(int t) const { return x.after[t]; }
        __device__ float ways(int t) const {
          float sum = 0;
#pragma unroll
          for (int i = 0; i < (kDelta ? 2 : 1); ++i)
#pragma unroll
            for (int w = 0; w < kWarps; ++w) sum += x.ways[i][w][t];
          return sum;
        }
        __device__ float pairs(int t) const {
          return x.dbeta[0][t] + x.dbeta[1][t];
        }
      };
      store_gate_gradients<kDelta>(a, (chunk.first * a.heads + h) * a.expansion + e, chunk.count, lane, beta,
                                   whole * ptx::exp2_fast(gamma[kChunk - 1]), Terms{sums});
    }
  }
}

}  // namespace statescope::cuda::multipass
