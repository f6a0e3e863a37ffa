#pragma once
// PTX that compute capability 8.0 has too: products of 16-bit tiles and copies in the background.
#include "cuda/chunked/ptx.cuh"

namespace statescope::cuda::ptx {

/// d (16x8) += a (16x16) b (16x8), 16-bit with f32 sums
template <class T>
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    mma_f16(d, a, b0, b1);
  } else {
    mma_bf16(d, a, b0, b1);
  }
}

/// d (16x8) += a (16x8) b (8x8): half the depth, and sooner done.
template <class T>
__device__ __forceinline__ void mma_half(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(b));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, "
        "%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(b));
  }
}
/// x += a b where `which` holds, else y += a b: no branch.
__device__ __forceinline__ void add_to_either(float& x, float& y, float a, float b, bool which) {
  asm("{\n.reg .pred p;\nsetp.ne.b32 p, %4, 0;\n@p fma.rn.f32 %0, %2, %3, %0;\n@!p fma.rn.f32 %1, %2, %3, "
      "%1;\n}"
      : "+f"(x), "+f"(y)
      : "f"(a), "f"(b), "r"(int(which)));
}

__device__ __forceinline__ void store_shared(uint32_t address, const float (&v)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(v[0]), "f"(v[1]), "f"(v[2]),
               "f"(v[3])
               : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t address, const uint32_t (&v)[4]) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v[0]), "r"(v[1]), "r"(v[2]),
               "r"(v[3])
               : "memory");
}

/// Two neighbours at once, wherever the compiler has them. (It would rather store twice than move one.)
__device__ __forceinline__ void store_global(float* to, float x, float y) {
  asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(x), "f"(y) : "memory");
}

/// 16 bytes from global to shared memory, or zeros, and then nothing is read.
__device__ __forceinline__ void copy_or_zero(uint32_t shared, const void* global, bool copy) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(copy ? 16 : 0)
               : "memory");
}
/// Closes this thread's group of copies.
__device__ __forceinline__ void copies_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most kPending of this thread's groups are under way; a barrier must follow before other
/// threads' copies are read.
template <int kPending>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace statescope::cuda::ptx
