// o of VALUE_TILE columns of a head, each chunk by itself, summed over the subheads in their order:
//   O = scale sum_e [ (Q ∘ e^γ) S + P U ]
//
// Shared memory, Cell: queries [C][K / PACK + 1], read [C][C / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer ScoresBuffer { Pack data[]; } scores;        // [parts, C, C] in tiles: P
layout(binding = 6) readonly buffer StatesBuffer { Pack data[]; } states;        // [parts, V, K] in tiles: S^T
// In tiles: gated_delta [parts, V, C]; else [slots, H, V, C]: U^T
layout(binding = 7) readonly buffer CorrectedBuffer { Pack data[]; } corrected;
layout(binding = 8) writeonly buffer OBuffer { Pack data[]; } o;                 // [B, T, H, V]

const uint SCORE_PACKS = CHUNK / PACK;
const uint SCORE_STRIDE = SCORE_PACKS + 1;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint ROW_STEP = TEAMS / COLUMN_TILES;  // teams that share a column of tiles
const uint O_TILES = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;

shared Cell queries[CHUNK * KEY_STRIDE];
shared Cell read[CHUNK * SCORE_STRIDE > STAGING ? CHUNK * SCORE_STRIDE : STAGING];

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y;
  const uint value_packs = value_dim / PACK;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint column = gl_WorkGroupID.z * VALUE_TILE + team % COLUMN_TILES * TILE;
  const uint first_row = team / COLUMN_TILES;

  Sum sums[O_TILES];
  for (uint n = 0; n < O_TILES; ++n) sums[n] = EMPTY;

  for (uint subhead = 0; subhead < expansion; ++subhead) {
    const uint part = part_of(chunk, head, subhead);
    const Rows rows = qk_rows(chunk, head, subhead);

    barrier();
    for (uint i = thread; i < CHUNK * KEY_PACKS; i += gl_WorkGroupSize.x) {
      const uint row = i / KEY_PACKS, pack = i % KEY_PACKS;
      Cell x = Cell(0);
      if (row < rows.count) {
        const Pack query = q.data[rows.first + row * rows.stride + pack];
#if RULE == LINEAR
        x = cell(query);
#elif RULE == GLA
        x = cell(product(widen(query), exponentials(gamma_at(part, row, pack))));
#else
        x = cell(scaled(widen(query), exp(gamma.data[part * CHUNK + row])));
#endif
      }
      queries[row * KEY_STRIDE + pack] = x;
    }
    for (uint i = thread; i < CHUNK * SCORE_PACKS; i += gl_WorkGroupSize.x) {
      const uint row = i / SCORE_PACKS, pack = i % SCORE_PACKS;
      if (pack * PACK / TILE <= row / TILE)
        read[row * SCORE_STRIDE + pack] =
            cell(scores.data[part * CHUNK * SCORE_PACKS + tiled(row, pack * PACK, CHUNK)]);
    }
    barrier();

    for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Right right;
      LOAD_RIGHT_TRANSPOSED(right, states.data, part * KEY_PACKS * value_dim + tiled(column, channel, KEY_DIM), LINE);
      for (uint n = 0; n < O_TILES; ++n) {
        const uint row = (first_row + n * ROW_STEP) * TILE;
        if (row >= CHUNK) continue;
        Left left;
        LOAD_LEFT(left, queries, row * KEY_STRIDE + channel / PACK, KEY_STRIDE);
        MULTIPLY_ADD(sums[n], left, right);
      }
    }
#if RULE == GATED_DELTA
    const uint values_at = part * CHUNK * value_packs;
#else
    const uint values_at = (chunk.slot * heads + head) * CHUNK * value_packs;
#endif
    for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Right right;
      LOAD_RIGHT_TRANSPOSED(right, corrected.data, values_at + tiled(column, token, CHUNK), LINE);
      for (uint n = 0; n < O_TILES; ++n) {
        const uint row = (first_row + n * ROW_STEP) * TILE;
        if (row >= CHUNK || token >= row + TILE) continue;
        Left left;
        LOAD_LEFT(left, read, row * SCORE_STRIDE + token / PACK, SCORE_STRIDE);
        MULTIPLY_ADD(sums[n], left, right);
      }
    }
  }

  barrier();
  for (uint n = 0; n < O_TILES; ++n) {
    const uint row = (first_row + n * ROW_STEP) * TILE;
    if (row >= CHUNK || row >= chunk.tokens) continue;
    sums[n] *= scale;
    STORE_ROWS(sums[n], o.data, ((chunk.begin + row) * heads + head) * value_packs + column / PACK, heads * value_packs,
               chunk.tokens - row, read);
  }
}
