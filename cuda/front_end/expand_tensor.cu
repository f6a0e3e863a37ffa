// The front end (problem.h) on Hopper's tensor cores, K = 128, 16-bit: y = SiLU(x) W, a causal convolution of
// width 4, SiLU, and unit rows for gated_delta. SiLU(x) is a kernel of its own: every subkey of a head needs
// it.
//
// A block is two warpgroups that share W of one subkey, each with a range of tokens. A tile is 72 tokens. The
// product is transposed, Y^T = W^T SiLU(X)^T: its rows are channels, its columns tokens in such an order that
// a thread holds 18 tokens side by side of each of four channels:
//   column 8 j + 2 i + b of the product, in lanes 4 g + i, is token 18 i + 2 j + b of the tile
//   row g (+ 8) of warp w in half m of the channels is channel 64 m + 16 w + g (+ 8)
// So the convolution takes three tokens a channel from the lane before and all else from its own registers,
// in place. Squares are summed over a thread's channels, rounded to bf16 (32 of them make a length, so that
// one's rounding does not matter) and added up by a product with ones. What bounds the kernel is about ten
// issue slots a value, so four warpgroups share a multiprocessor: one multiplies while others convolve.
#include <statescope/problem.h>

#include "cuda/front_end/expand_tensor.h"
#include "cuda/front_end/history.cuh"
#include "cuda/front_end/product.cuh"
#include "cuda/front_end/rows.cuh"
#include "cuda/front_end/sequence.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kDim = kTensorDim, kTile = kTensorTokens, kRun = kTensorRun, kPairs = kTile / 8;
constexpr uint32_t kPanel = TensorShared::kTile / 2;  // bytes of 64 columns
constexpr uint32_t kOnes = 0x3f803f80;                // two of bf16

/// What is computed from x is then computed anew for each tile and takes no registers in between.
__device__ __forceinline__ void keep_out_of_loops(int& x) {
  asm volatile("" : "+r"(x));
}

__device__ float inverse_root(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Y of a tile, this thread's share: [half of the channels][4 j + 2 h + b], h: the channel 8 further.
using Tile = float[2][kTile / 2];

/// Token kRun - 3 + i of this lane's run, channel r of its four (r = 2 half + h).
__device__ __forceinline__ float last_of(const Tile& y, int r, int i) {
  return y[r / 2][4 * ((kRun - 3 + i) / 2) + r % 2 * 2 + (kRun - 3 + i) % 2];
}

/// The warpgroup that a thread belongs to.
struct Group {
  const ExpandParameters& p;
  const int side, subkey, row;  // of the batch
  const int index, warp, lane, thread;
  const uint32_t out, taps;  // shared memory

  /// Numbers that the compiler knows: it then reserves three barriers of the multiprocessor, not all.
  __device__ void meet() const { index == 0 ? ptx::named_barrier(1, 128) : ptx::named_barrier(2, 128); }
  __device__ int channel(int half, int h) const { return 64 * half + 16 * warp + lane / 4 + 8 * h; }
  /// Where 16 bytes of a token's row lie in the tile that leaves.
  __device__ uint32_t piece_at(uint32_t token, uint32_t piece) const {
    return out + piece / 8 * kPanel + token * 128 + ((piece % 8 ^ token % 8) << 4);
  }
};

/// Puts the tile in 16 bits into shared memory, token 2 j + b of this lane's run times factors(j).
template <class T, class Factors>
__device__ __forceinline__ void put(const Group& g, const Tile& y, Factors factors) {
  int row = g.lane % 8;
  keep_out_of_loops(row);
  const uint32_t token = kRun * (row / 2) + row % 2;
  const uint32_t piece = 8 * (g.lane / 16) + 2 * g.warp + g.lane / 8 % 2;
  uint32_t to[4];  // rows 8 tokens apart lie in the same banks
#pragma unroll
  for (int j = 0; j < 4; ++j) to[j] = g.piece_at(token + 2 * j, piece);
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const float2 f = factors(j);
    uint32_t v[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float* const pair = &y[n / 2][4 * j + n % 2 * 2];
      v[n] = ptx::pack<T>(pair[0] * f.x, pair[1] * f.y);
    }
    ptx::store_matrix_x4_transposed(to[j % 4] + j / 4 * 1024, v[0], v[1], v[2], v[3]);
  }
}

/// Leaves y of the last three tokens of a sequence behind it, from the tile in shared memory.
__device__ void keep_after(const Group& g, int begin, int last) {
  for (int i = g.thread / 16; i < kTile && begin + i < last; i += 8) {
    int sequence = g.row, end = g.p.seq_len;
    if (g.p.cu_seqlens) {
      sequence = standing_of(g.p.cu_seqlens, g.p.sequences, begin + i).sequence;
      end = g.p.cu_seqlens[sequence + 1];
    }
    const int behind = end - 1 - (begin + i), piece = g.thread % 16;
    if (behind >= 3) continue;
    *reinterpret_cast<uint4*>(static_cast<std::uint16_t*>(g.p.after[g.side]) +
                              history_at(g.p, sequence, 2 - behind, g.subkey) + 8 * piece) =
        ptx::load_shared_uint4(g.piece_at(i, piece));
  }
}

/// Of packed sequences: puts into the tile in shared memory what the histories add to the sums of tokens that
/// have fewer than three of their sequence before them.
template <class T>
__device__ void add_histories(const Group& g, int begin, int last) {
  for (int i = g.thread / 16; i < kTile && begin + i < last; i += 8) {
    const Standing at = standing_of(g.p.cu_seqlens, g.p.sequences, begin + i);
    if (at.before >= 3) continue;
    const int piece = g.thread % 16;
    float sums[8] = {};
    for (int token = at.before; token < 3; ++token) {
      for (int c = 0; c < 8; ++c) {
        const int channel = 8 * piece + c;
        sums[c] +=
            __uint_as_float(ptx::load_shared(g.taps + 16 * channel + 4 * (token - at.before))) *
            load1(g.p.history[g.side], history_at(g.p, at.sequence, token, g.subkey) + channel, g.p.dtype);
      }
    }
    const uint32_t to = g.piece_at(i, piece);
    for (int c = 0; c < 8; c += 2) ptx::store_shared(to + 2 * c, ptx::pack<T>(sums[c], sums[c + 1]));
  }
}

/// Bit u + 2 says that token u of this lane's run starts a packed sequence, u from -2.
__device__ uint32_t starts_of(const ExpandParameters& p, int run) {
  uint32_t starts = 0;
  const int from = run - 2, to = min(run + kRun, p.seq_len) - 1;
  for (int n = standing_of(p.cu_seqlens, p.sequences, max(to, 0)).sequence; n >= 0; --n) {
    const int u = p.cu_seqlens[n] - from;
    if (u < 0) break;
    if (u < kRun + 2) starts |= 1u << u;
  }
  return starts;
}

/// The convolution and SiLU of one channel, in place; `before`: y of the three tokens before the run. With
/// kStarts sequences start where `starts` says, and added(u) is what their histories add.
template <bool kStarts, class Added>
__device__ __forceinline__ void convolve(float (&y)[kTile / 2], int h, const float (&before)[3], float4 taps,
                                         uint32_t starts, Added added) {
#pragma unroll
  for (int u = kRun - 1; u >= 0; --u) {
    const auto at = [&](int t) { return t < 0 ? before[t + 3] : y[4 * (t / 2) + 2 * h + t % 2]; };
    const bool first = kStarts && starts >> (u + 2) & 1, second = kStarts && starts >> (u + 1) & 1,
               third = kStarts && starts >> u & 1;
    float sum = taps.w * at(u);
    sum += taps.z * (first ? 0 : at(u - 1));
    sum += taps.y * (first || second ? 0 : at(u - 2));
    sum += taps.x * (first || second || third ? 0 : at(u - 3));
    if (kStarts && (first || second || third)) sum += added(u);
    y[4 * (u / 2) + 2 * h + u % 2] = sum + sum * fast_tanh(sum);  // taps are halved
  }
}

/// kKeeps: y may be stored, or histories; packed sequences may do so always.
template <class T, bool kNorm, bool kPacked, bool kKeeps>
__global__ void __launch_bounds__(kTensorThreads, kTensorBlocks)
    expand(const __grid_constant__ ExpandTensorParameters maps) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = ptx::shared_address(memory);
  if (base % 1024 != 0) __trap();
  const ExpandParameters& p = maps.plain;
  const int subkey = blockIdx.x, side = blockIdx.z, head = subkey / p.expansion;
  const int index = __shfl_sync(~0u, threadIdx.x / 128, 0);
  const int ranges = (p.seq_len + p.tokens_per_block - 1) / p.tokens_per_block;
  const int range = blockIdx.y * kTensorGroups + index;
  const Group g{p,
                side,
                subkey,
                range / ranges,
                index,
                static_cast<int>(__shfl_sync(~0u, threadIdx.x % 128 / 32, 0)),
                static_cast<int>(threadIdx.x % 32),
                static_cast<int>(threadIdx.x % 128),
                base + TensorShared::out + index * TensorShared::kTile,
                base + TensorShared::taps};
  const uint32_t input = base + TensorShared::input + index * TensorShared::kTile;
  const uint32_t lengths = base + TensorShared::lengths + index * TensorShared::kLengths;
  const uint32_t weight_full = base + TensorShared::weight_full,
                 input_full = base + TensorShared::input_full + 8 * index;

  if (threadIdx.x == 0) {
    ptx::barrier_init(weight_full, 1);
    for (int i = 0; i < kTensorGroups; ++i) ptx::barrier_init(base + TensorShared::input_full + 8 * i, 1);
    ptx::barrier_init_fence();
  }
  if (threadIdx.x < kDim) {
    const uint2 raw = __ldg(reinterpret_cast<const uint2*>(static_cast<const T*>(p.taps[side]) +
                                                           (std::int64_t(subkey) * kDim + threadIdx.x) * 4));
    const float2 low = ptx::unpack<T>(raw.x), high = ptx::unpack<T>(raw.y);
    ptx::store_shared(g.taps + 16 * threadIdx.x,
                      float4{0.5f * low.x, 0.5f * low.y, 0.5f * high.x, 0.5f * high.y});
  }
  if (kKeeps && p.after[side] && blockIdx.y == 0) keep_histories(p, side, subkey);
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::barrier_arrive_expect(weight_full, kDim * kDim * 2);
    ptx::copy_tile_5d(base, &maps.weight[side], weight_full, 0, 0, 0, subkey % p.expansion, head);
  }
  if (g.row >= maps.rows) return;

  const int first = range % ranges * p.tokens_per_block, last = min(first + p.tokens_per_block, p.seq_len);
  const auto load = [&](int begin) {
    const int at = static_cast<int>(((g.row * std::int64_t(p.seq_len) + begin) * p.qk_heads + head) * 2);
    ptx::barrier_arrive_expect(input_full, TensorShared::kTile);
    ptx::copy_tile_5d(input, &maps.input[side], input_full, 0, 0, 0, 0, at);
    ptx::copy_tile_5d(input + kPanel, &maps.input[side], input_full, 0, 0, 0, 0, at + 1);
  };
  // A range that does not begin with its row takes the y before it from a tile that writes nothing.
  const int start = first == 0 ? 0 : first - kTile;
  if (g.thread == 0) load(start);
  float before[4][3];  // y of the three tokens before a tile, in lanes 4 g + 3; [2 half + h]
#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      before[r][i] =
          !kPacked && first == 0 && p.history[side]
              ? load1(p.history[side], history_at(p, g.row, i, subkey) + g.channel(r / 2, r % 2), p.dtype)
              : 0;
    }
  }
  const uint64_t a = ptx::operand(base, 0, 1024), b = ptx::operand(input, 0, 1024);
  ptx::barrier_wait(weight_full, 0);

  for (int begin = start, parity = 0; begin < last; begin += kTile, parity ^= 1) {
    Tile y;
    ptx::barrier_wait(input_full, parity);
    ptx::wgmma_fence();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        ptx::wgmma_n72_shared<T>(y[half], a + half * (kDim * 128 / 16) + k * (16 * 128 / 16),
                                 b + k / 4 * (kPanel / 16) + k % 4 * 2, k > 0);
      }
      ptx::wgmma_commit();
    }
    const auto finish_product = [&] {
      ptx::wgmma_wait<0>();
      ptx::pin(y[1]);
      if (g.thread == 0) ptx::stores_wait_read<0>();  // the tile before has left
      g.meet();
      if (g.thread == 0 && begin + kTile < last) load(begin + kTile);  // arrives while this tile is finished
    };
    ptx::wgmma_wait<1>();
    ptx::pin(y[0]);
    const bool writes = begin >= first;
    constexpr bool kWhole = kKeeps || kPacked;
    // Else the second half of the channels is multiplied while the first is convolved.
    if constexpr (kWhole) finish_product();

    const bool keeps = kKeeps && p.after[side] && (kPacked || begin + kTile > p.seq_len - 3);
    if (kKeeps && writes && (p.y[side] || keeps)) {
      put<T>(g, y, [](int) { return float2{1, 1}; });
      ptx::fence_async_proxy();
      g.meet();
      if (p.y[side] && g.thread == 0) {
        ptx::store_tile_5d(&maps.y[side], g.out, 0, begin, 0, subkey, g.row);
        ptx::stores_commit();
      }
      if (keeps) keep_after(g, begin, last);
      if (p.y[side] && g.thread == 0) ptx::stores_wait_read<0>();
      g.meet();
    }

    uint32_t starts = 0;
    bool any = false, adds = false;
    if constexpr (kPacked) {
      starts = starts_of(p, begin + kRun * (g.lane % 4));
      any = __any_sync(~0u, starts != 0);  // the same in all four warps
      adds = any && writes && p.history[side];
      if (adds) {
        add_histories<T>(g, begin, last);
        g.meet();
      }
    }
    if (!writes) {
      if constexpr (!kWhole) finish_product();
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int i = 0; i < 3; ++i) before[r][i] = last_of(y, r, i);
      }
      continue;
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      if constexpr (!kWhole) {
        if (r == 2) finish_product();
      }
      const int channel = g.channel(r / 2, r % 2);
      const float4 taps = ptx::load_shared_float4(g.taps + 16 * channel);
      float run_before[3];
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        const float mine = last_of(y, r, i);
        run_before[i] =
            __shfl_sync(~0u, g.lane % 4 == 3 ? before[r][i] : mine, (g.lane & 28) + (g.lane + 3) % 4);
        before[r][i] = mine;
      }
      if (kPacked && any) {
        convolve<true>(y[r / 2], r % 2, run_before, taps, starts, [&](int u) {
          if (!adds) return 0.0f;
          const uint32_t at = g.piece_at(kRun * (g.lane % 4) + u, channel / 8) + channel % 8 * 2;
          const float2 pair = ptx::unpack<T>(ptx::load_shared(at & ~3u));
          return channel % 2 ? pair.y : pair.x;
        });
      } else {
        convolve<false>(y[r / 2], r % 2, run_before, taps, 0, [](int) { return 0.0f; });
      }
    }
    if (adds) g.meet();

    if constexpr (kNorm) {  // [32 threads of a token][kTile tokens] in bf16
      const uint32_t squares = g.out + (8 * g.warp + g.lane / 4) * (2 * kTile) + g.lane % 4 * (2 * kRun);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        float sums[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float z0 = y[0][4 * j + i], z1 = y[0][4 * j + 2 + i], z2 = y[1][4 * j + i],
                      z3 = y[1][4 * j + 2 + i];
          sums[i] = z0 * z0 + z1 * z1 + z2 * z2 + z3 * z3;
        }
        ptx::store_shared(squares + 4 * j, ptx::pack<__nv_bfloat16>(sums[0], sums[1]));
      }
      g.meet();
      // Tokens 8 n and on; warp 0 has the copy engine to look after.
      constexpr int kRounds = (kPairs + 3) / 4;
      int first_eight = 3 - g.warp;
      keep_out_of_loops(first_eight);
      uint32_t squared[kRounds][4];
#pragma unroll
      for (int i = 0; i < kRounds; ++i) {
        const int n = min(first_eight + 4 * i, kPairs - 1);
        ptx::load_matrix_x4_transposed(squared[i], g.out + g.lane * (2 * kTile) + 16 * n);
      }
      const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
#pragma unroll
      for (int i = 0; i < kRounds; ++i) {
        const int n = first_eight + 4 * i, token = 8 * n + 2 * g.lane;
        if (n >= kPairs) break;
        float sum[4] = {kNormEpsilon, kNormEpsilon, kNormEpsilon, kNormEpsilon};
        ptx::mma_bf16(sum, ones, squared[i][0], squared[i][1]);
        ptx::mma_bf16(sum, ones, squared[i][2], squared[i][3]);
        if (g.lane < 4) {
          ptx::store_shared(lengths + 4 * (token + token / kRun * 2),
                            float2{inverse_root(sum[0]), inverse_root(sum[1])});
        }
      }
      g.meet();
      const uint32_t from = lengths + g.lane % 4 * (4 * (kRun + 2));
      float factors[kRun + 2];
#pragma unroll
      for (int u = 0; u < kRun; u += 4) {
        const float4 four = ptx::load_shared_float4(from + 4 * u);  // two at the end are nobody's
        factors[u] = four.x, factors[u + 1] = four.y, factors[u + 2] = four.z, factors[u + 3] = four.w;
      }
      put<T>(g, y, [&](int j) { return float2{factors[2 * j], factors[2 * j + 1]}; });
    } else {
      put<T>(g, y, [](int) { return float2{1, 1}; });
    }
    ptx::fence_async_proxy();
    g.meet();
    if (g.thread == 0) {
      ptx::store_tile_5d(&maps.out[side], g.out, 0, begin, 0, subkey, g.row);
      ptx::stores_commit();
    }
  }
  if (g.thread == 0) ptx::stores_wait_read<0>();
}

template <class T, bool kNorm>
const void* expand_of(bool packed, bool keeps) {
  if (packed) return reinterpret_cast<const void*>(&expand<T, kNorm, true, true>);
  return keeps ? reinterpret_cast<const void*>(&expand<T, kNorm, false, true>)
               : reinterpret_cast<const void*>(&expand<T, kNorm, false, false>);
}
template <class T>
const void* expand_of(bool norm, bool packed, bool keeps) {
  return norm ? expand_of<T, true>(packed, keeps) : expand_of<T, false>(packed, keeps);
}

}  // namespace

const void* expand_tensor_kernel(DType type, bool norm, bool packed, bool keeps) {
  return type == DType::kBf16 ? expand_of<__nv_bfloat16>(norm, packed, keeps)
                              : expand_of<__half>(norm, packed, keeps);
}

}  // namespace statescope::cuda::front_end
