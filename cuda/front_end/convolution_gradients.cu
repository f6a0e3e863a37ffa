// The convolution's part of the front end's gradients (gradients.cu) in 16 bits, K of 128 or 256:
//   s_t = sum_i c_i y_{t - 3 + i},  z = SiLU(s),  ds = r (dout - r^2 z <z, dout>) SiLU'(s),  r = (|z|^2 +
//   eps)^-1/2 dy_t = sum_i c_i ds_{t + 3 - i},             dc_i = sum_t ds_t y_{t - 3 + i}
// y and dout are read once and dy is written: 1.6 GB at B 4, T 4096, H 8, E 8, both sides, 0.38 ms at the
// copy rate; about 130 instructions a warp and row of 128 channels are 0.3 ms of issue slots, so the two
// matter alike.
//
// A warp walks its share of a range four tokens at a time; a lane has four consecutive channels of each 128
// (8 bytes a load). The three tokens before stay in registers, of y and of ds both, so nothing is staged; a
// share's last dy needs ds of three tokens more, which the next warp makes again. Sums over a row of four
// tokens are taken together. 256 threads at 128 registers: two blocks a multiprocessor keep 32 KiB of loads
// under way.
#include <statescope/problem.h>

#include "cuda/front_end/gradients.h"
#include "cuda/front_end/rows.cuh"
#include "cuda/front_end/sequence.cuh"

namespace statescope::cuda::front_end {
namespace {

constexpr int kThreads = kGradientThreads, kWarps = kThreads / 32;

/// Four consecutive channels in float32; nothing where `there` is false.
template <class T>
__device__ void read_four(const T* from, bool there, float (&to)[4]) {
  const uint2 raw = there ? __ldg(reinterpret_cast<const uint2*>(from)) : uint2{};
  const float2 low = ptx::unpack<T>(raw.x), high = ptx::unpack<T>(raw.y);
  to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
}

template <class T, int kQuads, bool kPacked>
__global__ void __launch_bounds__(kThreads, kQuads == 1 ? 2 : 1)
    convolution_gradients(const __grid_constant__ GradientParameters p) {
  constexpr int kDim = 128 * kQuads;
  __shared__ float4 parts[kThreads];
  const int subkey = blockIdx.x, side = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int a_row = p.ranges / p.rows, row = blockIdx.y / a_row,
            begin = blockIdx.y % a_row * p.tokens_per_range;
  const int count = min(p.tokens_per_range, p.seq_len - begin), share = (count + kWarps - 1) / kWarps;
  const int first = begin + min(warp * share, count), last = begin + min((warp + 1) * share, count);
  const std::int64_t stride = std::int64_t(p.qk_heads) * p.expansion * kDim;
  const std::int64_t origin = row * p.seq_len * stride + std::int64_t(subkey) * kDim + 4 * lane;
  const T* const y_from = static_cast<const T*>(p.y[side]) + origin;
  const T* const dout_from = static_cast<const T*>(p.dout[side]) + origin;
  T* const dy_to = static_cast<T*>(p.dy[side]) + origin;

  float taps[kQuads][4][4], dtaps[kQuads][4][4] = {};
  float y[kQuads][7][4], ds[kQuads][7][4] = {};  // tokens t - 3 .. t + 3
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    load_taps(static_cast<const T*>(p.taps[side]) + (std::int64_t(subkey) * kDim + 128 * q + 4 * lane) * 4,
              taps[q]);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const int t = first - 3 + i;
      read_four(y_from + t * stride + 128 * q, t >= 0 && first < last, y[q][i]);
    }
  }
  for (int t = first; t < last + 3 && first < last; t += 4) {
    float z[kQuads][4][4], slope[kQuads][4][4], squares[4] = {}, along[4] = {};
    int before = 3;  // tokens of its sequence before token t - 3 + lane, at most three
    if constexpr (kPacked) {
      const int token = min(max(t - 3 + min(lane, 6), 0), p.seq_len - 1);
      before = min(3, tokens_before(p.cu_seqlens, p.sequences, token));
    }
    const auto known = [&](int i) { return kPacked ? __shfl_sync(~0u, before, i) : 3; };
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const bool there = t + n < p.seq_len;
        read_four(y_from + (t + n) * stride + 128 * q, there, y[q][3 + n]);
        read_four(dout_from + (t + n) * stride + 128 * q, there, ds[q][3 + n]);
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int reach = known(3 + n);
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float sum = taps[q][c][3] * y[q][n + 3][c];
#pragma unroll
          for (int i = 0; i < 3; ++i) sum += reach >= 3 - i ? taps[q][c][i] * y[q][n + i][c] : 0.0f;
          const float s = fast_sigmoid(sum);
          z[q][n][c] = sum * s;
          slope[q][n][c] = s + z[q][n][c] * (1 - s);
          squares[n] += z[q][n][c] * z[q][n][c];
          along[n] += z[q][n][c] * ds[q][n + 3][c];
        }
      }
    }
    float r = 1, pull = 0;
    if (p.norm) {
      r = rsqrtf(sum_of_four(squares, lane) + kNormEpsilon);
      pull = r * r * r * sum_of_four(along, lane);
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float my_r = __shfl_sync(~0u, r, 8 * n);
      const float my_pull = __shfl_sync(~0u, pull, 8 * n);
      const int reach = known(3 + n);
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float& d = ds[q][n + 3][c];
          d = (my_r * d - my_pull * z[q][n][c]) * slope[q][n][c];
          if (t + n < last) {
#pragma unroll
            for (int i = 0; i < 4; ++i) dtaps[q][c][i] += reach >= 3 - i ? d * y[q][n + i][c] : 0.0f;
          }
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {  // token t - 3 + n: every ds that reaches back to it is there
      const int done = t - 3 + n;
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
        float sum[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) sum[c] = taps[q][c][3] * ds[q][n][c];
#pragma unroll
        for (int i = 1; i < 4; ++i) {
          const bool same = known(n + i) >= i;
#pragma unroll
          for (int c = 0; c < 4; ++c) sum[c] += same ? taps[q][c][3 - i] * ds[q][n + i][c] : 0.0f;
        }
        if (done >= first && done < last)
          *reinterpret_cast<uint2*>(dy_to + done * stride + 128 * q) = {ptx::pack<T>(sum[0], sum[1]),
                                                                        ptx::pack<T>(sum[2], sum[3])};
      }
    }
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
#pragma unroll
      for (int i = 0; i < 3; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) y[q][i][c] = y[q][i + 4][c], ds[q][i][c] = ds[q][i + 4][c];
      }
    }
  }

  float* const part =
      p.dtaps_parts + ((std::int64_t(blockIdx.y) * 2 + side) * p.qk_heads * p.expansion + subkey) * kDim * 4;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      parts[threadIdx.x] = {dtaps[q][c][0], dtaps[q][c][1], dtaps[q][c][2], dtaps[q][c][3]};
      __syncthreads();
      if (warp == 0) {
        float4 sum{};
        for (int w = 0; w < kWarps; ++w) {
          const float4 x = parts[w * 32 + lane];
          sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
        }
        reinterpret_cast<float4*>(part)[128 * q + 4 * lane + c] = sum;
      }
      __syncthreads();
    }
  }
}

template <class T>
const void* kernel_of(int key_dim, bool packed) {
  if (key_dim == 128) {
    return packed ? reinterpret_cast<const void*>(&convolution_gradients<T, 1, true>)
                  : reinterpret_cast<const void*>(&convolution_gradients<T, 1, false>);
  }
  return packed ? reinterpret_cast<const void*>(&convolution_gradients<T, 2, true>)
                : reinterpret_cast<const void*>(&convolution_gradients<T, 2, false>);
}

}  // namespace

const void* convolution_rows_kernel(DType type, int key_dim, bool packed) {
  return type == DType::kBf16 ? kernel_of<__nv_bfloat16>(key_dim, packed)
                              : kernel_of<__half>(key_dim, packed);
}

}  // namespace statescope::cuda::front_end
