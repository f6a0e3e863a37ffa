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

}  // namespace statescope::cuda
