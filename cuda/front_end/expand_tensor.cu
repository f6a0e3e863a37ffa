// The front end (problem.h) on Hopper's tensor cores, K = 128, 16-bit: y = SiLU(x) W, a causal convolution of
// width 4, SiLU, and unit rows for gated_delta. SiLU(x) is a kernel of its own: every subkey of a head needs
// it.
//
// A block is one warpgroup and owns a range of tokens of one subkey. W stays in shared memory (32 KiB). A
// tile is 64 tokens, the rows of a warpgroup product: x goes from global memory straight into the product's
// registers (a thread's 16 bytes are 8 columns, so the rows of W are stored in the order in which the product
// then meets them), y through shared memory (float32, 36 KiB) to a layout in which a warp owns 16 tokens and
// a lane four channels. Blocks take 68 KiB, so three share a multiprocessor: one multiplies while the others
// convolve. What bounds it is issue slots, about 50 a token and warp; hence tanh in place of e^x and a
// division.
#include <statescope/problem.h>

#include "cuda/chunked/ptx.cuh"
#include "cuda/front_end/expand.h"
#include "cuda/front_end/history.cuh"
#include "cuda/front_end/rows.cuh"
#include "cuda/front_end/sequence.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kDim = kTensorDim, kTile = kTensorTokens, kPitch = kTensorPitch;

/// The row of the stored W that row k of W is: step s of the product reads rows 16 s .. 16 s + 15, where the
/// thread that holds columns 8 j .. 8 j + 7 of x expects its own in slots 2 j, 2 j + 1, 2 j + 8, 2 j + 9.
__device__ int stored_row(int k) {
  const int j = k % 32 / 8, m = k % 8;
  return 16 * (2 * (k / 32) + m / 4) + 2 * j + m % 4 / 2 * 8 + m % 2;
}

template <class T>
__device__ void store_weight(const T* weight, int stride, uint32_t at) {
  for (int i = threadIdx.x; i < kDim * kDim / 8; i += kTensorThreads) {
    const int k = i / 16, piece = i % 16, row = stored_row(k);
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(weight + std::int64_t(k) * stride + 8 * piece));
    const uint32_t to = at + piece / 8 * (kTensorWeightBytes / 2) + row * 128 + ((piece % 8 ^ row % 8) << 4);
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
  }
}

/// This lane's four channels of a history token.
template <class T>
__device__ float4 history_of(const ExpandParameters& p, int side, int subkey, int sequence, int token) {
  const uint2 raw =
      __ldg(reinterpret_cast<const uint2*>(static_cast<const T*>(p.history[side]) +
                                           history_at(p, sequence, token, subkey) + threadIdx.x % 32 * 4));
  const float2 low = ptx::unpack<T>(raw.x), high = ptx::unpack<T>(raw.y);
  return {low.x, low.y, high.x, high.y};
}

template <class T, bool kNorm, bool kPacked>
__global__ void __launch_bounds__(kTensorThreads, kTensorBlocks)
    expand(const __grid_constant__ ExpandParameters p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = ptx::shared_address(memory);
  float* const y = reinterpret_cast<float*>(memory + kTensorWeightBytes);  // [3 + kTile][kPitch]
  const int subkey = blockIdx.x, side = blockIdx.z;
  const int head = subkey / p.expansion, e = subkey % p.expansion;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int ranges = (p.seq_len + p.tokens_per_block - 1) / p.tokens_per_block;
  const int batch_row = blockIdx.y / ranges;
  const std::int64_t row = batch_row * std::int64_t(p.seq_len);
  const int first = blockIdx.y % ranges * p.tokens_per_block;
  const int last = min(first + p.tokens_per_block, p.seq_len);

  const int stride = p.expansion * kDim;
  store_weight(static_cast<const T*>(p.weight[side]) + std::int64_t(head) * kDim * stride + e * kDim, stride,
               base);
  if (p.after[side] && blockIdx.y == 0) keep_histories(p, side, subkey);
  if (!kPacked && first == 0 && p.history[side]) {
    if (warp < 3) {
      *reinterpret_cast<float4*>(y + warp * kPitch + 4 * lane) =
          history_of<T>(p, side, subkey, batch_row, warp);
    }
  } else {
    for (int i = threadIdx.x; i < 3 * kPitch; i += kTensorThreads) y[i] = 0;
  }
  ptx::fence_async_proxy();
  float taps[4][4];  // of this lane's channels
  load_taps(static_cast<const T*>(p.taps[side]) + (std::int64_t(subkey) * kDim + 4 * lane) * 4, taps);
  __syncthreads();

  const T* const x = static_cast<const T*>(p.x[side]) + std::int64_t(head) * kDim + lane % 4 * 8;
  const std::int64_t x_stride = std::int64_t(p.qk_heads) * kDim;
  const auto load = [&](int begin, uint4(&raw)[8]) {  // rows lane / 4 and 8 more, 32 columns apart
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = begin + 16 * warp + lane / 4 + 8 * half;
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        raw[4 * half + u] = t < p.seq_len
                                ? __ldg(reinterpret_cast<const uint4*>(x + (row + t) * x_stride + 32 * u))
                                : uint4{};
      }
    }
  };

  // A range that does not begin with its row takes the y before it from a tile that writes nothing.
  const int start = first == 0 ? 0 : first - kTile;
  uint4 raw[8];
  load(start, raw);
  const uint64_t weight = ptx::operand(base, kTensorWeightBytes / 2, 1024);
  for (int begin = start; begin < last; begin += kTile) {
    float product[64];
    uint32_t a[32];
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const uint4 top = raw[u], low = raw[4 + u];
      a[8 * u + 0] = top.x, a[8 * u + 1] = low.x, a[8 * u + 2] = top.y, a[8 * u + 3] = low.y;
      a[8 * u + 4] = top.z, a[8 * u + 5] = low.z, a[8 * u + 6] = top.w, a[8 * u + 7] = low.w;
    }
    ptx::pin(a);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
      ptx::wgmma_n128<T>(product, &a[4 * k], weight + k * (2048 / 16), k > 0);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::pin(product);
    if (begin + kTile < last) load(begin + kTile, raw);  // arrives while this tile is finished
    if (warp == 3 && begin > start) {                    // the last three rows are this warp's
      for (int i = lane; i < 3 * kPitch; i += 32) y[i] = y[kTile * kPitch + i];
      __syncwarp();
    }
    {
      float* const to = y + (3 + 16 * warp + lane / 4) * kPitch + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        *reinterpret_cast<float2*>(to + 8 * j) = {product[4 * j], product[4 * j + 1]};
        *reinterpret_cast<float2*>(to + 8 * kPitch + 8 * j) = {product[4 * j + 2], product[4 * j + 3]};
      }
    }
    __syncthreads();
    const int my_first = begin + 16 * warp;
    if (begin >= first && my_first < last) {
      Standing at{batch_row, 3};  // of token my_first + lane % 16; three before are enough
      int end = p.seq_len;        // of its sequence
      if constexpr (kPacked) {
        at = standing_of(p.cu_seqlens, p.sequences, min(my_first + lane % 16, last - 1));
        end = p.cu_seqlens[at.sequence + 1];
      }
      const float* from = y + 16 * warp * kPitch + 4 * lane;
      const auto read = [&](int i) { return *reinterpret_cast<const float4*>(from + i * kPitch); };
      float4 window[4] = {read(0), read(1), read(2), {}};
      const std::int64_t out_stride = std::int64_t(p.qk_heads) * p.expansion * kDim;
      const std::int64_t to = (row + my_first) * out_stride + subkey * kDim + 4 * lane;
      T* out = static_cast<T*>(p.out[side]) + to;
      if (p.y[side]) {
        T* const y_out = static_cast<T*>(p.y[side]) + to;
        for (int i = 0; i < 16 && my_first + i < last; ++i) {
          const float4 v = read(i + 3);
          *reinterpret_cast<uint2*>(y_out + i * out_stride) = {ptx::pack<T>(v.x, v.y),
                                                               ptx::pack<T>(v.z, v.w)};
        }
      }
      if (p.after[side]) {
        for (int i = 0; i < 16 && my_first + i < last; ++i) {
          const int behind = __shfl_sync(~0u, end, i) - 1 - (my_first + i);
          const int sequence = __shfl_sync(~0u, at.sequence, i);
          if (behind >= 3) continue;
          const float4 v = read(i + 3);
          *reinterpret_cast<uint2*>(static_cast<T*>(p.after[side]) +
                                    history_at(p, sequence, 2 - behind, subkey) +
                                    4 * lane) = {ptx::pack<T>(v.x, v.y), ptx::pack<T>(v.z, v.w)};
        }
      }
#pragma unroll 1
      for (int i = 0; i < 16; i += 4) {
        float z[4][4], squares[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          window[(n + 3) % 4] = read(i + n + 3);
          const int known = kPacked ? __shfl_sync(~0u, at.before, i + n) : 3;
          float sum[4] = {};
#pragma unroll
          for (int tap = 0; tap < 4; ++tap) {
            const float4 w = window[(n + tap) % 4];
            const bool there = !kPacked || known >= 3 - tap;
#pragma unroll
            for (int c = 0; c < 4; ++c) {
              const float value = c == 0 ? w.x : c == 1 ? w.y : c == 2 ? w.z : w.w;
              sum[c] += taps[c][tap] * (there ? value : 0);
            }
          }
          if (kPacked && known < 3 && p.history[side]) {
            const int sequence = __shfl_sync(~0u, at.sequence, i + n);
            for (int token = known; token < 3; ++token) {  // of the history, at tap token - known
              const float4 w = history_of<T>(p, side, subkey, sequence, token);
#pragma unroll
              for (int c = 0; c < 4; ++c) {
                const float value = c == 0 ? w.x : c == 1 ? w.y : c == 2 ? w.z : w.w;
                const int tap = token - known;
                sum[c] += (tap == 0 ? taps[c][0] : tap == 1 ? taps[c][1] : taps[c][2]) * value;
              }
            }
          }
          squares[n] = 0;
#pragma unroll
          for (int c = 0; c < 4; ++c) z[n][c] = fast_silu(sum[c]), squares[n] += z[n][c] * z[n][c];
        }
        float inverse = 1;
        if constexpr (kNorm) inverse = rsqrtf(sum_of_four(squares, lane) + kNormEpsilon);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const float factor = kNorm ? __shfl_sync(~0u, inverse, 8 * n) : 1.0f;
          if (my_first + i + n < last) {
            *reinterpret_cast<uint2*>(out) = {ptx::pack<T>(z[n][0] * factor, z[n][1] * factor),
                                              ptx::pack<T>(z[n][2] * factor, z[n][3] * factor)};
          }
          out += out_stride;
        }
      }
    }
    __syncthreads();
  }
}

template <class T>
const void* expand_of(bool norm, bool packed) {
  if (norm) {
    return packed ? reinterpret_cast<const void*>(&expand<T, true, true>)
                  : reinterpret_cast<const void*>(&expand<T, true, false>);
  }
  return packed ? reinterpret_cast<const void*>(&expand<T, false, true>)
                : reinterpret_cast<const void*>(&expand<T, false, false>);
}

}  // namespace

const void* expand_tensor_kernel(DType type, bool norm, bool packed) {
  return type == DType::kBf16 ? expand_of<__nv_bfloat16>(norm, packed) : expand_of<__half>(norm, packed);
}

}  // namespace statescope::cuda::front_end
