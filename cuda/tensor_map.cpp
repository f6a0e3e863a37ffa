#include "cuda/tensor_map.h"

#include <string>

#include <cudaTypedefs.h>

#include <statescope/error.h>

#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
      "looking up cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess)
    throw Error(ErrorKind::kDevice, "CUDA: the driver has no cuTensorMapEncodeTiled; it needs CUDA 12.0");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

/// Five dimensions, the innermost one contiguous; strides are of the other four, in bytes.
CUtensorMap encoded(const void* data, CUtensorMapDataType type, CUtensorMapSwizzle swizzle,
                    const cuuint64_t (&sizes)[5], const cuuint64_t (&strides)[4],
                    const cuuint32_t (&copied)[5]) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = tensor_map_encoder();
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status = encode(&map, type, 5, const_cast<void*>(data), sizes, strides, copied, steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(ErrorKind::kDevice, "CUDA: describing a tensor to the copy engine failed with error " +
                                        std::to_string(static_cast<int>(status)));
  return map;
}

CUtensorMapDataType type_16(DType dtype) {
  return dtype == DType::kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
}

cuuint64_t u(std::int64_t x) {
  return static_cast<cuuint64_t>(x);
}

}  // namespace

CUtensorMap tensor_map(const void* data, DType dtype, std::int64_t rows, std::int64_t tokens,
                       std::int64_t heads, std::int64_t dim, CopyBox box) {
  const bool wide = dtype == DType::kF32;
  const std::int64_t columns = wide ? dim : 64, head = dim * (wide ? 4 : 2);
  return encoded(data, wide ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : type_16(dtype),
                 wide ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B,
                 {u(columns), u(tokens), u(dim / columns), u(heads), u(rows)},
                 {u(heads * head), 128, u(head), u(tokens * heads * head)},
                 {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(box.tokens),
                  static_cast<cuuint32_t>(box.columns / columns), 1, 1});
}

CUtensorMap tensor_map_of_runs(const void* data, DType dtype, std::int64_t rows, std::int64_t tokens,
                               std::int64_t heads, std::int64_t dim, int run) {
  const std::int64_t token = heads * dim * 2;
  const auto pairs = static_cast<cuuint32_t>(run / 2);
  return encoded(data, type_16(dtype), CU_TENSOR_MAP_SWIZZLE_128B,
                 {64, 2, 4, pairs, u(rows * tokens * heads * dim / 64)},
                 {u(token), u(run * token), u(2 * token), 128}, {64, 2, 4, pairs, 1});
}

}  // namespace statescope::cuda
