// Between the host side of the front end and its kernels.
#pragma once

#include <cstdint>

#include <statescope/types.h>

namespace statescope::cuda::front_end {

/// q's side is index 0, k's index 1.
struct ExpandParameters {
  const void* x[2];       ///< [rows, T, Hq, K]; of the tensor kernel SiLU(x)
  const void* weight[2];  ///< [Hq, K, E, K]
  const void* taps[2];    ///< [Hq, E, K, 4]
  void* out[2];           ///< [rows, T, Hq, E, K]
  const std::int32_t* cu_seqlens;
  int seq_len, qk_heads, expansion, key_dim, sequences;
  int tokens_per_block;  ///< a multiple of the kernel's tile
  DType dtype;
  bool norm;
};

/// Blocks of either kernel: (subkeys, token ranges of all rows, sides).
const void* expand_kernel();                                           ///< any K, any type
const void* expand_tensor_kernel(DType type, bool norm, bool packed);  ///< K = 128, 16-bit, capability 9.0

/// SiLU of 16-bit values. Blocks: (eighths / kActivateThreads, 1, sides).
struct ActivateParameters {
  const void* x[2];
  void* out[2];
  std::int64_t eighths;  ///< elements / 8
};
const void* activate_kernel(DType type);
inline constexpr int kActivateThreads = 256;

inline constexpr int kExpandThreads = 256, kExpandTokens = 32;
inline constexpr int kTensorThreads = 128, kTensorTokens = 64;

/// Shared memory, bytes: SiLU(x) and y of a tile and of the three tokens before it, float32.
constexpr int expand_shared_bytes(int key_dim) {
  return 2 * (kExpandTokens + 3) * key_dim * 4;
}
/// W in 16 bits; y of a tile and of the three tokens before it, float32 rows of 128 + 8 (two rows of a warp's
/// store then start 8 banks apart).
inline constexpr int kTensorDim = 128;
inline constexpr int kTensorPitch = kTensorDim + 8;
inline constexpr int kTensorWeightBytes = kTensorDim * kTensorDim * 2;
inline constexpr int kTensorSharedBytes = kTensorWeightBytes + (kTensorTokens + 3) * kTensorPitch * 4;

}  // namespace statescope::cuda::front_end
