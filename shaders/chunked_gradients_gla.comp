// dq, dk and dg of gla for KEY_TILE channels of a chunk of a subhead, every chunk at once. S is the state before the chunk, D
// the gradient of the state after it, M from chunked_pairs.comp, all of the rest by channel:
//   dq_i = scale e^γ_i ∘ (dO S^T)_i + sum_{j<=i} M_ij k_j e^{γ_i - γ_j}
//   dk_j = e^{γ_C - γ_j} ∘ (V D^T)_j + sum_{i>=j} M_ij q_i e^{γ_i - γ_j}
// An invocation has four channels of four tokens (chunked_fours.glsl). Pairs within its four it takes by themselves. Others are
// taken by levels, as in forward's scores: the pairs whose pivot is the end of the first half of a span of 2 h tokens are the
// span's second half with its first. With k decayed to the pivot in first halves and q decayed from it in second ones, M's
// pairs of the level times that tile of rows, decayed once more, are dk's terms and dq's. All decays are products of
// w = e^g, none above 1: γ is never formed.
//
// dg_t is the sum of all terms of <O, dO> + <S+, D> whose way crosses t (runtime/cpu/chunked.h): nothing cancels.
//   through = e^{γ_C} rowsum(S ∘ D);  from S to i >= t, q_i ∘ dq_i's first term;  from j < t to S+, k_j ∘ dk_j's first
//   of a level, t in a second half: q_i ∘ dq_i's term with i >= t there;  t in a first half: k_j ∘ dk_j's with j < t there
// Within its four an invocation adds these up in its registers; the sums of whole fours cross shared memory.
//
// An invocation holds q and k, decayed within its four, and their sums from levels and states; what is within the four comes
// last, when q, k and g are read once more. Heads that share q and k are walked in order.
//
// Shared memory, Cell: pool, the longest of
//   dO [C][VALUE_TILE / PACK + 1], V^T [VALUE_TILE][C / PACK + 1], S^T and D^T [VALUE_TILE][KEY_TILE / PACK + 1];
//   dO S^T and V D^T [C][KEY_TILE / PACK + 1], parts of <S, D> as float [KEY_TILE];
//   LEVELS tiles of rows as those two; squares: M [C][C / PACK + 1], or its blocks on the diagonal, level by level [C][16 / PACK
//   + 1] (without cooperative matrices these alone), or in float sums of fours [2][C / 4][KEY_TILE]; two more such sums.
// float: totals [C / 4][KEY_TILE].
#version 450
#extension GL_GOOGLE_include_directive : require
#define QK Quad
#define NO_POSITIONS 1
#include "chunked.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;  // columns of V at a time
layout(constant_id = 5) const uint KEY_TILE = 16;    // channels of K of a workgroup
layout(constant_id = 6) const uint GROUP = 1;        // heads that share q and k

#define QUADS (KEY_TILE / 4)
#include "chunked_fours.glsl"

layout(binding = 4) readonly buffer GBuffer { vec4 data[]; } g;                  // [B, T, H, E, K]
layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;               // [B, T, H, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;  // [slots, H, V, C]: V^T
layout(binding = 7) readonly buffer StatesBuffer { Pack data[]; } states;        // [parts, V, K]: S^T
layout(binding = 8) readonly buffer GradientsBuffer { Pack data[]; } gradients;  // [parts, V, K]: D^T
layout(binding = 10) readonly buffer PairsBuffer { Pack data[]; } pairs;         // [slots, H, C, C]: M, mirrored
layout(binding = 11) writeonly buffer DqBuffer { Quad data[]; } dq;              // [B, T, Hq, E, K]
layout(binding = 12) writeonly buffer DkBuffer { Quad data[]; } dk;              // [B, T, Hq, E, K]
layout(binding = 13) writeonly buffer DgBuffer { vec4 data[]; } dg;              // [B, T, H, E, K]


// Levels at a time: of float32 the tiles of one.
#if COOPERATIVE
#define LEVELS 2
#else
#define LEVELS 1
#endif
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint TILE_PACKS = KEY_TILE / PACK;
const uint TILE_STRIDE = TILE_PACKS + 1;
const uint BLOCK_LINE = LINE + 1;
const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_STEP = TEAMS / ROW_TILES;  // teams that share a row of tiles
const uint TEAM_TILES = (KEY_TILE / TILE + COLUMN_STEP - 1) / COLUMN_STEP;
const uint SUMS = FOURS * KEY_TILE / 4;  // cells: an invocation's channels each, in float

// Where things are in the pool.
const uint ROWS_CELLS = CHUNK * TILE_STRIDE;
const uint OUTPUTS = 0;
const uint VALUES = OUTPUTS + CHUNK * VALUE_STRIDE;
const uint STATES = VALUES + VALUE_TILE * CHUNK_STRIDE;
const uint GRADIENTS = STATES + VALUE_TILE * TILE_STRIDE;
const uint SEEN_CELLS = GRADIENTS + VALUE_TILE * TILE_STRIDE;
const uint BEFORE = 0, AFTER = ROWS_CELLS, INNERS = 2 * ROWS_CELLS;
const uint INNER_ROWS = THREADS / TILE_PACKS;
const uint INNERS_CELLS = INNERS + INNER_ROWS * KEY_TILE / 4;
const uint SQUARES = LEVELS * ROWS_CELLS;
const uint BLOCKS_CELLS = LARGER(LEVELS * CHUNK * BLOCK_LINE, 2 * SUMS);
#if COOPERATIVE
const uint SQUARES_CELLS = LARGER(BLOCKS_CELLS, CHUNK * CHUNK_STRIDE);
#else
const uint SQUARES_CELLS = BLOCKS_CELLS;
#endif
const uint FROM_STATE = SQUARES + SQUARES_CELLS, TO_STATE = FROM_STATE + SUMS;
const uint LEVELS_CELLS = TO_STATE + SUMS;
shared Cell pool[LARGER(LARGER(SEEN_CELLS, INNERS_CELLS), LEVELS_CELLS)];

#if COOPERATIVE
#define Held FourKept  // an invocation's rows while others are made
Held held(mat4 x) { return FourKept(narrowed(x[0]), narrowed(x[1]), narrowed(x[2]), narrowed(x[3])); }
vec4 quad_of(Values x, uint quad) { return quad % 2 == 0 ? x.low : x.high; }
#define SET_INNER(at, x) pool[at] = floatBitsToUint(x.low), pool[(at) + 1] = floatBitsToUint(x.high)
void set_floats(uint at, vec4 x) { pool[at] = floatBitsToUint(x); }
#define PAIRS_LEFT(left, row, column) LOAD_LEFT(left, pool, SQUARES + (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
#else
#define Held mat4
Held held(mat4 x) { return x; }
mat4 widen(Held x) { return x; }
vec4 quad_of(Values x, uint quad) { return x; }
#define SET_INNER(at, x) pool[at] = x
void set_floats(uint at, vec4 x) { pool[at] = x; }
#define PAIRS_LEFT(left, row, column) \
  LOAD_LEFT(left, pairs.data, square_at + (row) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)
#endif

uint team_row() { return team_index() % ROW_TILES * TILE; }
// Of the team's n-th tile; KEY_TILE or more: there is none.
uint team_column(uint n) { return (team_index() / ROW_TILES + n * COLUMN_STEP) * TILE; }
#define STORE_TEAM(sums, at)                                                                                  \
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                                                            \
    if (team_column(n) < KEY_TILE)                                                                            \
      STORE_CELLS(sums[n], pool, (at) + team_row() * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);       \
  }

// What the tokens see of the states: before = dO S^T, after = V D^T; of <S, D> an invocation's part of the channels of pack
// thread_index() % TILE_PACKS. Ends with reads of the pool.
void see_states(Chunk chunk, uint head, uint part, uint first_channel, out Sum before[TEAM_TILES], out Sum after[TEAM_TILES],
                out Values inner) {
  const uint values_part = chunk.slot * heads + head, value_packs = value_dim / PACK, first_pack = first_channel / PACK;
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) before[n] = after[n] = EMPTY;
  inner = widen(Pack(0));
  Pack outputs[FETCHES(CHUNK, VALUE_PACKS)], values[FETCHES(VALUE_TILE, CHUNK_PACKS)];
  Pack state[FETCHES(VALUE_TILE, TILE_PACKS)], gradient[FETCHES(VALUE_TILE, TILE_PACKS)];
#define FETCH_COLUMNS(first)                                                                                             \
  FETCH(state, VALUE_TILE, TILE_PACKS, states.data[(part * value_dim + (first) + row) * KEY_PACKS + first_pack + pack])  \
  FETCH(gradient, VALUE_TILE, TILE_PACKS, gradients.data[(part * value_dim + (first) + row) * KEY_PACKS + first_pack + pack]) \
  FETCH(outputs, CHUNK, VALUE_PACKS,                                                                                     \
        row < chunk.tokens ? d_o.data[((chunk.begin + row) * heads + head) * value_packs + (first) / PACK + pack] : Pack(0)) \
  FETCH(values, VALUE_TILE, CHUNK_PACKS, corrected.data[(values_part * value_dim + (first) + row) * CHUNK_PACKS + pack])
  FETCH_COLUMNS(0)
  for (uint first = 0; first < value_dim; first += VALUE_TILE) {
    barrier();
    UNROLLED for (uint n = 0; n < FETCHES(VALUE_TILE, TILE_PACKS); ++n) {
      const uint row = (thread_index() + n * THREADS) / TILE_PACKS, at = row * TILE_STRIDE + thread_index() % TILE_PACKS;
      if (row >= VALUE_TILE) continue;
      pool[STATES + at] = cell(state[n]);
      pool[GRADIENTS + at] = cell(gradient[n]);
      inner = sum_of(inner, product(widen(state[n]), widen(gradient[n])));
    }
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, VALUE_PACKS); ++n) {
      const uint row = (thread_index() + n * THREADS) / VALUE_PACKS;
      if (row < CHUNK) pool[OUTPUTS + row * VALUE_STRIDE + (thread_index() + n * THREADS) % VALUE_PACKS] = cell(outputs[n]);
    }
    UNROLLED for (uint n = 0; n < FETCHES(VALUE_TILE, CHUNK_PACKS); ++n) {
      const uint row = (thread_index() + n * THREADS) / CHUNK_PACKS;
      if (row < VALUE_TILE) pool[VALUES + row * CHUNK_STRIDE + (thread_index() + n * THREADS) % CHUNK_PACKS] = cell(values[n]);
    }
    barrier();
    if (first + VALUE_TILE < value_dim) FETCH_COLUMNS(first + VALUE_TILE)
    UNROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {
      Left output_rows, value_rows;
      LOAD_LEFT(output_rows, pool, OUTPUTS + team_row() * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
      LOAD_LEFT_TRANSPOSED(value_rows, pool, VALUES + d * CHUNK_STRIDE + team_row() / PACK, CHUNK_STRIDE);
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
        if (team_column(n) >= KEY_TILE) continue;
        Right right;
        LOAD_RIGHT(right, pool, STATES + d * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);
        MULTIPLY_ADD(before[n], output_rows, right);
        LOAD_RIGHT(right, pool, GRADIENTS + d * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);
        MULTIPLY_ADD(after[n], value_rows, right);
      }
    }
  }
}

// Of two tokens, the bits in which they differ tell the level of their pair.
#define IS_LEVEL(i) float(((column + i) ^ row % TILE) >> level == 1)

// A level's tile of rows, and of M what is wanted of it.
void set_level(uint level, uint place, uint square_at, uint four, uint quad, Held queries, Held keys, vec4 factor) {
  if (four < FOURS) {
    const Held rows = in_second_half(level, four) ? queries : keys;
    SET_ROWS(pool, (place * CHUNK + four * FOUR) * TILE_STRIDE, TILE_STRIDE, quad, each_times(widen(rows), factor))
  }
  if (1 << level < TILE) {
    for (uint i = thread_index(); i < CHUNK * LINE; i += THREADS) {
      const uint row = i / LINE, column = i % LINE * PACK;
      const Values square = widen(pairs.data[square_at + row * CHUNK_PACKS + row / TILE * LINE + i % LINE]);
      pool[SQUARES + (place * CHUNK + row) * BLOCK_LINE + i % LINE] = cell(product(square, MASK(IS_LEVEL)));
    }
  }
#if COOPERATIVE
  else if (place == 0) {
    Pack square[FETCHES(CHUNK, CHUNK_PACKS)];
    FETCH(square, CHUNK, CHUNK_PACKS, pairs.data[square_at + row * CHUNK_PACKS + pack])
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, CHUNK_PACKS); ++n) {
      const uint i = thread_index() + n * THREADS;
      if (i < CHUNK * CHUNK_PACKS) pool[SQUARES + i / CHUNK_PACKS * CHUNK_STRIDE + i % CHUNK_PACKS] = square[n];
    }
  }
#endif
}

// M's pairs of the level times its rows.
void multiply_level(uint level, uint place, uint square_at, out Sum results[TEAM_TILES]) {
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) results[n] = EMPTY;
  const uint half_span = 1 << level;
  const uint partners = half_span < TILE ? team_row() : (team_row() >> level ^ 1) << level;
  UNROLLED for (uint d = 0; d < LARGER(half_span, TILE); d += DEPTH) {
    Left left;
    if (half_span < TILE) {
      LOAD_LEFT(left, pool, SQUARES + (place * CHUNK + team_row()) * BLOCK_LINE + d / PACK, BLOCK_LINE);
    } else {
      PAIRS_LEFT(left, team_row(), partners + d);
    }
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      if (team_column(n) >= KEY_TILE) continue;
      Right right;
      LOAD_RIGHT(right, pool, (place * CHUNK + partners + d) * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);
      MULTIPLY_ADD(results[n], left, right);
    }
  }
}

// Adds the level's terms of dq and dk; of the four, what they are times q and k.
vec4 add_level(uint level, uint place, uint four, uint quad, Held queries, Held keys, vec4 factor, inout mat4 query_sums,
               inout mat4 key_sums) {
  if (four >= FOURS) return vec4(0);
  const mat4 results = ROWS_AT(pool, (place * CHUNK + four * FOUR) * TILE_STRIDE, TILE_STRIDE, quad);
  const bool second_half = in_second_half(level, four);
  const Held rows = second_half ? queries : keys;
  if (second_half) {
    query_sums += each_times(results, factor);
  } else {
    key_sums += each_times(results, factor);
  }
  return sum_of(matrixCompMult(widen(rows), results)) * factor;
}

void main() {
  const uint thread = thread_index();
  // Neighbours share rows of q, k, g and of the states.
  const Chunk chunk = chunk_in(gl_WorkGroupID.z);
  if (chunk.tokens == 0) return;
  const uint qk_head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint first_channel = gl_WorkGroupID.x * KEY_TILE;
  const uint four = thread / QUADS, quad = thread % QUADS;
  const bool takes_part = four < FOURS;
  const uint count = takes_part ? max(chunk.tokens, four * FOUR) - four * FOUR : 0;  // tokens of the four, or more
  const uint row_quads = KEY_DIM / 4, first_quad = first_channel / 4 + quad;
  const uint qk_stride = qk_heads * expansion * row_quads, g_stride = heads * expansion * row_quads;
  const uint qk_at = qk_row(chunk.begin, qk_head * GROUP, subhead) * row_quads + four * FOUR * qk_stride + first_quad;

  mat4 query_heads = mat4(0), key_heads = mat4(0);  // dq and dk over the heads so far
  for (uint member = 0; member < GROUP; ++member) {
    const uint head = qk_head * GROUP + member, part = part_of(chunk, head, subhead);
    const uint square_at = (chunk.slot * heads + head) * CHUNK * CHUNK_PACKS;
    const uint g_at = gate_row(chunk.begin, head, subhead) * row_quads + four * FOUR * g_stride + first_quad;
    Sum before_sums[TEAM_TILES], after_sums[TEAM_TILES];
    Values inner;
    see_states(chunk, head, part, first_channel, before_sums, after_sums, inner);

    vec4 total;
    Held queries, keys;  // q with the decay from the four's beginning, k with that to its end
    {
      const FourKept query = KEPT_OF(q, qk_at, qk_stride, count), key = KEPT_OF(k, qk_at, qk_stride, count);
      const mat4 w = exponentials(FLOATS_OF(g, g_at, g_stride, count));
      queries = held(matrixCompMult(widen(query), from_begin(w)));
      keys = held(matrixCompMult(widen(key), to_end(w)));
      total = w[0] * w[1] * (w[2] * w[3]);
    }
    barrier();
    STORE_TEAM(before_sums, BEFORE)
    STORE_TEAM(after_sums, AFTER)
    SET_INNER(INNERS + thread / TILE_PACKS * (KEY_TILE / 4) + thread % TILE_PACKS * (PACK / 4), inner);
    if (takes_part) totals[thread] = total;
    barrier();

    // The decays between the four and the middle of its span of each level, and then the beginning and the end of the chunk.
    vec4 before = vec4(1), after = vec4(1);
    vec4 factor_3 = vec4(0), factor_4 = vec4(0), factor_5 = vec4(0), through = vec4(0);
    mat4 query_sums = mat4(0), key_sums = mat4(0);  // dq and dk without the decays that q and k have
    vec4 from_state = vec4(0), to_state = vec4(0);
    if (takes_part) {
      extend(2, four, quad, before, after);
      factor_3 = in_second_half(3, four) ? before : after;
      extend(3, four, quad, before, after);
      if (4 < ALL_LEVELS) {
        factor_4 = in_second_half(4, four) ? before : after;
        extend(4, four, quad, before, after);
      }
      if (5 < ALL_LEVELS) {
        factor_5 = in_second_half(5, four) ? before : after;
        extend(5, four, quad, before, after);
      }
      query_sums = each_times(ROWS_AT(pool, BEFORE + four * FOUR * TILE_STRIDE, TILE_STRIDE, quad), before * scale);
      key_sums = each_times(ROWS_AT(pool, AFTER + four * FOUR * TILE_STRIDE, TILE_STRIDE, quad), after);
      for (uint row = four; row < INNER_ROWS; row += FOURS) through += floats_of(pool[INNERS + row * QUADS + quad]);
      through *= before * total * after;
      const mat4 ways_from = matrixCompMult(widen(queries), query_sums), ways_to = matrixCompMult(widen(keys), key_sums);
      from_state = sum_of(ways_from) + through;
      to_state = sum_of(ways_to) + through;
    }
    barrier();
    if (takes_part) {
      set_floats(FROM_STATE + thread, from_state);
      set_floats(TO_STATE + thread, to_state);
    }

    // The sums of fours that other fours want go where nothing else is: of level 3 to the totals, of 4 and 5 to the squares.
#if LEVELS == 2
    {
      set_level(2, 0, square_at, four, quad, queries, keys, vec4(1));
      set_level(3, 1, square_at, four, quad, queries, keys, factor_3);
      barrier();
      Sum first[TEAM_TILES], second[TEAM_TILES];
      multiply_level(2, 0, square_at, first);
      multiply_level(3, 1, square_at, second);
      barrier();
      STORE_TEAM(first, 0)
      STORE_TEAM(second, ROWS_CELLS)
      barrier();
      add_level(2, 0, four, quad, queries, keys, vec4(1), query_sums, key_sums);
      const vec4 ways = add_level(3, 1, four, quad, queries, keys, factor_3, query_sums, key_sums);
      if (takes_part) totals[thread] = ways;
    }
    if (4 < ALL_LEVELS) {
      set_level(4, 0, square_at, four, quad, queries, keys, factor_4);
      if (5 < ALL_LEVELS) set_level(5, 1, square_at, four, quad, queries, keys, factor_5);
      barrier();
      Sum first[TEAM_TILES], second[TEAM_TILES];
      multiply_level(4, 0, square_at, first);
      if (5 < ALL_LEVELS) multiply_level(5, 1, square_at, second);
      barrier();
      STORE_TEAM(first, 0)
      if (5 < ALL_LEVELS) STORE_TEAM(second, ROWS_CELLS)
      barrier();
      const vec4 ways = add_level(4, 0, four, quad, queries, keys, factor_4, query_sums, key_sums);
      if (takes_part) set_floats(SQUARES + thread, ways);
      if (5 < ALL_LEVELS) {
        const vec4 ways_5 = add_level(5, 1, four, quad, queries, keys, factor_5, query_sums, key_sums);
        if (takes_part) set_floats(SQUARES + SUMS + thread, ways_5);
      }
    }
#else
    const vec4 factors[] = vec4[](vec4(1), factor_3, factor_4, factor_5);
    for (uint level = NEAR_LEVELS; level < ALL_LEVELS; ++level) {
      const vec4 factor = factors[level - NEAR_LEVELS];
      set_level(level, 0, square_at, four, quad, queries, keys, factor);
      barrier();
      Sum results[TEAM_TILES];
      multiply_level(level, 0, square_at, results);
      barrier();
      STORE_TEAM(results, 0)
      barrier();
      const vec4 ways = add_level(level, 0, four, quad, queries, keys, factor, query_sums, key_sums);
      if (takes_part && level == 3) totals[thread] = ways;
      if (takes_part && level > 3) set_floats(SQUARES + (level - 4) * SUMS + thread, ways);
    }
#endif
    barrier();

    if (takes_part) {
      // What crosses the whole four: from the states and of each level from the fours on its side.
      vec4 past = through;
      for (uint other = four + 1; other < FOURS; ++other) past += floats_of(pool[FROM_STATE + other * QUADS + quad]);
      for (uint other = 0; other < four; ++other) past += floats_of(pool[TO_STATE + other * QUADS + quad]);
#define ADD_PAST(level, sum)                                                        \
  if (level < ALL_LEVELS) {                                                         \
    const uint span = 1 << level - NEAR_LEVELS, begin = four / span * span;         \
    const bool second_half = in_second_half(level, four);                           \
    const uint end = second_half ? begin + span : four;                             \
    for (uint other = second_half ? four + 1 : begin; other < end; ++other) past += sum; \
  }
      ADD_PAST(3, totals[other * QUADS + quad])
      ADD_PAST(4, floats_of(pool[SQUARES + other * QUADS + quad]))
      ADD_PAST(5, floats_of(pool[SQUARES + SUMS + other * QUADS + quad]))

      // Within the four.
      mat4 gates;
      {
        const mat4 from = matrixCompMult(widen(queries), query_sums), to = matrixCompMult(widen(keys), key_sums);
        gates[3] = past + from[3];
        gates[2] = gates[3] + from[2];
        gates[1] = gates[2] + from[1];
        gates[0] = gates[1] + from[0];
        gates[1] += to[0];
        gates[2] += to[0] + to[1];
        gates[3] += to[0] + to[1] + to[2];
      }
      const FourKept query_quads = KEPT_OF(q, qk_at, qk_stride, count), key_quads = KEPT_OF(k, qk_at, qk_stride, count);
      const mat4 w = exponentials(FLOATS_OF(g, g_at, g_stride, count));
      const mat4 query = widen(query_quads), key = widen(key_quads);
      query_sums = matrixCompMult(query_sums, from_begin(w));
      key_sums = matrixCompMult(key_sums, to_end(w));
#define PAIRS_OF(i) quad_of(widen(pairs.data[square_at + (four * FOUR + i) * CHUNK_PACKS + four * FOUR / PACK]), four)
      const vec4 pairs_0 = PAIRS_OF(0), pairs_1 = PAIRS_OF(1), pairs_2 = PAIRS_OF(2), pairs_3 = PAIRS_OF(3);
      query_sums += mat4(pairs_0[0] * key[0], pairs_1[1] * key[1], pairs_2[2] * key[2], pairs_3[3] * key[3]);
      key_sums += mat4(pairs_0[0] * query[0], pairs_1[1] * query[1], pairs_2[2] * query[2], pairs_3[3] * query[3]);
      vec4 way;
#define ADD_PAIR(i, j, decay)                             \
  {                                                       \
    const vec4 factor = pairs_##i[j] * (decay);           \
    query_sums[i] += factor * key[j];                     \
    key_sums[j] += factor * query[i];                     \
    way = factor * key[j] * query[i];                     \
  }
      ADD_PAIR(1, 0, w[1])
      gates[1] += way;
      ADD_PAIR(2, 1, w[2])
      gates[2] += way;
      ADD_PAIR(3, 2, w[3])
      gates[3] += way;
      ADD_PAIR(2, 0, w[1] * w[2])
      gates[1] += way;
      gates[2] += way;
      ADD_PAIR(3, 1, w[2] * w[3])
      gates[2] += way;
      gates[3] += way;
      ADD_PAIR(3, 0, w[1] * w[2] * w[3])
      gates[1] += way;
      gates[2] += way;
      gates[3] += way;
      UNROLLED for (uint i = 0; i < FOUR; ++i) if (i < count) dg.data[g_at + i * g_stride] = gates[i];
      query_heads += query_sums;
      key_heads += key_sums;
    }
  }

  UNROLLED for (uint i = 0; i < FOUR; ++i) {
    if (i < count) {
      dq.data[qk_at + i * qk_stride] = narrowed(query_heads[i]);
      dk.data[qk_at + i * qk_stride] = narrowed(key_heads[i]);
    }
  }
}
