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

}  // namespace

CUtensorMap tensor_map(const void* data, DType dtype, std::int64_t rows, std::int64_t tokens,
                       std::int64_t heads, std::int64_t dim, CopyBox box) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = tensor_map_encoder();
  const auto u = [](std::int64_t x) { return static_cast<cuuint64_t>(x); };
  const bool wide = dtype == DType::kF32;
  const std::int64_t columns = wide ? dim : 64, head = dim * (wide ? 4 : 2);
  const cuuint64_t sizes[5] = {u(columns), u(tokens), u(dim / columns), u(heads), u(rows)};
  const cuuint64_t strides[4] = {u(heads * head), 128, u(head), u(tokens * heads * head)};
  const cuuint32_t copied[5] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(box.tokens),
                                static_cast<cuuint32_t>(box.columns / columns), 1, 1};
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      encode(&map,
             wide                    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
             : dtype == DType::kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                     : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             5, const_cast<void*>(data), sizes, strides, copied, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             wide ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(ErrorKind::kDevice, "CUDA: describing a tensor to the copy engine failed with error " +
                                        std::to_string(static_cast<int>(status)));
  return map;
}

}  // namespace statescope::cuda
