// P = Q K^T ∘ Γ of each chunk of each subhead, j <= i: what a token reads of those before it in its chunk.
//
// Of gla, P is no masked product of Q and K: the decay sits inside the sum over the channels. For a pivot π between j and
// i it splits into two factors that are both <= 1: (q_i e^{γ_i - γ_π}) . (k_j e^{γ_π - γ_j}). The pairs whose pivot is the
// end of the first half of a span of 2 h tokens are those of the span's second half with its first: one tile of rows, the
// first halves scaled k and the second halves scaled q, multiplied with itself, has them all. h = C / 2, .., 2, 1 covers
// every pair i > j, and i = j has no decay. Q ∘ e^γ and K ∘ e^{γ_C - γ} are left for the kernels that follow.
//
// Shared memory, Cell: result [C][C / PACK + 1]; keys and queries [C][K / PACK + 1] where matrices are cooperative; gla instead mixed
// [C][K / PACK + 1] and own, a float an invocation; float gates.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(binding = 5) writeonly buffer ScoresBuffer { Pack data[]; } scores;  // [parts, C, C], in 16 x 16 tiles with j <= i

#if RULE == GLA
layout(binding = 6) writeonly buffer DecayedQBuffer { Pack data[]; } decayed_q;  // [parts, C, K]: Q ∘ e^γ
layout(binding = 7) writeonly buffer DecayedKBuffer { Pack data[]; } decayed_k;  // [parts, C, K]: K ∘ e^{γ_C - γ}
#endif

const uint ROW_TILES = CHUNK / TILE;

shared Cell result[CHUNK * CHUNK_STRIDE];
#if RULE == GLA
shared Cell mixed[CHUNK * KEY_STRIDE];
const uint SHARERS = TEAMS * TEAM_SIZE / CHUNK;  // invocations that share a row
shared float own[CHUNK * SHARERS];               // parts of q_i . k_i
#else
#if COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell queries[CHUNK * KEY_STRIDE];
#else
#define keys k.data
#define queries q.data
#endif
#if RULE != LINEAR
shared float gammas[CHUNK];
#endif
#endif

#if RULE == GLA
void stage_mixed(Rows rows, uint part, uint half_span) {
  // Unrolled, it takes the registers of a second workgroup.
  [[dont_unroll]] for (uint i = thread_index(); i < CHUNK * KEY_PACKS; i += gl_WorkGroupSize.x) {
    const uint row = i / KEY_PACKS, pack = i % KEY_PACKS;
    const uint at = rows.first + row * rows.stride + pack;
    const uint pivot = row / (2 * half_span) * 2 * half_span + half_span - 1;
    const Values here = gamma_at(part, row, pack), there = gamma_at(part, pivot, pack);
    Cell x = Cell(0);
    if (row < rows.count) {
      x = row > pivot ? cell(product(widen(q.data[at]), exponentials(difference(here, there))))
                      : cell(product(widen(k.data[at]), exponentials(difference(there, here))));
    }
    mixed[row * KEY_STRIDE + pack] = x;
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
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = part_of(chunk, head, subhead);
  const Rows rows = qk_rows(chunk, head, subhead);
  find_positions();

#if RULE == GLA
  if (thread < CHUNK * SHARERS) {
    const uint row = thread / SHARERS;
    float sum = 0;
    [[dont_unroll]] for (uint pack = thread % SHARERS; pack < KEY_PACKS; pack += SHARERS) {
      const uint at = rows.first + row * rows.stride + pack, to = part_rows(part).first + row * KEY_PACKS + pack;
      if (row < rows.count) {
        const Values query = widen(q.data[at]), key = widen(k.data[at]), here = gamma_at(part, row, pack);
        sum += dot_of(query, key);
        decayed_q.data[to] = narrow(product(query, exponentials(here)));
        decayed_k.data[to] = narrow(product(key, exponentials(difference(gamma_at(part, CHUNK - 1, pack), here))));
      } else {
        decayed_q.data[to] = decayed_k.data[to] = Pack(0);
      }
    }
    own[thread] = sum;
  }
  Sum diagonal = EMPTY;  // this team's tile on the diagonal
  for (uint half_span = CHUNK / 2; half_span > 0; half_span /= 2) {
    stage_mixed(rows, part, half_span);
    barrier();
    if (half_span >= TILE) {
      const uint blocks = half_span / TILE;  // in half a span
      for (uint tile = team; tile < ROW_TILES * blocks / 2; tile += TEAMS) {
        const uint row = (tile / (blocks * blocks) * 2 * blocks + blocks + tile / blocks % blocks) * TILE;
        const uint from = (tile / (blocks * blocks) * 2 * blocks + tile % blocks) * TILE;
        const Sum products = mixed_product(row, from);
        STORE_CELLS(products, result, row * CHUNK_STRIDE + from / PACK, CHUNK_STRIDE);
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
    for (uint e = 0; e < ELEMENTS; ++e) {
      if (row_of(e) != column_of(e)) continue;
      for (uint i = 0; i < SHARERS; ++i) VALUE(diagonal, e) += own[(team * TILE + row_of(e)) * SHARERS + i];
    }
    STORE_CELLS(diagonal, result, team * TILE * CHUNK_STRIDE + team * TILE / PACK, CHUNK_STRIDE);
  }
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
    STORE_CELLS(products, result, row * CHUNK_STRIDE + from / PACK, CHUNK_STRIDE);
  }
#endif
  barrier();
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE <= row / TILE)
      scores.data[part * CHUNK * CHUNK_PACKS + i] = pack_of(result[row * CHUNK_STRIDE + pack]);
  }
}
