// What a chunk of a subhead makes of its own rows alone, j the column:
//   P = Q K^T ∘ Γ, j <= i: what a token reads of those before it in its chunk;
//   gated_delta too: G = K K^T ∘ Γ, j < i: of the system that chunked_invert.comp inverts.
// gla, whose decay sits inside the sum over the channels, has chunked_scores_gla.comp.
//
// A workgroup goes over some of a head's subheads, so that the rows of the next are on their way while it multiplies.
// A team takes 16 x 16 tiles on or below the diagonal, one at a time, and P goes out before G is made: workgroups that
// wait in turn, with few registers each, are faster than one that holds all its tiles. G goes out in float32, or in f16
// where matrices are cooperative: bf16 would lose three bits before the inverse is even taken. Backward wants it in the
// elements' type too.
//
// Shared memory, Cell: result [C][C / PACK + 1]; where matrices are cooperative keys and queries [C][K / PACK + 1], G in
// float32 [C][C + 4] in the queries' place. float: gammas [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(binding = 5) writeonly buffer ScoresBuffer { Pack data[]; } scores;  // [parts, C, C], in 16 x 16 tiles with j <= i
#if RULE == GATED_DELTA
layout(binding = 6) writeonly buffer SystemBuffer { Cell data[]; } system;  // [parts, C, C] as scores: G
#if BACKWARD
layout(binding = 7) writeonly buffer GramBuffer { Pack data[]; } gram;      // likewise
#endif
#endif

const uint ROW_TILES = CHUNK / TILE;
const uint LOWER_TILES = ROW_TILES * (ROW_TILES + 1) / 2;
const uint FLOAT_STRIDE = CHUNK / 4 + 1;  // cells of 16 bytes

#if COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell result[CHUNK * CHUNK_STRIDE];
#if RULE == GATED_DELTA
shared Cell queries[CHUNK * LARGER(KEY_STRIDE, FLOAT_STRIDE)];
#define gram_result queries
#else
shared Cell queries[CHUNK * KEY_STRIDE];
#endif
#else
shared Cell result[CHUNK * CHUNK_STRIDE];  // a cell is four float32: G's place too
#define gram_result result
#define keys k.data
#define queries q.data
#endif
#if RULE != LINEAR
shared float gammas[CHUNK];
#endif

#if RULE == GATED_DELTA
// Eight elements of G, or four, from where it stands in float32.
Values gram_at(uint at) {
#if COOPERATIVE
  return Values(uintBitsToFloat(queries[at]), uintBitsToFloat(queries[at + 1]));
#else
  return result[at];
#endif
}
Cell system_cell(Values x) {
#if COOPERATIVE
  return uvec4(packHalf2x16(x.low.xy), packHalf2x16(x.low.zw), packHalf2x16(x.high.xy), packHalf2x16(x.high.zw));
#else
  return x;
#endif
}
#endif

// The n-th tile on or below the diagonal, row by row: 0; 1 2; 3 4 5; 6 ...
uint tile_row(uint n) { return n < 1 ? 0 : n < 3 ? 1 : n < 6 ? 2 : 3; }
uint tile_column(uint n) { return n - tile_row(n) * (tile_row(n) + 1) / 2; }

// A tile of K K^T or of Q K^T.
Sum product_with_keys(bool of_keys, Rows rows, uint row, uint from) {
  Sum products = EMPTY;
  UNROLLED for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
    Left left;
    Right right;
    if (of_keys) {
      ROWS_LEFT(left, keys, rows, row, channel);
    } else {
      ROWS_LEFT(left, queries, rows, row, channel);
    }
    ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, from);
    MULTIPLY_ADD(products, left, right);
  }
  return products;
}

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  const uint span = (expansion + gl_NumWorkGroups.z - 1) / gl_NumWorkGroups.z;
  const uint begin = gl_WorkGroupID.z * span, end = min(begin + span, expansion);
  if (chunk.tokens == 0 || begin >= end) return;

  Rows rows;
  Pack fetched_queries[ROWS_FETCHES], fetched_keys[ROWS_FETCHES];
#if RULE != LINEAR
  float fetched_gammas[FETCHES(CHUNK, 1)];
#define FETCH_GAMMAS(subhead) FETCH_TOKENS(fetched_gammas, gamma.data[part_of(chunk, head, subhead) * CHUNK + row])
#else
#define FETCH_GAMMAS(subhead)
#endif
#define FETCH_SUBHEAD(subhead)               \
  {                                          \
    rows = qk_rows(chunk, head, subhead);    \
    FETCH_ROWS(fetched_queries, q, rows)     \
    FETCH_ROWS(fetched_keys, k, rows)        \
    FETCH_GAMMAS(subhead)                    \
  }
  FETCH_SUBHEAD(begin)
  find_positions();

  for (uint subhead = begin; subhead < end; ++subhead) {
    const uint part = part_of(chunk, head, subhead);
    barrier();
#if RULE != LINEAR
    PLACE_TOKENS(gammas, fetched_gammas)
#endif
    PLACE_ROWS(queries, fetched_queries, rows)
    PLACE_ROWS(keys, fetched_keys, rows)
    const Rows rows_here = rows;
    const uint next = min(subhead + 1, end - 1);
    barrier();
#if RULE != GATED_DELTA  // there behind P: G takes long enough, and bf16 would need too many registers for both
    FETCH_SUBHEAD(next)
#endif

    for (uint tile = team; tile < LOWER_TILES; tile += TEAMS) {
      const uint row = tile_row(tile) * TILE, from = tile_column(tile) * TILE;
      Sum products = product_with_keys(false, rows_here, row, from);
      EACH_ELEMENT {
        const uint i = row + ROW, j = from + COLUMN;
#if RULE == LINEAR
        if (j > i) VALUE(products) = 0;
#else
        VALUE(products) *= j <= i ? exp(gammas[i] - gammas[j]) : 0;
#endif
      }
      STORE_CELLS(products, result, row * CHUNK_STRIDE + from / PACK, CHUNK_STRIDE);
    }
    barrier();
    for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
      const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
      if (pack * PACK / TILE <= row / TILE)
        scores.data[part * CHUNK * CHUNK_PACKS + i] = pack_of(result[row * CHUNK_STRIDE + pack]);
    }

#if RULE == GATED_DELTA
    FETCH_SUBHEAD(next)
#if !COOPERATIVE
    barrier();
#endif
    for (uint tile = team; tile < LOWER_TILES; tile += TEAMS) {
      const uint row = tile_row(tile) * TILE, from = tile_column(tile) * TILE;
      Sum products = product_with_keys(true, rows_here, row, from);
      EACH_ELEMENT {
        const uint i = row + ROW, j = from + COLUMN;
        VALUE(products) *= j < i ? exp(gammas[i] - gammas[j]) : 0;
      }
      STORE_FLOATS(products, gram_result, row * FLOAT_STRIDE + from / 4, FLOAT_STRIDE);
    }
    barrier();
    for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
      const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
      if (pack * PACK / TILE > row / TILE) continue;
      const Values x = gram_at(row * FLOAT_STRIDE + pack * PACK / 4);
      system.data[part * CHUNK * CHUNK_PACKS + i] = system_cell(x);
#if BACKWARD
      gram.data[part * CHUNK * CHUNK_PACKS + i] = narrow(x);
#endif
    }
#endif
  }
}
