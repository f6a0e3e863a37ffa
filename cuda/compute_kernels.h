// Launches of the kernels around a recurrence (compute_kernels.cu); pointers are to device memory.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include <statescope/compute.h>

namespace statescope::cuda {

/// Elements of a type, the first at `data`.
struct Elements {
  void* data = nullptr;
  DType type = DType::kF32;
};

struct StridedElements {
  Elements elements;
  std::int64_t at = 0, strides[4] = {};
};
struct ApplyParameters {
  int function, operands;
  int extents[4];
  StridedElements out, in[4];
  float p, r;
};
void launch_apply(const ApplyParameters& parameters, cudaStream_t stream);

struct NormaliseParameters {
  RowNorm norm;
  float value;
  int rows, width;
  Elements x, y, weight;    // the last null: 1
  std::int64_t weight_row;  // 0: the same of every row
};
void launch_normalise(const NormaliseParameters& parameters, cudaStream_t stream);

struct ConvolveParameters {
  int batch, tokens, channels, size, function;
  Elements x, history, y;
  std::int64_t x_at, x_row;
  const float *weight, *bias;
};
/// y, then the history.
void launch_convolve(const ConvolveParameters& parameters, cudaStream_t stream);

struct SoftmaxParameters {
  int all_rows, rows, width, past, window;
  const float* scores;
  Elements y;
};
void launch_softmax(const SoftmaxParameters& parameters, cudaStream_t stream);

struct GatherParameters {
  int rows, width;
  Elements table, y;
  const std::int32_t* ids;
};
void launch_gather(const GatherParameters& parameters, cudaStream_t stream);

void launch_row_statistics(std::int64_t rows, std::int64_t width, const float* x, float* y,
                           cudaStream_t stream);
void launch_largest(std::int64_t rows, std::int64_t width, const float* x, std::int32_t* y,
                    cudaStream_t stream);
void launch_interfere(std::int64_t n, const float* gram, float* interference, std::int32_t* counts,
                      cudaStream_t stream);

}  // namespace statescope::cuda
