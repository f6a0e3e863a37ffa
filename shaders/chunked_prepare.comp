// gated_delta: A = (I + L)^{-1}, L = tril(diag(beta) K K^T ∘ Γ, -1), for each chunk of each subhead by itself.
//
// L is made as a matrix product and inverted in float32 in place: first its 16 x 16 blocks on the diagonal, a column an
// invocation, by substitution; then blocks of twice the size from pairs of them,
//   (A11 0; L21 A22)  ->  A21 = -A22 (L21 A11)
// with L21 A11 kept above the diagonal. What such a block leaves there is not read again.
//
// Shared memory: system float [C][C + 4], gates float [2][C], and where matrices are cooperative, keys Cell
// [C][K / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(binding = 5) readonly buffer BetaBuffer { float data[]; } beta;        // [B, T, H, E]
layout(binding = 6) writeonly buffer InverseBuffer { Pack data[]; } inverse;  // [parts, C, C], in 16 x 16 tiles with j <= i

const uint SYSTEM_STRIDE = CHUNK / 4 + 1;  // quads
const uint ROW_TILES = CHUNK / TILE;

#if COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
#else
#define keys k.data
#endif
shared vec4 system[CHUNK * SYSTEM_STRIDE];
shared float gammas[CHUNK];
shared float betas[CHUNK];

// Four rows from `row` and four columns from `column` of a product of blocks, by rows: elements [from, to) of those rows,
// counted from column `left`, times the rows from `right` on. All are multiples of four.
mat4 block_product(uint row, uint left, uint right, uint column, uint from, uint to) {
  mat4 sum = mat4(0);
  for (uint m = from; m < to; m += 4) {
    const uint l = row * SYSTEM_STRIDE + (left + m) / 4, r = (right + m) * SYSTEM_STRIDE + column / 4;
    const mat4 x = mat4(system[l], system[l + SYSTEM_STRIDE], system[l + 2 * SYSTEM_STRIDE], system[l + 3 * SYSTEM_STRIDE]);
    const mat4 y = mat4(system[r], system[r + SYSTEM_STRIDE], system[r + 2 * SYSTEM_STRIDE], system[r + 3 * SYSTEM_STRIDE]);
    sum += y * x;
  }
  return sum;
}

void set_block(uint row, uint column, mat4 x) {
  for (uint i = 0; i < 4; ++i) system[(row + i) * SYSTEM_STRIDE + column / 4] = x[i];
}

void main() {
  const uint thread = thread_index();
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = part_of(chunk, head, subhead);

  find_positions();
  const Rows rows = qk_rows(chunk, head, subhead);
  STAGE_ROWS(keys, k, rows)
  for (uint i = thread; i < CHUNK; i += gl_WorkGroupSize.x) {
    gammas[i] = gamma.data[part * CHUNK + i];
    betas[i] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
  }
  barrier();

  for (uint tile = team_index(); tile < ROW_TILES * ROW_TILES; tile += TEAMS) {
    const uint row = tile / ROW_TILES * TILE, column = tile % ROW_TILES * TILE;
    if (column > row) continue;
    Sum products = EMPTY;
    for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Left left;
      Right right;
      ROWS_LEFT(left, keys, rows, row, channel);
      ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, column);
      MULTIPLY_ADD(products, left, right);
    }
    for (uint e = 0; e < ELEMENTS; ++e) {
      const uint i = row + row_of(e), j = column + column_of(e);
      VALUE(products, e) *= j < i ? betas[i] * exp(gammas[i] - gammas[j]) : 0;
    }
    STORE_FLOATS(products, system, row * SYSTEM_STRIDE + column / 4, SYSTEM_STRIDE);
  }
  barrier();

  // The workgroup has at least as many invocations as the chunk has columns.
  const uint block = thread / TILE * TILE, j = thread % TILE;
  vec4 inverted[TILE / 4];  // the column, by rows
  if (thread < CHUNK) {
    for (uint i = 0; i < TILE / 4; ++i) inverted[i] = vec4(0);
    for (uint i = 0; i < TILE; ++i) {
      float x = i == j ? 1 : 0;
      for (uint m = 0; m <= i / 4; ++m) x -= dot(system[(block + i) * SYSTEM_STRIDE + block / 4 + m], inverted[m]);
      inverted[i / 4][i % 4] = x;
    }
  }
  barrier();
  if (thread < CHUNK) {
    for (uint i = 0; i < TILE; ++i) system[(block + i) * SYSTEM_STRIDE + thread / 4][j % 4] = inverted[i / 4][i % 4];
  }
  barrier();

  for (uint size = TILE; size < CHUNK; size *= 2) {
    // 4 x 4 entries of the block below the diagonal of a pair, whose first row and column is `first`.
    const uint across = size / 4, entries = CHUNK / 2 * size / 16;
    for (uint i = thread; i < entries; i += gl_WorkGroupSize.x) {
      const uint first = i / (across * across) * 2 * size, row = i / across % across * 4, column = i % across * 4;
      set_block(first + row, first + size + column,
                block_product(first + size + row, first, first, first + column, column / TILE * TILE, size));
    }
    barrier();
    for (uint i = thread; i < entries; i += gl_WorkGroupSize.x) {
      const uint first = i / (across * across) * 2 * size, row = i / across % across * 4, column = i % across * 4;
      set_block(first + size + row, first + column,
                -block_product(first + size + row, first + size, first, first + size + column, 0,
                               (row / TILE + 1) * TILE));
    }
    barrier();
  }

  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE <= row / TILE)
      inverse.data[part * CHUNK * CHUNK_PACKS + i] = narrow(VALUES_FROM(system, row * SYSTEM_STRIDE + pack * PACK / 4));
  }
}
