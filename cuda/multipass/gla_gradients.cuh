#pragma once
// gla, pass 3 of backward, every chunk at once: dq, dk and dg. With S the state before the chunk, D the
// gradient of the state after it and M = scale tril(dO V^T),
//   dq = scale e^gamma (dO S^T) + pairs,  dk = e^(gamma_C - gamma) (V D^T) + pairs          gla_spans.cuh
//   dg_t = e^gamma_C rowsum(S o D) + sum_{i>=t} q_i o (first of dq_i) + sum_{j<t} k_j o (first of dk_j)
//          + pairs with j < t <= i
// A block is a chunk and 64 channels; it walks the heads that share keys, and their subheads, with do, v and
// M in shared memory. A warp has 16 channels, which no other needs: it asks for the next subhead's as soon as
// this one's are in its registers, and waits for nobody.
#include "cuda/multipass/gla_spans.cuh"

namespace statescope::cuda::multipass {

/// M as rows [i][j] in 16 bits, the 16 x 16 blocks above the diagonal left as they are.
template <class T, int kValue>
__device__ __forceinline__ void gla_square(uint32_t square, uint32_t outputs, uint32_t values, float scale,
                                           const Lane& at) {
  for (int n = threadIdx.x / 32; n < 10; n += kGlaGradientThreads / 32) {
    const int row = n < 1 ? 0 : n < 3 ? 1 : n < 6 ? 2 : 3, column = n - row * (row + 1) / 2;
    float x[2][4] = {};
#pragma unroll 4
    for (int v = 0; v < kValue; v += 16) {
      uint32_t rows[4], columns[4];
      load_a(rows, outputs + v / 64 * (kChunk * 128), at, 16 * row, v % 64);
      load_b(columns, values + v / 64 * (kChunk * 128), at, v % 64, 16 * column);
      multiply<T>(x[0], x[1], rows, columns);
    }
#pragma unroll
    for (int side = 0; side < 2; ++side)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = 16 * row + 8 * half + at.r, j = 16 * column + 8 * side + at.c;
        const float left = scale * x[side][2 * half], right = scale * x[side][2 * half + 1];
        ptx::store_shared(place(square, at.element, 16 * row + 8 * half, 16 * column + 8 * side),
                          ptx::pack<T>(i >= j ? left : 0.f, i >= j + 1 ? right : 0.f));
      }
  }
}

template <class T, int kKey, int kValue>
__global__ void __launch_bounds__(kGlaGradientThreads, kValue > 128 ? 1 : 2)
    gla_gradients(const __grid_constant__ GlaParameters p) {
  constexpr int kThreads = kGlaGradientThreads, kTiles = kKey / kGlaGradientChannels;
  constexpr uint32_t kPart = kGlaChannels * kValue * 2;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Arguments& a = p.a;
  const int tile = blockIdx.x % kTiles, qk_head = blockIdx.x / kTiles % a.qk_heads;
  const int64_t number = blockIdx.x / kTiles / a.qk_heads;
  const Chunk chunk = chunk_of(a, number);
  if (chunk.count == 0) return;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int channel = tile * kGlaGradientChannels + warp * kGlaChannels;
  const uint32_t base = ptx::shared_address(shared);
  const uint32_t outputs = base, values = outputs + rows_bytes(kValue), square = values + rows_bytes(kValue),
                 own = square + kSquareBytes + warp * gla_gradient_warp_bytes(kValue);
  const GlaInput input(own);
  const uint32_t states = own + kGlaInputBytes;
  const int group = a.heads / a.qk_heads;
  const auto fetch = [&](int h, int e) {  // two groups of copies, in the order of their use
    const int64_t from =
        gla_fragment<kKey, kValue>((number * a.heads + h) * a.expansion + e, channel, 0) + lane * 8;
#pragma unroll
    for (uint32_t i = 0; i < kPart / 512; ++i) {
      ptx::copy_or_zero(states + (i * 32 + lane) * 16, p.s.states + from + i * 256, true);
      ptx::copy_or_zero(states + kPart + (i * 32 + lane) * 16, p.s.gradients + from + i * 256, true);
    }
    ptx::copies_commit();
    input.fetch<kKey>(a, chunk, qk_head, h, e, channel, lane);
  };

  for (int h = qk_head * group; h < (qk_head + 1) * group; ++h) {
    const int64_t value_row = (chunk.first * a.heads + h) * kValue, value_stride = int64_t{a.heads} * kValue;
    __syncthreads();  // the head before is done with shared memory
    copy_rows<kValue, kChunk, kThreads>(outputs, words(a.d_o) + value_row, value_stride, chunk.count);
    copy_rows<kValue, kChunk, kThreads>(values, words(a.v) + value_row, value_stride, chunk.count);
    ptx::copies_commit();
    if (h == qk_head * group) {
      fetch(h, 0);
      ptx::copies_wait<2>();  // for do and v alone
    } else {
      ptx::copies_wait<0>();
    }
    __syncthreads();
    gla_square<T, kValue>(square, outputs, values, a.scale, Lane(lane));
    __syncthreads();

#pragma unroll 1
    for (int e = 0; e < a.expansion; ++e) {
      ptx::copies_wait<1>();  // for the states
      __syncwarp();
      GlaSpans<T> spans(lane, square);
      const Lane at(lane);
      float inner[2][4] = {};  // S D^T, of which the diagonal is wanted
#pragma unroll
      for (int v = 0; v < kValue; v += 16) {
        const uint4 s4 = ptx::load_shared_uint4(states + (v * 2 + lane) * 16),
                    d4 = ptx::load_shared_uint4(states + kPart + (v * 2 + lane) * 16);
        const uint32_t s[4] = {s4.x, s4.y, s4.z, s4.w}, d[4] = {d4.x, d4.y, d4.z, d4.w};
        ptx::mma<T>(inner[0], s, d[0], d[2]);
        ptx::mma<T>(inner[1], s, d[1], d[3]);
#pragma unroll
        for (int n = 0; n < kChunk; n += 16) {
          uint32_t y[4];
          load_b(y, outputs + v / 64 * (kChunk * 128), at, v % 64, n);
          multiply<T>(spans.dq[n / 8], spans.dq[n / 8 + 1], s, y);
          load_b(y, values + v / 64 * (kChunk * 128), at, v % 64, n);
          multiply<T>(spans.dk[n / 8], spans.dk[n / 8 + 1], d, y);
        }
      }
      ptx::copies_wait<0>();
      __syncwarp();
      input.cumulate(lane);
      __syncwarp();
      spans.load(input);
      __syncwarp();  // all is in registers
      if (e + 1 < a.expansion)
        fetch(h, e + 1);
      else if (h + 1 < (qk_head + 1) * group)
        fetch(h + 1, 0);

      const float2 end = spans.gamma_of(7, 1, 3);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* const row = inner[half] + 2 * half;  // channel 2 r + half by columns 2 c, 2 c + 1
        float sum = __shfl_sync(~0u, spans.r % 2 ? row[1] : row[0], (lane & ~3) + spans.r / 2);
        sum *= ptx::exp2_fast(half ? end.y : end.x);
#pragma unroll
        for (int n = 0; n < 8; ++n) spans.dg[n][2 * half] = spans.dg[n][2 * half + 1] = sum;
      }
      spans.decay_ends(a.scale);
      spans.add_far();
      spans.add_middle();
      spans.add_near();

      // Token by token, two channels: row(place, x, y) of dq and dk. The places are stepped along, and hidden
      // from the compiler, which would compute each anew.
      const auto leave = [&](auto&& row) {
        const int64_t stride = int64_t{a.qk_heads} * a.expansion * kKey,
                      gate_stride = int64_t{a.heads} * a.expansion * kKey;
        int64_t to =
            key_row(a, chunk.first, qk_head, e) * kKey + channel + 2 * spans.r + 2 * spans.c * stride;
        float* to_gate = a.dg + ((chunk.first * a.heads + h) * a.expansion + e) * kKey + channel +
                         2 * spans.r + 2 * spans.c * gate_stride;
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            asm volatile("" : "+l"(to), "+l"(to_gate));
            if (8 * n + 2 * spans.c + i < chunk.count) {
              ptx::store_global(to_gate, spans.dg[n][i], spans.dg[n][2 + i]);
              row(to, float2{spans.dq[n][i], spans.dq[n][2 + i]}, float2{spans.dk[n][i], spans.dk[n][2 + i]});
            }
            to += (i ? 7 : 1) * stride, to_gate += (i ? 7 : 1) * gate_stride;
          }
      };
      const auto store = [](void* out, int64_t at_row, const float2& x) {
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(out) + at_row) = ptx::pack<T>(x.x, x.y);
      };
      if (group == 1) {
        leave([&](int64_t at_row, const float2& x, const float2& y) {
          store(a.dq, at_row, x), store(a.dk, at_row, y);
        });
      } else {  // the sums over heads so far wait in device memory
        const bool first = h == qk_head * group, last = h + 1 == (qk_head + 1) * group;
        const auto add = [&](void* out, float* so_far, int64_t at_row, float2 x) {
          float2& sum = *reinterpret_cast<float2*>(so_far + at_row);
          if (!first) x.x += sum.x, x.y += sum.y;
          if (last)
            store(out, at_row, x);
          else
            sum = x;
        };
        leave([&](int64_t at_row, const float2& x, const float2& y) {
          add(a.dq, p.s.dq, at_row, x), add(a.dk, p.s.dk, at_row, y);
        });
      }
    }
  }
}

}  // namespace statescope::cuda::multipass
