// Reading and writing q, k, v, o in their stored type; everything is computed in float32.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <statescope/types.h>

namespace statescope::cuda {

/// Four 16-bit elements in float32.
__device__ inline float4 widen(uint2 raw, DType type) {
  if (type == DType::kBf16) {
    return make_float4(__uint_as_float(raw.x << 16), __uint_as_float(raw.x & 0xffff0000u),
                       __uint_as_float(raw.y << 16), __uint_as_float(raw.y & 0xffff0000u));
  }
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&raw.x));
  const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&raw.y));
  return make_float4(low.x, low.y, high.x, high.y);
}

/// Four consecutive elements of global memory; `index` is a multiple of four. The type is the same for a
/// whole launch, so the branch costs nothing beside the load, and saves three instantiations of every kernel.
__device__ inline float4 load4(const void* base, std::int64_t index, DType type) {
  if (type == DType::kF32)
    return __ldg(reinterpret_cast<const float4*>(static_cast<const float*>(base) + index));
  return widen(__ldg(reinterpret_cast<const uint2*>(static_cast<const std::uint16_t*>(base) + index)), type);
}

/// The same from shared memory.
__device__ inline float4 read4(const void* base, int index, DType type) {
  if (type == DType::kF32) return *reinterpret_cast<const float4*>(static_cast<const float*>(base) + index);
  return widen(*reinterpret_cast<const uint2*>(static_cast<const std::uint16_t*>(base) + index), type);
}

__device__ inline float load1(const void* base, std::int64_t index, DType type) {
  if (type == DType::kF32) return __ldg(static_cast<const float*>(base) + index);
  const std::uint16_t raw = __ldg(static_cast<const std::uint16_t*>(base) + index);
  if (type == DType::kBf16) return __uint_as_float(static_cast<std::uint32_t>(raw) << 16);
  return __half2float(__ushort_as_half(raw));
}

/// The same of memory that the kernel writes, too.
__device__ inline float read1(const void* base, std::int64_t index, DType type) {
  if (type == DType::kF32) return static_cast<const float*>(base)[index];
  const std::uint16_t raw = static_cast<const std::uint16_t*>(base)[index];
  if (type == DType::kBf16) return __uint_as_float(static_cast<std::uint32_t>(raw) << 16);
  return __half2float(__ushort_as_half(raw));
}

__device__ inline void store1(void* base, std::int64_t index, DType type, float value) {
  if (type == DType::kF32) {
    static_cast<float*>(base)[index] = value;
  } else if (type == DType::kBf16) {
    static_cast<__nv_bfloat16*>(base)[index] = __float2bfloat16_rn(value);
  } else {
    static_cast<__half*>(base)[index] = __float2half_rn(value);
  }
}

/// Four consecutive elements; `index` is a multiple of four.
__device__ inline void store4(void* base, std::int64_t index, DType type, float4 x) {
  if (type == DType::kF32) {
    *reinterpret_cast<float4*>(static_cast<float*>(base) + index) = x;
    return;
  }
  std::uint16_t raw[4];
  const float values[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) store1(raw, i, type, values[i]);
  *reinterpret_cast<uint2*>(static_cast<std::uint16_t*>(base) + index) = {
      raw[0] | std::uint32_t{raw[1]} << 16, raw[2] | std::uint32_t{raw[3]} << 16};
}

__device__ inline float4 scaled(float4 x, float s) {
  return make_float4(x.x * s, x.y * s, x.z * s, x.w * s);
}

/// Copies 4 or 16 bytes from global to shared memory in the background.
template <int kBytes>
__device__ inline void copy_async(void* shared, const void* global) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  } else {
    static_assert(kBytes == 4);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(global) : "memory");
  }
}
/// Waits for this thread's copies; a barrier must follow before other threads' are read.
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// Hands out the block's dynamic shared memory piece by piece.
struct SharedMemory {
  float* next;
  __device__ explicit SharedMemory(float* base) : next(base) {}
  __device__ float* take(std::size_t floats) {
    float* piece = next;
    next += floats;
    return piece;
  }
  /// Traps unless what was taken is what the variant table said and the launch asked for: the table is the
  /// only place that knows a size, and a kernel that disagrees with it must not run.
  __device__ void expect_all_taken(const float* base) const {
    std::uint32_t bytes;
    asm("mov.u32 %0, %%dynamic_smem_size;" : "=r"(bytes));
    if (static_cast<std::size_t>(next - base) * sizeof(float) != bytes) __trap();
  }
};

}  // namespace statescope::cuda
