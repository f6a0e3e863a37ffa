#pragma once
// The matrix unit's product of the front end, beside those of chunked/ptx.cuh.
#include <type_traits>

#include "cuda/multipass/warpgroup.cuh"

namespace statescope::cuda::ptx {

// The type is part of the instruction's name, which must be a literal.
#define STATESCOPE_WGMMA_N72(type)                                                                           \
  asm volatile(                                                                                              \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %38, 0;\n"                                                           \
      "wgmma.mma_async.sync.aligned.m64n72k16.f32." type "." type                                            \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "                                                      \
      "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, " \
      "%31, %32, %33, %34, %35}, "                                                                           \
      "%36, %37, p, 1, 1, 1, 0;\n}"                                                                          \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),      \
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),             \
        "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),           \
        "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),           \
        "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])            \
      : "l"(a), "l"(b), "r"(accumulate))

/// d (64 x 72) = a (64 x 16, outer index contiguous) b (16 x 72, inner index contiguous) + (accumulate ? d :
/// 0), both in shared memory.
template <class T>
__device__ __forceinline__ void wgmma_n72_shared(float (&d)[36], uint64_t a, uint64_t b, int accumulate) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    STATESCOPE_WGMMA_N72("bf16");
  else
    STATESCOPE_WGMMA_N72("f16");
}
#undef STATESCOPE_WGMMA_N72

}  // namespace statescope::cuda::ptx
