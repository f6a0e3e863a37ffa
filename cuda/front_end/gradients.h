// Between the host side of the front end and the kernels of its backward pass.
#pragma once

#include <cstdint>

#include <statescope/types.h>

namespace statescope::cuda::front_end {

/// q's side is index 0, k's index 1. All in the problem's type unless said.
struct GradientParameters {
  const void* x[2];          ///< [rows, T, Hq, K]
  const void* activated[2];  ///< SiLU(x), of the tensor kernels alone
  const void* weight[2];     ///< [Hq, K, E, K]
  const void* taps[2];       ///< [Hq, E, K, 4]
  const void* y[2];          ///< [rows, T, Hq, E, K], SiLU(x) W, what the way forward left
  const void* dout[2];       ///< [rows, T, Hq, E, K], what the recurrence's backward left
  void* dy[2];               ///< [rows, T, Hq, E, K], between the passes
  void* dx[2];               ///< [rows, T, Hq, K]
  float* dweight_parts;      ///< [ranges, 2, Hq, E, K, K]
  float* dtaps_parts;        ///< [ranges, 2, Hq, E, K, 4]
  float* dweight[2];         ///< [Hq, K, E, K], f32
  float* dtaps[2];           ///< [Hq, E, K, 4], f32
  const std::int32_t* cu_seqlens;
  int rows, seq_len, qk_heads, expansion, key_dim, sequences;
  int tokens_per_range, ranges;  ///< over all rows; a range lies in one row
  DType dtype;
  bool norm;
};

/// In the order of the launches. Blocks of each:
const void* convolution_gradients_kernel(int key_dim);  ///< (subkeys, ranges, sides)
/// The same in 16 bits, K of 128 or 256 (convolution_gradients.cu).
const void* convolution_rows_kernel(DType type, int key_dim, bool packed);
const void* input_gradients_kernel();                   ///< (Hq, token tiles of all rows, sides)
const void* weight_gradients_kernel();                  ///< (subkeys x tiles of K x K, ranges, sides)
const void* sum_parts_kernel();                         ///< (blocks of elements, 1, sides)
/// The two products on tensor cores: 16-bit, K of 64, 128 or 256.
const void* input_product_kernel(DType type,
                                 int key_dim);  ///< (Hq x tiles of K, token tiles of all rows, sides)
const void* weight_product_kernel(DType type, int key_dim);  ///< as weight_gradients_kernel()

inline constexpr int kGradientThreads = 256;
/// A range of tokens is a multiple of this: eight warps of eight.
inline constexpr int kRangeTokens = 64;
/// Tokens of a tile of the input's gradients: a thread's sums.
inline constexpr int kInputTokens = 32;
/// Of K x K, a block's square of the weight's gradient, and tokens staged at a time.
inline constexpr int kWeightTile = 64, kWeightTokens = 16;

inline constexpr int kConvolutionGradientsBytes = kGradientThreads * 16;  ///< static
constexpr int input_gradients_bytes(int key_dim) {
  return kInputTokens * key_dim * 4;
}
inline constexpr int kWeightGradientsBytes = 2 * kWeightTokens * kWeightTile * 4;

/// Of the products on tensor cores: four warps of 16 tokens (twice as many warps for dW), columns in tiles of
/// 128.
inline constexpr int kProductThreads = 128, kProductTokens = 64, kProductTile = 128;
constexpr int product_tile(int key_dim) {
  return key_dim < kProductTile ? key_dim : kProductTile;
}
/// A subkey's dy and W, once more where 96 KiB hold two.
constexpr int input_product_stages(int key_dim) {
  return key_dim <= 128 ? 2 : 1;
}
constexpr int input_product_bytes(int key_dim) {
  return input_product_stages(key_dim) * (kProductTokens + product_tile(key_dim)) * key_dim * 2;
}
constexpr int weight_product_bytes(int key_dim) {
  return 2 * 2 * kProductTokens * product_tile(key_dim) * 2;
}

}  // namespace statescope::cuda::front_end
