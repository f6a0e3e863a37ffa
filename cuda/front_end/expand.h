// Between the host side of the front end and its kernels.
#pragma once

#include <cstdint>

#include <statescope/types.h>

namespace statescope::cuda::front_end {

/// q's side is index 0, k's index 1.
struct ExpandParameters {
  const void* x[2];        ///< [rows, T, Hq, K]
  const void* weight[2];   ///< [Hq, K, E, K]
  const void* taps[2];     ///< [Hq, E, K, 4]
  void* out[2];            ///< [rows, T, Hq, E, K]
  void* y[2];              ///< the same, SiLU(x) W for the way back; null: not wanted
  const void* history[2];  ///< [N, 3, Hq, E, K], y before each sequence; null: zeros
  void* after[2];          ///< the same behind each sequence, a step's in place; null without a history
  const std::int32_t* cu_seqlens;
  int seq_len, qk_heads, expansion, key_dim, sequences;
  int tokens_per_block;  ///< a multiple of the kernel's tile
  DType dtype;
  bool norm;
};

/// Tokens of each row in equal ranges, so that `blocks_per_range` blocks a range take the fewest tiles, one
/// after another, on a device that holds `held` blocks; every range but a row's first costs a tile more.
struct Ranges {
  int tokens, per_row;
};
constexpr Ranges best_ranges(std::int64_t seq_len, std::int64_t rows, std::int64_t blocks_per_range, int tile,
                             std::int64_t held) {
  Ranges best{};
  std::int64_t least = 0;
  for (std::int64_t wanted = 1; wanted <= 32; ++wanted) {
    const std::int64_t tiles = ((seq_len + wanted - 1) / wanted + tile - 1) / tile;
    const std::int64_t per_row = (seq_len + tiles * tile - 1) / (tiles * tile);
    const std::int64_t waves = (per_row * rows * blocks_per_range + held - 1) / held;
    const std::int64_t time = waves * (tiles + (per_row > 1 ? 1 : 0));
    if (wanted == 1 || time < least) {
      best = {static_cast<int>(tiles * tile), static_cast<int>(per_row)};
      least = time;
    }
  }
  return best;
}

/// Blocks: (subkeys, token ranges of all rows, sides).
const void* expand_kernel();  ///< any K, any type; expand_tensor.h has the one on tensor cores

/// One token of each of N rows. Blocks: (subkeys, tiles of rows, sides).
const void* step_kernel();                                ///< any K, any type
const void* step_tensor_kernel(DType type, int key_dim);  ///< K of 64, 128 or 256, 16-bit

/// SiLU of 16-bit values, a multiple of eight. Blocks: (elements / kActivateElements, 1, sides).
struct ActivateParameters {
  const void* x[2];
  void* out[2];
  std::int64_t elements;
  DType dtype;
};
const void* activate_kernel();
inline constexpr int kActivateThreads = 256, kActivatePieces = 4;
inline constexpr int kActivateElements = 8 * kActivatePieces * kActivateThreads;  ///< of a block

inline constexpr int kExpandThreads = 256, kExpandTokens = 32;

/// Shared memory, bytes: SiLU(x) and y of a tile and of the three tokens before it, float32.
constexpr int expand_shared_bytes(int key_dim) {
  return 2 * (kExpandTokens + 3) * key_dim * 4;
}
/// Rows of a step's tile, and shared memory: SiLU(x) and y, float32.
inline constexpr int kStepRows = 16;
constexpr int step_shared_bytes(int key_dim) {
  return 2 * kStepRows * key_dim * 4;
}
/// On tensor cores: W and SiLU(x) in 16 bits, later y. A warp has 16 rows of the product and up to 64 of its
/// columns.
inline constexpr int kStepTensorRows = 32;
constexpr int step_tensor_threads(int key_dim) {
  return key_dim == 256 ? 256 : 128;
}
constexpr int step_tensor_bytes(int key_dim) {
  return (key_dim + kStepTensorRows) * key_dim * 2;
}

}  // namespace statescope::cuda::front_end
