// The operations around a recurrence, all bound by memory: four elements a thread where a row allows it.
#include "cuda/compute_kernels.h"

#include <algorithm>

#include <statescope/error.h>

#include "cuda/elements.cuh"
#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRowThreads = 512;  // of a block that owns a row
constexpr int kWarp = 32;

__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}
__device__ float softplus(float x) {
  return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}
__device__ float exp(float x) {
  return expf(x);
}
__device__ float max(float a, float b) {
  return fmaxf(a, b);
}
__device__ float min(float a, float b) {
  return fminf(a, b);
}

__device__ float pointwise(int function, float a, float b, float c, float d, float p, float r) {
  switch (function) {
#define STATESCOPE_POINTWISE(number, name, value, ...) \
  case number:                                         \
    return value;
#include <statescope/pointwise.inc>
#undef STATESCOPE_POINTWISE
  }
  return 0;
}

__device__ uint2 narrow(float4 x, DType type) {
  union {
    __nv_bfloat162 bf16[2];
    __half2 f16[2];
    uint2 bits;
  } packed;
  if (type == DType::kBf16) {
    packed.bf16[0] = __floats2bfloat162_rn(x.x, x.y);
    packed.bf16[1] = __floats2bfloat162_rn(x.z, x.w);
  } else {
    packed.f16[0] = __floats2half2_rn(x.x, x.y);
    packed.f16[1] = __floats2half2_rn(x.z, x.w);
  }
  return packed.bits;
}

/// kStep consecutive elements; of four, `index` is a multiple of four. Plain loads: what is read may be
/// written in place by the same thread.
template <int kStep>
__device__ float4 read(const Elements& x, std::int64_t index) {
  if constexpr (kStep == 4) {
    if (x.type == DType::kF32)
      return *reinterpret_cast<const float4*>(static_cast<const float*>(x.data) + index);
    return widen(*reinterpret_cast<const uint2*>(static_cast<const std::uint16_t*>(x.data) + index), x.type);
  } else {
    if (x.type == DType::kF32) return make_float4(static_cast<const float*>(x.data)[index], 0, 0, 0);
    return make_float4(widen(make_uint2(static_cast<const std::uint16_t*>(x.data)[index], 0), x.type).x, 0, 0,
                       0);
  }
}
template <int kStep>
__device__ void write(const Elements& x, std::int64_t index, float4 value) {
  if constexpr (kStep == 4) {
    if (x.type == DType::kF32) {
      *reinterpret_cast<float4*>(static_cast<float*>(x.data) + index) = value;
    } else {
      *reinterpret_cast<uint2*>(static_cast<std::uint16_t*>(x.data) + index) = narrow(value, x.type);
    }
  } else {
    store1(x.data, index, x.type, value.x);
  }
}

int blocks_of(std::int64_t threads) {
  constexpr std::int64_t kMost = 1 << 20;
  return static_cast<int>(std::clamp<std::int64_t>((threads + kThreads - 1) / kThreads, 1, kMost));
}

/// kStep consecutive ones of the last dimension.
template <int kStep>
__device__ float4 read_strided(const StridedElements& x, std::int64_t row, int l) {
  const std::int64_t index = row + l * x.strides[3];
  if (kStep == 1 || (x.strides[3] == 1 && index % 4 == 0)) return read<kStep>(x.elements, index);
  const auto one = [&](int i) { return read<1>(x.elements, index + i * x.strides[3]).x; };
  return make_float4(one(0), one(1), one(2), one(3));
}

template <int kStep>
__global__ void apply_kernel(const __grid_constant__ ApplyParameters x) {
  const int steps = x.extents[3] / kStep;
  const std::int64_t count = static_cast<std::int64_t>(x.extents[0]) * x.extents[1] * x.extents[2] * steps;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x; i < count;
       i += gridDim.x * static_cast<std::int64_t>(kThreads)) {
    const int l = static_cast<int>(i % steps) * kStep;
    std::int64_t rest = i / steps;
    const std::int64_t i2 = rest % x.extents[2];
    rest /= x.extents[2];
    const std::int64_t i1 = rest % x.extents[1], i0 = rest / x.extents[1];
    const auto row = [&](const StridedElements& y) {
      return y.at + i0 * y.strides[0] + i1 * y.strides[1] + i2 * y.strides[2];
    };
    float4 in[4] = {};
#pragma unroll
    for (int operand = 0; operand < 4; ++operand) {
      if (operand < x.operands) in[operand] = read_strided<kStep>(x.in[operand], row(x.in[operand]), l);
    }
    const auto f = [&](float a, float b, float c, float d) {
      return pointwise(x.function, a, b, c, d, x.p, x.r);
    };
    float4 y = make_float4(f(in[0].x, in[1].x, in[2].x, in[3].x), 0, 0, 0);
    if (kStep == 4) {
      y.y = f(in[0].y, in[1].y, in[2].y, in[3].y);
      y.z = f(in[0].z, in[1].z, in[2].z, in[3].z);
      y.w = f(in[0].w, in[1].w, in[2].w, in[3].w);
    }
    const std::int64_t out = row(x.out) + l * x.out.strides[3];
    if (kStep == 1 || out % 4 == 0) {
      write<kStep>(x.out.elements, out, y);
    } else {
      store1(x.out.elements.data, out, x.out.elements.type, y.x);
      store1(x.out.elements.data, out + 1, x.out.elements.type, y.y);
      store1(x.out.elements.data, out + 2, x.out.elements.type, y.z);
      store1(x.out.elements.data, out + 3, x.out.elements.type, y.w);
    }
  }
}

__device__ float sum_over_warp(float x) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
  return x;
}

/// A warp a row.
template <int kStep>
__global__ void normalise_kernel(const __grid_constant__ NormaliseParameters p) {
  const int row = static_cast<int>((blockIdx.x * kThreads + threadIdx.x) / kWarp), lane = threadIdx.x % kWarp;
  if (row >= p.rows) return;
  const std::int64_t first = static_cast<std::int64_t>(row) * p.width;
  float squares = 0;
  for (int i = lane * kStep; i < p.width; i += kWarp * kStep) {
    const float4 x = read<kStep>(p.x, first + i);
    squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
  }
  squares = sum_over_warp(squares);
  float factor = 1;
  if (p.norm == RowNorm::kRootMeanSquare) factor = rsqrtf(squares / p.width + p.value);
  if (p.norm == RowNorm::kLength) factor = rsqrtf(squares + p.value);
  if (p.norm == RowNorm::kLimit && squares > p.value * p.value) factor = p.value * rsqrtf(squares);
  for (int i = lane * kStep; i < p.width; i += kWarp * kStep) {
    float4 x = scaled(read<kStep>(p.x, first + i), factor);
    if (p.weight.data) {
      const float4 w = read<kStep>(p.weight, row * p.weight_row + i);
      x = make_float4(x.x * w.x, x.y * w.y, x.z * w.z, x.w * w.w);
    }
    write<kStep>(p.y, first + i, x);
  }
}

/// Input at token `time` of a batch row, counted from the history's first.
template <int kStep>
__device__ float4 input_at(const ConvolveParameters& p, int row, int time, int channel) {
  const int kept = p.size - 1;
  if (time < kept)
    return read<kStep>(p.history, (static_cast<std::int64_t>(row) * kept + time) * p.channels + channel);
  return read<kStep>(p.x,
                     p.x_at + (static_cast<std::int64_t>(row) * p.tokens + time - kept) * p.x_row + channel);
}

/// Taps s of kStep channels, for a convolution of at most kMostTaps.
constexpr int kMostTaps = 4;
constexpr int kTokensPerThread =
    8;  // each input is read once and serves `size` outputs; the taps are read once

template <int kStep>
__global__ void convolve_kernel(const __grid_constant__ ConvolveParameters p) {
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kStep;
  if (channel >= p.channels) return;
  const int row = blockIdx.z, begin = blockIdx.y * kTokensPerThread;
  const int end = min(begin + kTokensPerThread, p.tokens);
  float4 taps[kMostTaps], window[kMostTaps];
  const auto tap = [&](int s, int i) { return i < kStep ? p.weight[(channel + i) * p.size + s] : 0.0f; };
#pragma unroll
  for (int s = 0; s < kMostTaps; ++s) {
    taps[s] = s < p.size ? make_float4(tap(s, 0), tap(s, 1), tap(s, 2), tap(s, 3)) : float4{};
    window[s] = s + 1 < p.size ? input_at<kStep>(p, row, begin + s, channel) : float4{};
  }
  const auto offset = [&](int i) { return p.bias && i < kStep ? p.bias[channel + i] : 0.0f; };
  const float4 bias = make_float4(offset(0), offset(1), offset(2), offset(3));
  for (int t = begin; t < end; ++t) {
    const float4 newest = input_at<kStep>(p, row, t + p.size - 1, channel);
    float4 sum = bias;
#pragma unroll
    for (int s = 0; s < kMostTaps; ++s) {
      if (s + 1 == p.size) window[s] = newest;
      sum.x += taps[s].x * window[s].x;
      sum.y += taps[s].y * window[s].y;
      sum.z += taps[s].z * window[s].z;
      sum.w += taps[s].w * window[s].w;
    }
#pragma unroll
    for (int s = 0; s + 1 < kMostTaps; ++s) window[s] = window[s + 1];
    const auto f = [&](float a) { return pointwise(p.function, a, 0, 0, 0, 0, 0); };
    write<kStep>(p.y, (static_cast<std::int64_t>(row) * p.tokens + t) * p.channels + channel,
                 make_float4(f(sum.x), f(sum.y), f(sum.z), f(sum.w)));
  }
}

/// The inputs that the next call needs, oldest first: what is overwritten has been read.
template <int kStep>
__global__ void keep_kernel(const __grid_constant__ ConvolveParameters p) {
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * kStep, row = blockIdx.y;
  if (channel >= p.channels) return;
  for (int s = 0; s + 1 < p.size; ++s) {
    const float4 x = input_at<kStep>(p, row, p.tokens + s, channel);
    write<kStep>(p.history, (static_cast<std::int64_t>(row) * (p.size - 1) + s) * p.channels + channel, x);
  }
}

/// join(a, b) over a block, the same in all threads.
template <typename T, typename Join>
__device__ T over_block(T x, Join join) {
  __shared__ T values[kRowThreads];
  values[threadIdx.x] = x;
  for (int step = kRowThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) values[threadIdx.x] = join(values[threadIdx.x], values[threadIdx.x + step]);
  }
  __syncthreads();
  const T whole = values[0];
  __syncthreads();
  return whole;
}
__device__ float sum_over_block(float x) {
  return over_block(x, [](float a, float b) { return a + b; });
}
__device__ float most_over_block(float x) {
  return over_block(x, [](float a, float b) { return fmaxf(a, b); });
}

__global__ void softmax_kernel(const __grid_constant__ SoftmaxParameters p) {
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * p.width;
  const float* row = p.scores + begin;
  const int last = p.past + static_cast<int>(blockIdx.x) % p.rows + 1;
  const int first = last > p.window ? last - p.window : 0;
  float most = -INFINITY;
  for (int i = first + threadIdx.x; i < last; i += kRowThreads) most = fmaxf(most, row[i]);
  most = most_over_block(most);
  float sum = 0;
  for (int i = first + threadIdx.x; i < last; i += kRowThreads) sum += expf(row[i] - most);
  sum = sum_over_block(sum);
  for (int i = threadIdx.x; i < p.width; i += kRowThreads)
    store1(p.y.data, begin + i, p.y.type, i >= first && i < last ? expf(row[i] - most) / sum : 0);
}

template <int kStep>
__global__ void gather_kernel(const __grid_constant__ GatherParameters p) {
  const int steps = p.width / kStep;
  const std::int64_t count = static_cast<std::int64_t>(p.rows) * steps;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x; i < count;
       i += gridDim.x * static_cast<std::int64_t>(kThreads)) {
    const std::int64_t row = i / steps, at = i % steps * kStep;
    write<kStep>(p.y, row * p.width + at,
                 read<kStep>(p.table, static_cast<std::int64_t>(p.ids[row]) * p.width + at));
  }
}

/// Integers in the order of the floats.
__device__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ float value_of(unsigned key) {
  return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

/// The value of rank `rank`, counted from 0: four rounds, each a histogram of the next 8 bits of the values
/// that agree with the bits found so far.
__device__ float select(const float* row, int width, int rank) {
  __shared__ unsigned counts[256];
  __shared__ int found_digit, found_below;
  unsigned prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256) counts[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += kRowThreads) {
      const unsigned key = key_of(row[i]);
      if (shift == 24 || key >> (shift + 8) == prefix) atomicAdd(&counts[key >> shift & 255u], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int below = 0, digit = 0;
      while (digit < 255 && below + static_cast<int>(counts[digit]) <= rank) below += counts[digit++];
      found_digit = digit;
      found_below = below;
    }
    __syncthreads();
    rank -= found_below;
    prefix = prefix << 8 | static_cast<unsigned>(found_digit);
    __syncthreads();
  }
  return value_of(prefix);
}

__global__ void row_statistics_kernel(int width, const float* x, float* y) {
  const float* row = x + static_cast<std::int64_t>(blockIdx.x) * width;
  float sum = 0, squares = 0, most = 0;
  for (int i = threadIdx.x; i < width; i += kRowThreads) {
    sum += row[i];
    squares += row[i] * row[i];
    most = fmaxf(most, fabsf(row[i]));
  }
  const float mean = sum_over_block(sum) / width;
  squares = sum_over_block(squares);
  most = most_over_block(most);
  const float upper = select(row, width, width / 2);
  float spread = 0, below = -INFINITY, lower_count = 0;
  for (int i = threadIdx.x; i < width; i += kRowThreads) {
    spread += (row[i] - mean) * (row[i] - mean);
    if (row[i] >= upper) continue;
    below = fmaxf(below, row[i]);
    ++lower_count;
  }
  spread = sum_over_block(spread);
  below = most_over_block(below);
  lower_count = sum_over_block(lower_count);
  if (threadIdx.x != 0) return;
  // Of an even number the two in the middle: the lower one is below `upper`, or equal to it.
  const float lower = width % 2 == 1 || static_cast<int>(lower_count) < width / 2 ? upper : below;
  float* out = y + kRowStatistics * blockIdx.x;
  out[0] = mean;
  out[1] = spread / width;
  out[2] = sqrtf(squares / width);
  out[3] = (lower + upper) / 2;
  out[4] = most;
}

struct Place {
  float value;
  int at;
};

__global__ void largest_kernel(int width, const float* x, std::int32_t* y) {
  const float* row = x + static_cast<std::int64_t>(blockIdx.x) * width;
  Place best{-INFINITY, 0};
  for (int i = threadIdx.x; i < width; i += kRowThreads) {
    if (row[i] > best.value) best = {row[i], i};
  }
  best = over_block(best, [](Place a, Place b) {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  });
  if (threadIdx.x == 0) y[blockIdx.x] = best.at;
}

__global__ void interfere_kernel(int n, const float* gram, float* interference, std::int32_t* counts) {
  constexpr int kBins = static_cast<int>(kCosineBins);
  __shared__ int bins[kBins];
  const int j = blockIdx.x;
  const float* row = gram + static_cast<std::int64_t>(j) * n;
  if (threadIdx.x < kBins) bins[threadIdx.x] = 0;
  __syncthreads();
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += kRowThreads) {
    if (i == j) continue;
    sum += row[i] * row[i];
    if (i < j) atomicAdd(&bins[::min(::max(static_cast<int>((row[i] + 1) / 2 * kBins), 0), kBins - 1)], 1);
  }
  sum = sum_over_block(sum);
  if (threadIdx.x == 0) interference[j] = sum;
  if (threadIdx.x < kBins) counts[j * kBins + threadIdx.x] = bins[threadIdx.x];
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), std::string("launching ") + kernel);
}

}  // namespace

void launch_apply(const ApplyParameters& x, cudaStream_t stream) {
  const std::int64_t rows = static_cast<std::int64_t>(x.extents[0]) * x.extents[1] * x.extents[2];
  if (x.extents[3] % 4 == 0) {
    apply_kernel<4><<<blocks_of(rows * x.extents[3] / 4), kThreads, 0, stream>>>(x);
  } else {
    apply_kernel<1><<<blocks_of(rows * x.extents[3]), kThreads, 0, stream>>>(x);
  }
  check_launch("apply");
}

void launch_normalise(const NormaliseParameters& x, cudaStream_t stream) {
  const int blocks = (x.rows + kThreads / kWarp - 1) / (kThreads / kWarp);
  if (x.width % 4 == 0) {
    normalise_kernel<4><<<blocks, kThreads, 0, stream>>>(x);
  } else {
    normalise_kernel<1><<<blocks, kThreads, 0, stream>>>(x);
  }
  check_launch("normalise");
}

void launch_convolve(const ConvolveParameters& x, cudaStream_t stream) {
  if (x.size > kMostTaps) {
    throw Error(ErrorKind::kRefused, "convolution: found " + std::to_string(x.size) +
                                         " taps, wanted at most " + std::to_string(kMostTaps) + " on CUDA");
  }
  const bool quads = x.channels % 4 == 0 && x.x_row % 4 == 0 && x.x_at % 4 == 0;
  const auto columns = static_cast<unsigned>((x.channels / (quads ? 4 : 1) + kThreads - 1) / kThreads);
  const auto stretches = static_cast<unsigned>((x.tokens + kTokensPerThread - 1) / kTokensPerThread);
  const dim3 grid(columns, stretches, static_cast<unsigned>(x.batch)),
      kept(columns, static_cast<unsigned>(x.batch));
  if (quads) {
    convolve_kernel<4><<<grid, kThreads, 0, stream>>>(x);
    keep_kernel<4><<<kept, kThreads, 0, stream>>>(x);
  } else {
    convolve_kernel<1><<<grid, kThreads, 0, stream>>>(x);
    keep_kernel<1><<<kept, kThreads, 0, stream>>>(x);
  }
  check_launch("convolve");
}

void launch_softmax(const SoftmaxParameters& x, cudaStream_t stream) {
  softmax_kernel<<<x.all_rows, kRowThreads, 0, stream>>>(x);
  check_launch("softmax");
}

void launch_gather(const GatherParameters& x, cudaStream_t stream) {
  if (x.width % 4 == 0) {
    gather_kernel<4><<<blocks_of(static_cast<std::int64_t>(x.rows) * x.width / 4), kThreads, 0, stream>>>(x);
  } else {
    gather_kernel<1><<<blocks_of(static_cast<std::int64_t>(x.rows) * x.width), kThreads, 0, stream>>>(x);
  }
  check_launch("gather");
}

void launch_row_statistics(std::int64_t rows, std::int64_t width, const float* x, float* y,
                           cudaStream_t stream) {
  row_statistics_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream>>>(static_cast<int>(width), x,
                                                                                 y);
  check_launch("row_statistics");
}

void launch_largest(std::int64_t rows, std::int64_t width, const float* x, std::int32_t* y,
                    cudaStream_t stream) {
  largest_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream>>>(static_cast<int>(width), x, y);
  check_launch("largest");
}

void launch_interfere(std::int64_t n, const float* gram, float* interference, std::int32_t* counts,
                      cudaStream_t stream) {
  interfere_kernel<<<static_cast<unsigned>(n), kRowThreads, 0, stream>>>(static_cast<int>(n), gram,
                                                                         interference, counts);
  check_launch("interfere");
}

}  // namespace statescope::cuda
