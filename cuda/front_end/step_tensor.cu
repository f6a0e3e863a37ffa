// The front end (problem.h) of a step on tensor cores, 16-bit, K of 64, 128 or 256: one token of each of N
// rows,
//   y = SiLU(x) W,  z = SiLU(c_0 y_{-3} + c_1 y_{-2} + c_2 y_{-1} + c_3 y),  out = z (|z|^2 + eps)^-1/2,
// and the history y_{-2}, y_{-1}, y for the next. At B 64, H 8, E 16, K 128, both sides: W is 8.4 MB,
// histories 12.6 MB read and as many written, the expanded q and k 4.2 MB: 38 MB beside a state of 537 MB
// read and written (K = V), 3.5 % of what a step moves.
//
// A block owns one subkey and 32 rows. Everything that it reads is asked for before the product: W by
// asynchronous copies, x and the histories in registers. Then its warps share the product, 16 rows by 64
// columns each (32 where K is 64), y goes through shared memory to a layout in which a warp owns rows and a
// lane K / 32 channels, and the histories are where they are needed. Shared memory, bytes: W 2 K^2, SiLU(x)
// 64 K, both panels of 64 columns (tiles.cuh); then, where both were, y in float32, 128 (K + 8): two rows of
// a warp's store start 8 banks apart. 40 KiB and 128 threads of 128 registers at K = 128: four blocks a
// multiprocessor, some of which read while others multiply or write. (64 rows and 256 threads read W once
// less and take as long.)
#include <statescope/problem.h>

#include "cuda/front_end/expand.h"
#include "cuda/front_end/history.cuh"
#include "cuda/front_end/rows.cuh"
#include "cuda/multipass/tiles.cuh"

namespace statescope::cuda::front_end {
namespace {

using namespace multipass;

/// kWords consecutive words that are used once; zeros where `there` is false.
template <int kWords>
__device__ void read_words(const void* from, bool there, uint32_t (&to)[kWords]) {
  if constexpr (kWords == 1) {
    to[0] = there ? __ldcs(static_cast<const uint32_t*>(from)) : 0;
  } else if constexpr (kWords == 2) {
    const uint2 raw = there ? __ldcs(static_cast<const uint2*>(from)) : uint2{};
    to[0] = raw.x, to[1] = raw.y;
  } else {
    const uint4 raw = there ? __ldcs(static_cast<const uint4*>(from)) : uint4{};
    to[0] = raw.x, to[1] = raw.y, to[2] = raw.z, to[3] = raw.w;
  }
}
template <int kWords>
__device__ void write_words(void* to, const uint32_t (&from)[kWords]) {
  if constexpr (kWords == 1) {
    *static_cast<uint32_t*>(to) = from[0];
  } else if constexpr (kWords == 2) {
    *static_cast<uint2*>(to) = {from[0], from[1]};
  } else {
    *static_cast<uint4*>(to) = {from[0], from[1], from[2], from[3]};
  }
}

template <class T, int kDim>
__global__ void __launch_bounds__(step_tensor_threads(kDim),
                                  kDim == 256 ? 1 : 512 / step_tensor_threads(kDim))
    step(const __grid_constant__ ExpandParameters p) {
  constexpr int kThreads = step_tensor_threads(kDim), kWarps = kThreads / 32;
  constexpr int kRows = kStepTensorRows, kPitch = kDim + 8;
  constexpr int kColumns = kDim * (kRows / 16) / kWarps;        // of a warp's product
  constexpr int kChannels = kDim / 32, kWords = kChannels / 2;  // of a lane
  constexpr int kWarpRows = kRows / kWarps;
  constexpr uint32_t kWeightBytes = kDim * kDim * 2;
  static_assert(kRows * kPitch * 4 <= step_tensor_bytes(kDim));
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t weights = ptx::shared_address(memory), input = weights + kWeightBytes;
  float* const y = reinterpret_cast<float*>(memory);  // [kRows][kPitch], after the product
  const int subkey = blockIdx.x, side = blockIdx.z, head = subkey / p.expansion, e = subkey % p.expansion;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = blockIdx.y * kRows, count = min(kRows, p.sequences - first);

  const int64_t stride = int64_t(p.expansion) * kDim;
  copy_rows<kDim, kDim, kThreads>(weights, words(p.weight[side]) + head * kDim * stride + e * kDim, stride,
                                  kDim);
  ptx::copies_commit();
  constexpr int kPieces = kDim / 8, kLoads = kRows * kPieces / kThreads;  // of 16 bytes
  uint32_t x[kLoads][4];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int at = i * kThreads + threadIdx.x, row = at / kPieces, piece = at % kPieces;
    read_words(words(p.x[side]) + (int64_t(first + row) * p.qk_heads + head) * kDim + 8 * piece, row < count,
               x[i]);
  }
  uint32_t history[kWarpRows][3][kWords];
  const auto place_of = [&](int row, int token) {
    return static_cast<uint16_t*>(p.after[side]) + history_at(p, first + row, token, subkey) +
           kChannels * lane;
  };
#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) {
    const int row = warp * kWarpRows + i;
#pragma unroll
    for (int token = 0; token < 3; ++token) read_words(place_of(row, token), row < count, history[i][token]);
  }
  uint32_t raw_taps[kChannels][2];
#pragma unroll
  for (int c = 0; c < kChannels; ++c)
    read_words(words(p.taps[side]) + (int64_t(subkey) * kDim + kChannels * lane + c) * 4, true, raw_taps[c]);

#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int at = i * kThreads + threadIdx.x, row = at / kPieces, piece = at % kPieces;
    uint4 activated;
    uint32_t* const to = &activated.x;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const float2 pair = ptx::unpack<T>(x[i][word]);
      to[word] = ptx::pack<T>(fast_silu(pair.x), fast_silu(pair.y));
    }
    const uint32_t offset = piece / 8 * (kRows * 128) + row * 128 + ((piece % 8 ^ row % 8) << 4);
    *reinterpret_cast<uint4*>(memory + kWeightBytes + offset) = activated;
  }
  ptx::copies_wait<0>();
  __syncthreads();

  const int m = 16 * (warp % (kRows / 16)), n = kColumns * (warp / (kRows / 16));
  const Lane at(lane);
  float sums[kColumns / 8][4] = {};
  if (m < count) {
#pragma unroll 4
    for (int k = 0; k < kDim; k += 16) {
      uint32_t a[4], b[4];
      load_a(a, input + k / 64 * (kRows * 128), at, m, k % 64);
#pragma unroll
      for (int i = 0; i < kColumns / 16; ++i) {
        const int column = n + 16 * i;
        load_b_turned(b, weights + column / 64 * (kDim * 128), at, k, column % 64);
        multiply<T>(sums[2 * i], sums[2 * i + 1], a, b);
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kColumns / 8; ++i) {
    float* const to = y + (m + at.r) * kPitch + n + 8 * i + at.c;
    *reinterpret_cast<float2*>(to) = {sums[i][0], sums[i][1]};
    *reinterpret_cast<float2*>(to + 8 * kPitch) = {sums[i][2], sums[i][3]};
  }
  __syncthreads();

  float taps[kChannels][4];
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    const float2 low = ptx::unpack<T>(raw_taps[c][0]), high = ptx::unpack<T>(raw_taps[c][1]);
    taps[c][0] = low.x, taps[c][1] = low.y, taps[c][2] = high.x, taps[c][3] = high.y;
  }
#pragma unroll
  for (int four = 0; four < kWarpRows; four += 4) {
    float z[4][kChannels], squares[4] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = warp * kWarpRows + four + i;
      const float* const from = y + row * kPitch + kChannels * lane;
      uint32_t now[kWords];
#pragma unroll
      for (int word = 0; word < kWords; ++word) {
        const float2 value = *reinterpret_cast<const float2*>(from + 2 * word);
        now[word] = ptx::pack<T>(value.x, value.y);
        float2 sum = {taps[2 * word][3] * value.x, taps[2 * word + 1][3] * value.y};
#pragma unroll
        for (int token = 0; token < 3; ++token) {
          const float2 before = ptx::unpack<T>(history[four + i][token][word]);
          sum.x += taps[2 * word][token] * before.x;
          sum.y += taps[2 * word + 1][token] * before.y;
        }
        z[i][2 * word] = fast_silu(sum.x), z[i][2 * word + 1] = fast_silu(sum.y);
        squares[i] += z[i][2 * word] * z[i][2 * word] + z[i][2 * word + 1] * z[i][2 * word + 1];
      }
      if (row < count) {
        write_words(place_of(row, 0), history[four + i][1]);
        write_words(place_of(row, 1), history[four + i][2]);
        write_words(place_of(row, 2), now);
      }
    }
    const float inverse = p.norm ? rsqrtf(sum_of_four(squares, lane) + kNormEpsilon) : 1.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = warp * kWarpRows + four + i;
      const float factor = __shfl_sync(~0u, inverse, 8 * i);
      if (row >= count) continue;
      uint32_t out[kWords];
#pragma unroll
      for (int word = 0; word < kWords; ++word)
        out[word] = ptx::pack<T>(z[i][2 * word] * factor, z[i][2 * word + 1] * factor);
      write_words(static_cast<uint16_t*>(p.out[side]) +
                      (int64_t(first + row) * p.qk_heads * p.expansion + subkey) * kDim + kChannels * lane,
                  out);
    }
  }
}

template <class T>
const void* step_of(int key_dim) {
  return key_dim == 64    ? reinterpret_cast<const void*>(&step<T, 64>)
         : key_dim == 128 ? reinterpret_cast<const void*>(&step<T, 128>)
                          : reinterpret_cast<const void*>(&step<T, 256>);
}

}  // namespace

const void* step_tensor_kernel(DType type, int key_dim) {
  return type == DType::kBf16 ? step_of<__nv_bfloat16>(key_dim) : step_of<__half>(key_dim);
}

}  // namespace statescope::cuda::front_end
