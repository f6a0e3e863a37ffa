// dW = SiLU(x)^T dy of one side, ROWS x COLUMNS of a head's [K, E K] over a range of all tokens: a part, one a range; 64
// tokens at a time.
//
// Shared memory, Cell: lefts [64][ROWS / PACK + 1]: SiLU(x); rights [64][COLUMNS / PACK + 1]: dy.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "front_end.glsl"

layout(constant_id = 3) const uint ROWS = 16;
layout(constant_id = 4) const uint COLUMNS = 16;

layout(binding = 1) readonly buffer XBuffer { Pack data[]; } x;            // [B, T, Hq, K]
layout(binding = 2) readonly buffer DyBuffer { Pack data[]; } dy;          // [B, T, Hq, E, K]
layout(binding = 3) writeonly buffer PartsBuffer { vec4 data[]; } parts;   // [ranges, Hq, K, E, K]

const uint TOKENS = 64;
const uint ROW_PACKS = ROWS / PACK, COLUMN_PACKS = COLUMNS / PACK;
const uint ROW_STRIDE = ROW_PACKS + 1, COLUMN_STRIDE = COLUMN_PACKS + 1;
const uint ROW_TILES = ROWS / TILE, COLUMN_TILES = COLUMNS / TILE;
const uint TILES = (ROW_TILES * COLUMN_TILES + TEAMS - 1) / TEAMS;  // of a team

shared Cell lefts[TOKENS * ROW_STRIDE];
shared Cell rights[TOKENS * COLUMN_STRIDE];

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.z;
  const uint across = expansion * KEY_DIM / COLUMNS;
  const uint row_at = gl_WorkGroupID.x / across * ROWS, column_at = gl_WorkGroupID.x % across * COLUMNS;
  const uint range = first_range + gl_WorkGroupID.y, all = seq_len * ranges_per_row;
  const uint first = range * range_tokens, end = min(first + range_tokens, all);
  const uint x_stride = qk_heads * KEY_PACKS, dy_stride = x_stride * expansion;
  const uint x_at = head * KEY_PACKS + row_at / PACK, dy_at = head * expansion * KEY_PACKS + column_at / PACK;

  Sum sums[TILES];
  UNROLLED for (uint n = 0; n < TILES; ++n) sums[n] = EMPTY;
  Pack left_fetches[FETCHES(TOKENS, ROW_PACKS)], right_fetches[FETCHES(TOKENS, COLUMN_PACKS)];
#define FETCH_TOKENS(start)                                                                                  \
  FETCH(left_fetches, TOKENS, ROW_PACKS,                                                                     \
        (start) + row < end ? x.data[((start) + row) * x_stride + x_at + pack] : Pack(0))                    \
  FETCH(right_fetches, TOKENS, COLUMN_PACKS,                                                                 \
        (start) + row < end ? dy.data[((start) + row) * dy_stride + dy_at + pack] : Pack(0))

  FETCH_TOKENS(first)
  for (uint start = first; start < end; start += TOKENS) {
    barrier();
    UNROLLED for (uint n = 0; n < FETCHES(TOKENS, ROW_PACKS); ++n) {
      const uint i = thread + n * THREADS;
      if (i < TOKENS * ROW_PACKS) lefts[i / ROW_PACKS * ROW_STRIDE + i % ROW_PACKS] = cell(silu(widen(left_fetches[n])));
    }
    PLACE(rights, COLUMN_STRIDE, TOKENS, COLUMN_PACKS, right_fetches)
    barrier();
    if (start + TOKENS < end) {
      FETCH_TOKENS(start + TOKENS)
    }
    UNROLLED for (uint n = 0; n < TILES; ++n) {
      const uint tile = team + n * TEAMS, row = tile / COLUMN_TILES, column = tile % COLUMN_TILES;
      if (tile >= ROW_TILES * COLUMN_TILES) continue;
      UNROLLED for (uint d = 0; d < steps(TOKENS); d += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT_TRANSPOSED(left, lefts, d * ROW_STRIDE + row * LINE, ROW_STRIDE);
        LOAD_RIGHT(right, rights, d * COLUMN_STRIDE + column * LINE, COLUMN_STRIDE);
        MULTIPLY_ADD(sums[n], left, right);
      }
    }
  }

  const uint to = ((range * qk_heads + head) * KEY_DIM + row_at) * expansion * KEY_QUADS + column_at / 4;
  UNROLLED for (uint n = 0; n < TILES; ++n) {
    const uint tile = team + n * TEAMS;
    if (tile >= ROW_TILES * COLUMN_TILES) continue;
    STORE_FLOATS(sums[n], parts.data, to + tile / COLUMN_TILES * TILE * expansion * KEY_QUADS + tile % COLUMN_TILES * TILE / 4,
                 expansion * KEY_QUADS);
  }
}
