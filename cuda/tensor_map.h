// How the copy engine of compute capability 9.0 sees tensors (host side).
#pragma once

#include <cstdint>

#include <cuda.h>

#include <statescope/types.h>

namespace statescope::cuda {

/// What one copy takes of a head: tokens, and columns from a multiple of 64 on.
struct CopyBox {
  int tokens, columns;
};

/// Of a tensor [rows, tokens, heads, dim], coordinates (column in 64, token, columns / 64, head, row). 16-bit
/// values lie in shared memory as panels of 64 columns one behind the other, rows of 128 bytes whose 16-byte
/// pieces are permuted (piece ^ row % 8); float32 as rows of `dim`, and a copy takes all of them. Tokens past
/// the end are read as zeros and not written. `dim` is a multiple of 64.
CUtensorMap tensor_map(const void* data, DType dtype, std::int64_t rows, std::int64_t tokens,
                       std::int64_t heads, std::int64_t dim, CopyBox box);

/// SiLU(x) and the like, 16-bit [rows, tokens, heads, dim], in tiles of four runs of `run` tokens (even) and
/// 64 columns, coordinates (0, 0, 0, 0, index of the first 64 columns among all). Row 8 j + 2 i + b of a tile
/// in shared memory, 128 bytes permuted as above, is token run i + 2 j + b. Nothing marks the end of a row:
/// what lies behind it, four runs at most, is read and must be there.
CUtensorMap tensor_map_of_runs(const void* data, DType dtype, std::int64_t rows, std::int64_t tokens,
                               std::int64_t heads, std::int64_t dim, int run);

}  // namespace statescope::cuda
