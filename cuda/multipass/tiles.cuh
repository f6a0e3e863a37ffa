#pragma once
// Tiles of 16-bit values in shared memory, and their products. A panel is rows of 64 values (128 bytes) whose
// 16-byte pieces are permuted, piece ^ (row % 8), so that eight rows at the same column lie in different
// banks. Wider tiles are panels one behind the other.
#include "cuda/gates.cuh"
#include "cuda/multipass/parameters.h"
#include "cuda/multipass/tensor_core.cuh"

namespace statescope::cuda::multipass {

using namespace cuda_multipass;

/// Where this lane's part of a matrix operand or a result lies. Operands are 16 x 16, at rows that are a
/// multiple of 8 and columns that are a multiple of 16.
struct Lane {
  int r, c;          // row and first column of this lane in an 8 x 8 tile of a result
  uint32_t element;  // of row r, column c
  uint32_t straight,
      crossed;  // of the row that ldmatrix reads for this lane; second quarter below, or beside the first
  __device__ __forceinline__ explicit Lane(int lane)
      : r(lane / 4),
        c(2 * (lane % 4)),
        element(r * 128 + (r << 4) + 2 * c),
        straight((lane % 16) * 128 + (((lane / 16) ^ (lane % 8)) << 4)),
        crossed((lane % 8 + 8 * (lane / 16)) * 128 + (((lane / 8 % 2) ^ (lane % 8)) << 4)) {}
};

/// Byte address of a lane's part of what begins at (row, column): multiples of 8, for operands' columns
/// of 16.
__device__ __forceinline__ uint32_t place(uint32_t tile, uint32_t lane_part, int row, int column) {
  return ((tile + lane_part) ^ (column / 8 << 4)) + row * 128;
}
/// The first operand's 16 x 16 at (m, k); stored [m][k], or [k][m].
__device__ __forceinline__ void load_a(uint32_t (&x)[4], uint32_t panel, const Lane& at, int m, int k) {
  ptx::load_matrix_x4(x, place(panel, at.straight, m, k));
}
__device__ __forceinline__ void load_a_turned(uint32_t (&x)[4], uint32_t panel, const Lane& at, int m,
                                              int k) {
  ptx::load_matrix_x4_transposed(x, place(panel, at.crossed, k, m));
}
/// The second operand's 16 x 16 at (k, n): x[0], x[1] for columns n .. n + 7 and x[2], x[3] for the next
/// eight; stored [n][k], or [k][n].
__device__ __forceinline__ void load_b(uint32_t (&x)[4], uint32_t panel, const Lane& at, int k, int n) {
  ptx::load_matrix_x4(x, place(panel, at.crossed, n, k));
}
__device__ __forceinline__ void load_b_turned(uint32_t (&x)[4], uint32_t panel, const Lane& at, int k,
                                              int n) {
  ptx::load_matrix_x4_transposed(x, place(panel, at.straight, k, n));
}

/// A pair of per-token factors in shared memory.
__device__ __forceinline__ float2 two(const float* x) {
  return *reinterpret_cast<const float2*>(x);
}

/// 16 x 16 of a result as a first operand.
template <class T>
__device__ __forceinline__ void as_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = ptx::pack<T>(left[0], left[1]), a[1] = ptx::pack<T>(left[2], left[3]);
  a[2] = ptx::pack<T>(right[0], right[1]), a[3] = ptx::pack<T>(right[2], right[3]);
}
template <class T>
__device__ __forceinline__ void multiply(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[4]) {
  ptx::mma<T>(left, a, b[0], b[1]);
  ptx::mma<T>(right, a, b[2], b[3]);
}

/// Starts copying `kRows` rows of kColumns values, `stride` values apart, of which the first `count` exist;
/// zeros for the others. A thread keeps to one column of 16-byte pieces, so that it has one address to step
/// along.
template <int kColumns, int kRows, int kThreads>
__device__ __forceinline__ void copy_rows(uint32_t tile, const uint16_t* from, int64_t stride, int count) {
  constexpr int kPieces = kColumns / 8, kStep = kThreads / kPieces;
  static_assert(kThreads % kPieces == 0);
  int thread = threadIdx.x;
  asm volatile("" : "+r"(thread));  // addresses are computed anew for each copy: registers are short
  const int piece = thread % kPieces, first = thread / kPieces;
  from += first * stride + piece * 8;
  tile += piece / 8 * (kRows * 128) + first * 128;
#pragma unroll
  for (int i = 0; i < (kRows + kStep - 1) / kStep; ++i) {
    const int row = first + i * kStep;
    if (kRows % kStep != 0 && row >= kRows) break;
    ptx::copy_or_zero(tile + i * kStep * 128 + ((piece % 8 ^ row % 8) << 4), from + i * kStep * stride,
                      row < count);
  }
}
/// The same of contiguous bytes that all exist, unpermuted.
template <int kBytes, int kThreads>
__device__ __forceinline__ void copy_plain(uint32_t to, const void* from) {
  for (int i = threadIdx.x; i < kBytes / 16; i += kThreads)
    ptx::copy_or_zero(to + i * 16, static_cast<const uint8_t*>(from) + i * 16, true);
}

/// Tokens of one chunk: `first` counts over all rows, `count` is 0 for the numbers that a packed row leaves
/// unused.
struct Chunk {
  int64_t first;
  int count;
};
/// Chunks of a sequence, numbered as cuda_multipass::chunks_of says.
struct Chain {
  int64_t begin, first_chunk;
  int length;
  __device__ __forceinline__ int chunks() const { return (length + kChunk - 1) / kChunk; }
  __device__ __forceinline__ Chunk chunk(int i) const {
    return {begin + int64_t{i} * kChunk, min(kChunk, length - i * kChunk)};
  }
};
__device__ __forceinline__ Chain chain_of(const Arguments& a, int n) {
  if (a.cu_seqlens) {
    const int begin = a.cu_seqlens[n];
    return {begin, begin / kChunk + n, a.cu_seqlens[n + 1] - begin};
  }
  return {int64_t{n} * a.seq_len, int64_t{n} * ((a.seq_len + kChunk - 1) / kChunk), a.seq_len};
}
__device__ __forceinline__ Chunk chunk_of(const Arguments& a, int64_t chunk) {
  int low = 0, high = a.sequences;  // the last sequence whose first chunk is not beyond this one
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (chain_of(a, middle).first_chunk <= chunk ? low : high) = middle;
  }
  const Chain chain = chain_of(a, low);
  Chunk result = chain.chunk(static_cast<int>(chunk - chain.first_chunk));
  result.count = max(result.count, 0);
  return result;
}

/// The head of q and k that head h reads. (A division: kept out of loops.)
__device__ __forceinline__ int key_head(const Arguments& a, int h) {
  return h / (a.heads / a.qk_heads);
}
/// Row of q or k.
__device__ __forceinline__ int64_t key_row(const Arguments& a, int64_t token, int head, int e) {
  return (token * a.qk_heads + head) * a.expansion + e;
}
__device__ __forceinline__ const uint16_t* words(const void* p) {
  return static_cast<const uint16_t*>(p);
}

}  // namespace statescope::cuda::multipass
