// dx = SiLU'(x) ∘ (dy W^T), the sum over the subkeys of one side: rows of dy and of W are E K long. TOKENS rows and
// COLUMNS channels a workgroup, in slabs of 64 of the depth, as chunked_outputs.comp.
//
// Shared memory, Cell: lefts [TOKENS][64 / PACK + 1]: dy; rights [COLUMNS][64 / PACK + 1]: W; and dx in float32, in place of
// both [TOKENS][COLUMNS / 4 + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "front_end.glsl"

layout(constant_id = 3) const uint TOKENS = 64;
layout(constant_id = 4) const uint COLUMNS = 16;

layout(binding = 1) readonly buffer XBuffer { Quad data[]; } x;            // [B, T, Hq, K]
layout(binding = 2) readonly buffer WeightBuffer { Pack data[]; } weight;  // [Hq, K, E, K]
layout(binding = 3) readonly buffer DyBuffer { Pack data[]; } dy;          // [B, T, Hq, E, K]
layout(binding = 4) writeonly buffer DxBuffer { Quad data[]; } dx;         // [B, T, Hq, K]

const uint SLAB = 64;
const uint SLAB_PACKS = SLAB / PACK;
const uint SLAB_STRIDE = SLAB_PACKS + 1;
const uint ROW_TILES = TOKENS / TILE;
const uint COLUMN_TILES = COLUMNS / TILE;
const uint TILES = (ROW_TILES * COLUMN_TILES + TEAMS - 1) / TEAMS;  // of a team
const uint RIGHTS = TOKENS * SLAB_STRIDE;
const uint STAGED = RIGHTS + COLUMNS * SLAB_STRIDE;
const uint FLOAT_STRIDE = COLUMNS / 4 + 1;

shared Cell tiles[STAGED > TOKENS * FLOAT_STRIDE ? STAGED : TOKENS * FLOAT_STRIDE];

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.z, column = gl_WorkGroupID.x * COLUMNS;
  const uint first = (first_range + gl_WorkGroupID.y) * TOKENS;  // of all rows of tokens
  const uint end = min(first + TOKENS, seq_len * ranges_per_row);
  const uint depth = expansion * KEY_PACKS;  // packs
  Sum sums[TILES];
  UNROLLED for (uint n = 0; n < TILES; ++n) sums[n] = EMPTY;
  Pack lefts[FETCHES(TOKENS, SLAB_PACKS)], rights[FETCHES(COLUMNS, SLAB_PACKS)];

#define FETCH_SLAB(at)                                                                                       \
  FETCH(lefts, TOKENS, SLAB_PACKS,                                                                           \
        first + row < end && (at) + pack < depth                                                             \
            ? dy.data[((first + row) * qk_heads + head) * depth + (at) + pack] : Pack(0))                    \
  FETCH(rights, COLUMNS, SLAB_PACKS,                                                                         \
        (at) + pack < depth ? weight.data[(head * KEY_DIM + column + row) * depth + (at) + pack] : Pack(0))

  FETCH_SLAB(0)
  for (uint slab = 0; slab < depth; slab += SLAB_PACKS) {
    barrier();
    PLACE(tiles, SLAB_STRIDE, TOKENS, SLAB_PACKS, lefts)
    UNROLLED for (uint n = 0; n < FETCHES(COLUMNS, SLAB_PACKS); ++n) {
      const uint i = thread + n * THREADS;
      if (i < COLUMNS * SLAB_PACKS) tiles[RIGHTS + i / SLAB_PACKS * SLAB_STRIDE + i % SLAB_PACKS] = cell(rights[n]);
    }
    barrier();
    if (slab + SLAB_PACKS < depth) {
      FETCH_SLAB(slab + SLAB_PACKS)
    }
    UNROLLED for (uint n = 0; n < TILES; ++n) {
      const uint tile = team + n * TEAMS, row = tile / COLUMN_TILES * TILE, at = tile % COLUMN_TILES * TILE;
      if (tile >= ROW_TILES * COLUMN_TILES) continue;
      UNROLLED for (uint d = 0; d < steps(SLAB); d += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT(left, tiles, row * SLAB_STRIDE + d / PACK, SLAB_STRIDE);
        LOAD_RIGHT_TRANSPOSED(right, tiles, RIGHTS + at * SLAB_STRIDE + d / PACK, SLAB_STRIDE);
        MULTIPLY_ADD(sums[n], left, right);
      }
    }
  }

  barrier();
  UNROLLED for (uint n = 0; n < TILES; ++n) {
    const uint tile = team + n * TEAMS, row = tile / COLUMN_TILES * TILE, at = tile % COLUMN_TILES * TILE;
    if (tile < ROW_TILES * COLUMN_TILES) STORE_FLOATS(sums[n], tiles, row * FLOAT_STRIDE + at / 4, FLOAT_STRIDE);
  }
  barrier();
  for (uint i = thread; i < TOKENS * COLUMNS / 4; i += THREADS) {
    const uint row = i / (COLUMNS / 4), quad = i % (COLUMNS / 4);
    if (first + row >= end) continue;
    const uint to = ((first + row) * qk_heads + head) * KEY_QUADS + column / 4 + quad;
    dx.data[to] = narrow(silu_slope(widen(x.data[to])) * floats_of(tiles[row * FLOAT_STRIDE + quad]));
  }
}
