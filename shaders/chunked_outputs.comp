// o of VALUE_TILE columns of a head, each chunk by itself, summed over the subheads in their order:
//   O = scale sum_e [ e^γ ∘ (Q S) + P U ],  P = Q K^T ∘ Γ;  gla  (Q ∘ e^γ) S
//
// Of gla, P is no masked product of Q and K: the decay sits inside the sum over the channels. For a pivot π between j and
// i it splits into two factors that are both <= 1: (q_i e^{γ_i - γ_π}) . (k_j e^{γ_π - γ_j}). The pairs whose pivot is the
// end of the first half of a span of 2 h tokens are those of the span's second half with its first: one tile of rows, the
// first halves scaled k and the second halves scaled q, multiplied with itself, has them all. h = C / 2, .., 2, 1 covers
// every pair i > j, and i = j has no decay.
//
// Shared memory, Cell: keys and queries [C][K / PACK + 1] where matrices are cooperative (gla: queries alone, always),
// scores [C][C / PACK + 1]; float gates.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer StatesBuffer { Pack data[]; } states;        // [parts, K, V] in tiles
// In tiles: gated_delta [parts, C, V]; else [slots, H, C, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;
layout(binding = 7) writeonly buffer OBuffer { Pack data[]; } o;                 // [B, T, H, V]

const uint SCORE_STRIDE = CHUNK / PACK + 1;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint ROW_STEP = TEAMS / COLUMN_TILES;  // teams that share a column of tiles
const uint O_TILES = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;

shared Cell scores[CHUNK * SCORE_STRIDE > STAGING ? CHUNK * SCORE_STRIDE : STAGING];
#if RULE == GLA
shared Cell mixed[CHUNK * KEY_STRIDE];
shared float own[CHUNK];  // q_i . k_i
#elif COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell queries[CHUNK * KEY_STRIDE];
#else
#define keys k.data
#define queries q.data
#endif
#if RULE == SSD || RULE == GATED_DELTA
shared float gammas[CHUNK];
#endif

#if RULE == GLA
// Rows of k, or of q, times a decay of each channel.
void stage_decayed(Rows rows, uint decays, uint half_span) {
  for (uint i = thread_index(); i < CHUNK * KEY_PACKS; i += gl_WorkGroupSize.x) {
    const uint row = i / KEY_PACKS, pack = i % KEY_PACKS;
    const uint at = rows.first + row * rows.stride + pack;
    const uint pivot = half_span == 0 ? row : row / (2 * half_span) * 2 * half_span + half_span - 1;
    const bool second_half = half_span == 0 || row > pivot;
    float factors[PACK];
    for (uint j = 0; j < PACK; ++j) {
      const float here = gamma.data[decays + row * KEY_DIM + pack * PACK + j];
      const float there = half_span == 0 ? 0 : gamma.data[decays + pivot * KEY_DIM + pack * PACK + j];
      factors[j] = exp(second_half ? here - there : there - here);
    }
    Values x = values_of(factors);
    if (row < rows.count) x = product(x, second_half ? widen(q.data[at]) : widen(k.data[at]));
    mixed[row * KEY_STRIDE + pack] = row < rows.count ? cell(x) : Cell(0);
  }
}

// The product of two 16-row blocks of `mixed`.
Sum mixed_product(uint row, uint column) {
  Sum products = EMPTY;
  for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
    Left left;
    Right right;
    LOAD_LEFT(left, mixed, row * KEY_STRIDE + channel / PACK, KEY_STRIDE);
    LOAD_RIGHT_TRANSPOSED(right, mixed, column * KEY_STRIDE + channel / PACK, KEY_STRIDE);
    MULTIPLY_ADD(products, left, right);
  }
  return products;
}
#endif

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint first_column = gl_WorkGroupID.z * VALUE_TILE;
  const uint head = gl_WorkGroupID.y;
  const uint value_packs = value_dim / PACK;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint column = first_column + team % COLUMN_TILES * TILE;
  const uint first_row = team / COLUMN_TILES;

  find_positions();
  Sum sums[O_TILES];
  for (uint n = 0; n < O_TILES; ++n) sums[n] = EMPTY;

  for (uint subhead = 0; subhead < expansion; ++subhead) {
    const uint part = part_of(chunk, head, subhead);
    const Rows rows = qk_rows(chunk, head, subhead);
    Sum parts[O_TILES];  // of this subhead

    barrier();
#if RULE == GLA
    const uint decays = part * CHUNK * KEY_DIM;
    for (uint i = thread; i < CHUNK; i += gl_WorkGroupSize.x) {
      float sum = 0;
      for (uint pack = 0; pack < steps(i < chunk.tokens ? KEY_PACKS : 0); ++pack) {
        const uint at = rows.first + i * rows.stride + pack;
        sum += dot_of(widen(q.data[at]), widen(k.data[at]));
      }
      own[i] = sum;
    }
    Sum diagonal = EMPTY;
    for (uint half_span = CHUNK / 2; half_span > 0; half_span /= 2) {
      stage_decayed(rows, decays, half_span);
      barrier();
      if (half_span >= TILE) {
        const uint blocks = half_span / TILE;  // in half a span
        for (uint tile = team; tile < ROW_TILES * blocks / 2; tile += TEAMS) {
          const uint row = (tile / (blocks * blocks) * 2 * blocks + blocks + tile / blocks % blocks) * TILE;
          const uint from = (tile / (blocks * blocks) * 2 * blocks + tile % blocks) * TILE;
          STORE_CELLS(mixed_product(row, from), scores, row * SCORE_STRIDE + from / PACK, SCORE_STRIDE);
        }
      } else if (team < ROW_TILES) {
        const Sum products = mixed_product(team * TILE, team * TILE);
        for (uint e = 0; e < ELEMENTS; ++e) {
          const uint i = row_of(e) / half_span, j = column_of(e) / half_span;
          if (i % 2 == 1 && j == i - 1) VALUE(diagonal, e) += VALUE(products, e);
        }
      }
      barrier();
    }
    if (team < ROW_TILES) {
      for (uint e = 0; e < ELEMENTS; ++e)
        if (row_of(e) == column_of(e)) VALUE(diagonal, e) = own[team * TILE + row_of(e)];
      STORE_CELLS(diagonal, scores, team * TILE * SCORE_STRIDE + team * TILE / PACK, SCORE_STRIDE);
    }
    stage_decayed(rows, decays, 0);
    barrier();
#else
    STAGE_ROWS(queries, q, rows)
    STAGE_ROWS(keys, k, rows)
#if RULE != LINEAR
    for (uint i = thread; i < CHUNK; i += gl_WorkGroupSize.x) gammas[i] = gamma.data[part * CHUNK + i];
#endif
    barrier();
    for (uint tile = team; tile < ROW_TILES * ROW_TILES; tile += TEAMS) {
      const uint row = tile / ROW_TILES * TILE, from = tile % ROW_TILES * TILE;
      if (from > row) continue;
      Sum products = EMPTY;
      for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
        Left left;
        Right right;
        ROWS_LEFT(left, queries, rows, row, channel);
        ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, from);
        MULTIPLY_ADD(products, left, right);
      }
      for (uint e = 0; e < ELEMENTS; ++e) {
        const uint i = row + row_of(e), j = from + column_of(e);
#if RULE == LINEAR
        if (j > i) VALUE(products, e) = 0;
#else
        VALUE(products, e) *= j <= i ? exp(gammas[i] - gammas[j]) : 0;
#endif
      }
      STORE_CELLS(products, scores, row * SCORE_STRIDE + from / PACK, SCORE_STRIDE);
    }
#endif

    // Meanwhile what the state recalls.
    for (uint n = 0; n < O_TILES; ++n) parts[n] = EMPTY;
    for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Right right;
      LOAD_RIGHT(right, states.data, part * KEY_DIM * value_packs + tiled(channel, column, value_dim), LINE);
      for (uint n = 0; n < O_TILES; ++n) {
        const uint row = (first_row + n * ROW_STEP) * TILE;
        if (row >= CHUNK) continue;
        Left left;
#if RULE == GLA
        LOAD_LEFT(left, mixed, row * KEY_STRIDE + channel / PACK, KEY_STRIDE);
#else
        ROWS_LEFT(left, queries, rows, row, channel);
#endif
        MULTIPLY_ADD(parts[n], left, right);
      }
    }
#if RULE == SSD || RULE == GATED_DELTA
    for (uint n = 0; n < O_TILES; ++n) {
      const uint row = (first_row + n * ROW_STEP) * TILE;
      if (row >= CHUNK) continue;
      for (uint e = 0; e < ELEMENTS; ++e) VALUE(parts[n], e) *= exp(gammas[row + row_of(e)]);
    }
#endif
    barrier();

#if RULE == GATED_DELTA
    const uint value_at = part * CHUNK * value_packs;
#else
    const uint value_at = (chunk.slot * heads + head) * CHUNK * value_packs;
#endif
    for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Right right;
      LOAD_RIGHT(right, corrected.data, value_at + tiled(token, column, value_dim), LINE);
      for (uint n = 0; n < O_TILES; ++n) {
        const uint row = (first_row + n * ROW_STEP) * TILE;
        if (row >= CHUNK || token >= row + TILE) continue;
        Left left;
        LOAD_LEFT(left, scores, row * SCORE_STRIDE + token / PACK, SCORE_STRIDE);
        MULTIPLY_ADD(parts[n], left, right);
      }
    }
    for (uint n = 0; n < O_TILES; ++n) sums[n] += parts[n];
  }

  barrier();
  for (uint n = 0; n < O_TILES; ++n) {
    const uint row = (first_row + n * ROW_STEP) * TILE;
    if (row >= CHUNK || row >= chunk.tokens) continue;
    sums[n] *= scale;
    STORE_ROWS(sums[n], o.data, ((chunk.begin + row) * heads + head) * value_packs + column / PACK, heads * value_packs,
               chunk.tokens - row, scores);
  }
}
