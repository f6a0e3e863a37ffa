// gated_delta: A = (I + L)^{-1}, L = tril(diag(beta) K K^T ∘ Γ, -1), for each chunk of each subhead by itself.
//
// L is made as a matrix product and inverted in float32 in place: first its 16 x 16 blocks on the diagonal, a column an
// invocation, by substitution; then blocks of twice the size from pairs of them,
//   (A11 0; L21 A22)  ->  A21 = -A22 (L21 A11)
// with L21 A11 kept above the diagonal, where the system has only zeros.
//
// Shared memory: system float [C][C + 4], diagonal float [C][16], gates float [2][C], and where tiles of K are shared,
// keys Cell [C][K / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(binding = 5) readonly buffer BetaBuffer { float data[]; } beta;          // [B, T, H, E]
layout(binding = 6) writeonly buffer InverseBuffer { Pack data[]; } inverse;    // [parts, C, C] in tiles

const uint SYSTEM_STRIDE = CHUNK + 4;
const uint ROW_TILES = CHUNK / TILE;

#if COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
#else
#define keys k.data
#endif
shared vec4 system[CHUNK * SYSTEM_STRIDE / 4];
shared float diagonal[CHUNK * TILE];
shared float gammas[CHUNK];
shared float betas[CHUNK];

float system_at(uint row, uint column) {
  const uint at = row * SYSTEM_STRIDE + column;
  return system[at / 4][at % 4];
}
void set_system(uint row, uint column, float x) {
  const uint at = row * SYSTEM_STRIDE + column;
  system[at / 4][at % 4] = x;
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
    STORE_FLOATS(products, system, (row * SYSTEM_STRIDE + column) / 4, SYSTEM_STRIDE / 4);
  }
  barrier();

  for (uint column = thread; column < CHUNK; column += gl_WorkGroupSize.x) {
    const uint block = column / TILE * TILE, j = column % TILE;
    for (uint i = 0; i < TILE; ++i) {
      float sum = i == j ? 1 : 0;
      for (uint m = j; m < i; ++m) sum -= system_at(block + i, block + m) * diagonal[(block + m) * TILE + j];
      diagonal[(block + i) * TILE + j] = sum;
    }
  }
  barrier();
  for (uint i = thread; i < CHUNK * TILE; i += gl_WorkGroupSize.x) {
    const uint row = i / TILE;
    set_system(row, row / TILE * TILE + i % TILE, diagonal[i]);
  }
  barrier();

  for (uint size = TILE; size < CHUNK; size *= 2) {
    // Entry (row, column) of the blocks below the diagonal of all pairs; the pair's first row and column is `first`.
    for (uint i = thread; i < CHUNK / 2 * size; i += gl_WorkGroupSize.x) {
      const uint first = i / (size * size) * 2 * size, row = i / size % size, column = i % size;
      float sum = 0;
      for (uint m = column; m < size; ++m) sum += system_at(first + size + row, first + m) * system_at(first + m, first + column);
      set_system(first + row, first + size + column, sum);
    }
    barrier();
    for (uint i = thread; i < CHUNK / 2 * size; i += gl_WorkGroupSize.x) {
      const uint first = i / (size * size) * 2 * size, row = i / size % size, column = i % size;
      float sum = 0;
      for (uint m = 0; m <= row; ++m)
        sum -= system_at(first + size + row, first + size + m) * system_at(first + m, first + size + column);
      set_system(first + size + row, first + column, sum);
    }
    barrier();
  }

  for (uint i = thread; i < CHUNK * CHUNK / PACK; i += gl_WorkGroupSize.x) {
    const uint row = i / (CHUNK / PACK), column = i % (CHUNK / PACK) * PACK;
    float x[PACK];
    for (uint j = 0; j < PACK; ++j) x[j] = column + j <= row ? system_at(row, column + j) : 0;
    inverse.data[part * CHUNK * CHUNK / PACK + tiled(row, column, CHUNK)] = narrow(values_of(x));
  }
}
