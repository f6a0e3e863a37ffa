// Between the host side of the front end and its kernel on Hopper's tensor cores.
#pragma once

#include <cuda.h>

#include "cuda/front_end/expand.h"

namespace statescope::cuda::front_end {

/// Descriptions for the copy engine, q's side first. y: only where `plain` has one.
struct ExpandTensorParameters {
  CUtensorMap input[2];   ///< SiLU(x), tensor_map_of_runs() of kTensorRun
  CUtensorMap weight[2];  ///< [Hq, K, E, K], boxes of K x K
  CUtensorMap out[2], y[2];
  ExpandParameters plain;  ///< x is not read; tokens_per_block is of a warpgroup
  int rows;
};

/// K = 128, 16-bit, capability 9.0. `keeps`: y or histories are stored.
const void* expand_tensor_kernel(DType type, bool norm, bool packed, bool keeps);

/// A tile of kTensorTokens is four runs of tokens, one of each lane of four. 16-byte rows of a run's tokens 2
/// j and 2 j + 1 then lie in different banks for all four, as they do for every odd multiple of 8 tokens; 72
/// is what registers allow.
inline constexpr int kTensorDim = 128;
inline constexpr int kTensorTokens = 72, kTensorRun = kTensorTokens / 4;
inline constexpr int kTensorGroups = 2;  ///< warpgroups of a block: one W, a range of tokens each
inline constexpr int kTensorThreads = 128 * kTensorGroups;
inline constexpr int kTensorBlocks = 2;  ///< that share a multiprocessor

/// Shared memory, offsets in bytes: W as two panels of 64 columns; for each warpgroup SiLU(x) and what
/// leaves, both as two panels of 64 columns; the taps, half of each, float32 [K][4]; for each warpgroup the
/// inverse lengths of a tile's tokens, runs of kTensorRun + 2; barriers.
struct TensorShared {
  static constexpr int kTile = kTensorTokens * kTensorDim * 2, kLengths = 4 * (kTensorRun + 2) * 4;
  static constexpr int input = kTensorDim * kTensorDim * 2;
  static constexpr int out = input + kTensorGroups * kTile;
  static constexpr int taps = out + kTensorGroups * kTile;
  static constexpr int lengths = taps + kTensorDim * 4 * 4;
  static constexpr int weight_full = lengths + kTensorGroups * kLengths;
  static constexpr int input_full = weight_full + 8;
  static constexpr int bytes = input_full + kTensorGroups * 8;
};

}  // namespace statescope::cuda::front_end
