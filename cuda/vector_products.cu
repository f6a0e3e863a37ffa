// y = alpha x W^T for few rows of x, what a layer does to one token of each sequence. Every weight is read
// once, so device memory decides: a row of W a warp, 16 bytes a lane, four of them on their way. Beside
// cuBLASLt: no workspace, which products that run side by side would have to share.
#include "cuda/elements.cuh"
#include "cuda/kernels.h"
#include "cuda/vector_products.h"

namespace statescope::cuda {
namespace {

constexpr int kWarp = 32, kWarps = 8;  // of a block: with 1,024 rows of W nearly every multiprocessor has one
constexpr int kPieces = 4;             // of 16 bytes, of a lane, on their way

struct Parameters {
  const uint4 *x, *w;
  void* y;
  DType type, out;
  int n, pieces;
  std::int64_t x_row, w_row, y_row;  // in pieces, y's in elements
  float alpha;
  bool accumulate;
};

__device__ float dot(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
__device__ float dot(uint4 a, uint4 b, DType type) {
  if (type == DType::kF32) {
    return dot(
        make_float4(__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w)),
        make_float4(__uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w)));
  }
  return dot(widen(make_uint2(a.x, a.y), type), widen(make_uint2(b.x, b.y), type)) +
         dot(widen(make_uint2(a.z, a.w), type), widen(make_uint2(b.z, b.w), type));
}

template <int kRows>
__global__ void __launch_bounds__(kWarp* kWarps) multiply(const __grid_constant__ Parameters p) {
  const int row = blockIdx.x * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (row >= p.n) return;
  const uint4* const w = p.w + row * p.w_row;
  float sums[kRows] = {};
  for (int first = lane; first < p.pieces; first += kWarp * kPieces) {
    uint4 weights[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int piece = first + i * kWarp;
      weights[i] = piece < p.pieces ? __ldg(w + piece) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int piece = first + i * kWarp;
      if (piece >= p.pieces) break;
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r] += dot(weights[i], __ldg(p.x + r * p.x_row + piece), p.type);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int d = kWarp / 2; d > 0; d /= 2) sums[r] += __shfl_xor_sync(~0u, sums[r], d);
    if (lane == r) {
      const std::int64_t at = r * p.y_row + row;
      const float before = p.accumulate ? read1(p.y, at, p.out) : 0;
      store1(p.y, at, p.out, p.alpha * sums[r] + before);
    }
  }
}

int elements_of_piece(DType type) {
  return static_cast<int>(sizeof(uint4) / size_of(type));
}

}  // namespace

bool is_vector_product(const Product& p, const DeviceMatrix& a, const DeviceMatrix& b) {
  const int elements = elements_of_piece(a.type);
  const auto aligned = [&](const DeviceMatrix& x) {
    return reinterpret_cast<std::uintptr_t>(x.data) % sizeof(uint4) == 0 && x.row_stride % elements == 0;
  };
  return p.m <= kMostVectors && p.batch == 1 && p.transpose_b && a.type == b.type && p.k % elements == 0 &&
         aligned(a) && aligned(b);
}

void multiply_vectors(const Product& product, const DeviceMatrix& a, const DeviceMatrix& b,
                      const DeviceMatrix& c, cudaStream_t stream) {
  const int elements = elements_of_piece(a.type);
  const Parameters p{static_cast<const uint4*>(a.data),
                     static_cast<const uint4*>(b.data),
                     c.data,
                     a.type,
                     c.type,
                     static_cast<int>(product.n),
                     static_cast<int>(product.k) / elements,
                     a.row_stride / elements,
                     b.row_stride / elements,
                     c.row_stride,
                     product.alpha,
                     product.accumulate};
  const auto kernel = product.m == 1   ? multiply<1>
                      : product.m == 2 ? multiply<2>
                      : product.m == 3 ? multiply<3>
                                       : multiply<4>;
  kernel<<<static_cast<unsigned>((product.n + kWarps - 1) / kWarps), kWarp * kWarps, 0, stream>>>(p);
  check(cudaGetLastError(), "a matrix product");
}

}  // namespace statescope::cuda
