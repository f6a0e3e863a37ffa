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
// Where the device has room for it a workgroup has 128 channels and 512 invocations: NVIDIA's compiler, which takes all
// registers it is allowed, then stays at 128. Two of the pairs of columns of V and of the states are on their way at a time.
//
// Shared memory, Cell: pool, the longer of
//   dO [C][VALUE_TILE / PACK + 1], V^T [VALUE_TILE][C / PACK + 1], S^T and D^T [VALUE_TILE][KEY_TILE / PACK + 1];
//   a tile of rows [C][KEY_TILE / PACK + 1], with cooperative matrices M [C][C / PACK + 1], in float ways and totals
//   [C / 4][KEY_TILE] each, and M's blocks on the diagonal, level by level, [2 or 1][C][16 / PACK + 1];
//   before that dO S^T in the place of the tile of rows, V D^T behind it.
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

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint TILE_PACKS = KEY_TILE / PACK;
const uint TILE_STRIDE = TILE_PACKS + 1;
const uint BLOCK_LINE = LINE + 1;
const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = KEY_TILE / TILE;
const uint SUMS = FOURS * QUADS;  // cells: an invocation's channels each, in float
const bool ALL_TAKE_PART = SUMS == THREADS;

// Where things are in the pool.
const uint OUTPUTS = 0;
const uint VALUES = OUTPUTS + CHUNK * VALUE_STRIDE;
const uint STATES = VALUES + VALUE_TILE * CHUNK_STRIDE;
const uint GRADIENTS = STATES + VALUE_TILE * TILE_STRIDE;
const uint SEEN_CELLS = GRADIENTS + VALUE_TILE * TILE_STRIDE;
const uint ROWS_CELLS = CHUNK * TILE_STRIDE;
const uint BEFORE = 0, AFTER = ROWS_CELLS;
const uint SQUARES = ROWS_CELLS;
#if COOPERATIVE
const uint SQUARES_CELLS = CHUNK * CHUNK_STRIDE, BLOCKED_LEVELS = 2;
#else
const uint SQUARES_CELLS = 0, BLOCKED_LEVELS = 1;
#endif
const uint TOTALS = LARGER(SQUARES + SQUARES_CELLS + SUMS, AFTER + ROWS_CELLS);
const uint WAYS = TOTALS - SUMS;  // one behind the other, see ADD_STATES_PAST
const uint BLOCKS = TOTALS + SUMS;
const uint LEVELS_CELLS = BLOCKS + BLOCKED_LEVELS * CHUNK * BLOCK_LINE;
shared Cell pool[LARGER(SEEN_CELLS, LEVELS_CELLS)];
#define TOTAL(i) floats_of(pool[TOTALS + (i)])

#if COOPERATIVE
#define Held FourKept  // an invocation's rows while others are made
Held held(mat4 x) { return FourKept(narrowed(x[0]), narrowed(x[1]), narrowed(x[2]), narrowed(x[3])); }
void set_floats(uint at, vec4 x) { pool[at] = floatBitsToUint(x); }
#else
#define Held mat4
Held held(mat4 x) { return x; }
mat4 widen(Held x) { return x; }
void set_floats(uint at, vec4 x) { pool[at] = x; }
#endif

// FETCH and PLACE_EACH without a question that the sizes answer.
#define INSIDE(rows, packs) ((rows) * (packs) % THREADS == 0 || row < (rows))
#define FETCH_PACKS(fetched, rows, packs, source) FETCH_WHERE(INSIDE(rows, packs), fetched, rows, packs, source)
#define PLACE_PACKS(at, stride, rows, packs, source) PLACE_WHERE(INSIDE(rows, packs), pool, at, stride, rows, packs, source)

// What the tokens see of the states: before = dO S^T by the first half of the teams, after = V D^T by the second. A team has
// neighbouring rows of tiles and every SEEN_STEP-th column.
const uint SEEN_ROWS = ROW_TILES % 2 == 0 ? 2 : 1;
const uint SEEN_STEP = TEAMS / 2 / (ROW_TILES / SEEN_ROWS);
const uint SEEN_COLUMNS = (COLUMN_TILES + SEEN_STEP - 1) / SEEN_STEP;
bool sees_before() { return team_index() < TEAMS / 2; }
uint seen_row(uint m) { return (team_index() % (TEAMS / 2) % (ROW_TILES / SEEN_ROWS) * SEEN_ROWS + m) * TILE; }
// KEY_TILE or more: there is none.
uint seen_column(uint n) { return (team_index() % (TEAMS / 2) / (ROW_TILES / SEEN_ROWS) + n * SEEN_STEP) * TILE; }
#define SEEN_THERE(n) (COLUMN_TILES % SEEN_STEP == 0 || seen_column(n) < KEY_TILE)

// VALUE_TILE columns of V of all four, into a set of registers.
#define COLUMNS(set)                                                                                  \
  Pack set##_state[FETCHES(VALUE_TILE, TILE_PACKS)], set##_gradient[FETCHES(VALUE_TILE, TILE_PACKS)]; \
  Pack set##_outputs[FETCHES(CHUNK, VALUE_PACKS)], set##_values[FETCHES(VALUE_TILE, CHUNK_PACKS)];
#define FETCH_COLUMNS(set, first)                                                                                                      \
  {                                                                                                                                    \
    const uint column_ = (first);                                                                                                      \
    FETCH_PACKS(set##_state, VALUE_TILE, TILE_PACKS, states.data[(part * value_dim + column_ + row) * KEY_PACKS + first_pack + pack])  \
    FETCH_PACKS(set##_gradient, VALUE_TILE, TILE_PACKS,                                                                                \
               gradients.data[(part * value_dim + column_ + row) * KEY_PACKS + first_pack + pack])                                     \
    FETCH_PACKS(set##_outputs, CHUNK, VALUE_PACKS,                                                                                     \
               d_o.data[((chunk.begin + min(row, chunk.tokens - 1)) * heads + head) * value_packs + column_ / PACK + pack])            \
    FETCH_PACKS(set##_values, VALUE_TILE, CHUNK_PACKS, corrected.data[(values_part * value_dim + column_ + row) * CHUNK_PACKS + pack]) \
  }
#define PLACE_COLUMNS(set)                                                                                       \
  barrier();                                                                                                     \
  PLACE_PACKS(STATES, TILE_STRIDE, VALUE_TILE, TILE_PACKS, cell(set##_state[n_]))                                \
  PLACE_PACKS(GRADIENTS, TILE_STRIDE, VALUE_TILE, TILE_PACKS, cell(set##_gradient[n_]))                          \
  PLACE_PACKS(OUTPUTS, VALUE_STRIDE, CHUNK, VALUE_PACKS, row < chunk.tokens ? cell(set##_outputs[n_]) : Cell(0)) \
  PLACE_PACKS(VALUES, CHUNK_STRIDE, VALUE_TILE, CHUNK_PACKS, cell(set##_values[n_]))                             \
  barrier();
#define OUTPUT_ROWS(left, m, d) LOAD_LEFT(left, pool, OUTPUTS + seen_row(m) * VALUE_STRIDE + (d) / PACK, VALUE_STRIDE)
#define VALUE_ROWS(left, m, d) LOAD_LEFT_TRANSPOSED(left, pool, VALUES + (d) * CHUNK_STRIDE + seen_row(m) / PACK, CHUNK_STRIDE)
#define MULTIPLY_SEEN(load_left, right_at)                                                                    \
  UNROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {                                              \
    Left left[SEEN_ROWS];                                                                                     \
    UNROLLED for (uint m = 0; m < SEEN_ROWS; ++m) load_left(left[m], m, d);                                   \
    UNROLLED for (uint n = 0; n < SEEN_COLUMNS; ++n) {                                                        \
      if (!SEEN_THERE(n)) continue;                                                                           \
      Right right;                                                                                            \
      LOAD_RIGHT(right, pool, (right_at) + d * TILE_STRIDE + seen_column(n) / PACK, TILE_STRIDE);             \
      UNROLLED for (uint m = 0; m < SEEN_ROWS; ++m) MULTIPLY_ADD(seen[m * SEEN_COLUMNS + n], left[m], right); \
    }                                                                                                         \
  }
// And <S, D>: of an invocation's channels the columns from `four` on, FOURS apart.
#define MULTIPLY_COLUMNS                                                                         \
  if (sees_before()) {                                                                           \
    MULTIPLY_SEEN(OUTPUT_ROWS, STATES)                                                           \
  } else {                                                                                       \
    MULTIPLY_SEEN(VALUE_ROWS, GRADIENTS)                                                         \
  }                                                                                              \
  if (takes_part) {                                                                              \
    UNROLLED for (uint column = 0; column < VALUE_TILE; column += FOURS) {                       \
      const uint row_at = (column + four) * TILE_STRIDE;                                         \
      through += QUAD_AT(pool, STATES + row_at, quad) * QUAD_AT(pool, GRADIENTS + row_at, quad); \
    }                                                                                            \
  }

// Of M. The bits in which two tokens differ tell the level of their pair: of levels below a tile's rows the pairs are in the
// blocks on the diagonal, whole fours of them.
#if COOPERATIVE
Cell of_level(Cell x, uint level, uint row, uint pack) {
  const uint apart = (row % TILE ^ pack * PACK) / FOUR;  // of the pack's first four, in fours
  return uvec4(apart >> level - NEAR_LEVELS == 1 ? x.xy : uvec2(0), (apart ^ 1) >> level - NEAR_LEVELS == 1 ? x.zw : uvec2(0));
}
#define FETCH_SQUARE(square) FETCH_PACKS(square, CHUNK, CHUNK_PACKS, pairs.data[square_at + row * CHUNK_PACKS + pack])
#define PLACE_SQUARE(square) PLACE_PACKS(SQUARES, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, square[n_])
#define PLACE_BLOCKS(square)                                                                            \
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, CHUNK_PACKS); ++n) {                                     \
    const uint row = (thread + n * THREADS) / CHUNK_PACKS, pack = (thread + n * THREADS) % CHUNK_PACKS; \
    if (row >= CHUNK || pack / LINE != row / TILE) continue;                                            \
    pool[BLOCKS + row * BLOCK_LINE + pack % LINE] = of_level(square[n], 2, row, pack % LINE);           \
    pool[BLOCKS + (CHUNK + row) * BLOCK_LINE + pack % LINE] = of_level(square[n], 3, row, pack % LINE); \
  }
#define PLACE_LEVEL_BLOCKS(level)
#define BLOCK_ROW(level, row) (((level) - NEAR_LEVELS) * CHUNK + (row))
#define SQUARE_LEFT(left, row, column) LOAD_LEFT(left, pool, SQUARES + (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
vec4 square_quad(uint square_at, uint row, uint quad) {
  const Values values = widen(pool[SQUARES + row * CHUNK_STRIDE + quad / 2]);
  return quad % 2 == 0 ? values.low : values.high;
}
#else
#define FETCH_SQUARE(square)
#define PLACE_SQUARE(square)
#define PLACE_BLOCKS(square)
#define PLACE_LEVEL_BLOCKS(level)                                                                        \
  if (1 << level < TILE) {                                                                               \
    for (uint i = thread; i < CHUNK * LINE; i += THREADS) {                                              \
      const uint row = i / LINE, pack = i % LINE;                                                        \
      const bool wanted = (row % TILE ^ pack * PACK) >> level == 1;                                      \
      pool[BLOCKS + row * BLOCK_LINE + pack] =                                                           \
          wanted ? cell(pairs.data[square_at + row * CHUNK_PACKS + row / TILE * LINE + pack]) : Cell(0); \
    }                                                                                                    \
  }
#define BLOCK_ROW(level, row) (row)
#define SQUARE_LEFT(left, row, column) \
  LOAD_LEFT(left, pairs.data, square_at + (row) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)
vec4 square_quad(uint square_at, uint row, uint quad) { return widen(pairs.data[square_at + row * CHUNK_PACKS + quad]); }
#endif

// A depth of many steps of four has too many factors for the registers.
#if COOPERATIVE
#define OVER_DEPTH UNROLLED
#else
#define OVER_DEPTH [[dont_unroll]]
#endif

// The tiles of a level's results: teams share a row of them.
const uint COLUMN_STEP = TEAMS / ROW_TILES;
const uint TEAM_TILES = (COLUMN_TILES + COLUMN_STEP - 1) / COLUMN_STEP;
uint team_row() { return team_index() % ROW_TILES * TILE; }
// Of the team's n-th tile; KEY_TILE or more: there is none.
uint team_column(uint n) { return (team_index() / ROW_TILES + n * COLUMN_STEP) * TILE; }
#define TEAM_THERE(n) (COLUMN_TILES % COLUMN_STEP == 0 || team_column(n) < KEY_TILE)

// A level's tile of rows.
void set_level(uint level, uint four, uint quad, Held queries, Held keys, vec4 factor) {
  const Held rows = in_second_half(level, four) ? queries : keys;
  SET_ROWS(pool, four * FOUR * TILE_STRIDE, TILE_STRIDE, quad, each_times(widen(rows), factor))
}

// M's pairs of the level times its rows.
void multiply_level(uint level, uint square_at, out Sum results[TEAM_TILES]) {
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) results[n] = EMPTY;
  const uint half_span = 1 << level;
  const uint partners = half_span < TILE ? team_row() : (team_row() >> level ^ 1) << level;
  OVER_DEPTH for (uint d = 0; d < LARGER(half_span, TILE); d += DEPTH) {
    Left left;
    if (half_span < TILE) {
      LOAD_LEFT(left, pool, BLOCKS + BLOCK_ROW(level, team_row()) * BLOCK_LINE + d / PACK, BLOCK_LINE);
    } else {
      SQUARE_LEFT(left, team_row(), partners + d);
    }
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      if (!TEAM_THERE(n)) continue;
      Right right;
      LOAD_RIGHT(right, pool, (partners + d) * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);
      MULTIPLY_ADD(results[n], left, right);
    }
  }
}

// Adds the level's terms of dq and dk; of the four, what they are times q and k.
vec4 add_level(uint level, uint four, uint quad, Held queries, Held keys, vec4 factor, inout mat4 query_sums, inout mat4 key_sums) {
  const mat4 results = ROWS_AT(pool, four * FOUR * TILE_STRIDE, TILE_STRIDE, quad);
  const bool second_half = in_second_half(level, four);
  const Held rows = second_half ? queries : keys;
  if (second_half) {
    query_sums += each_times(results, factor);
  } else {
    key_sums += each_times(results, factor);
  }
  return sum_of(matrixCompMult(widen(rows), results)) * factor;
}

// What crosses the whole of an invocation's four. From the states that are FOURS - 1 cells QUADS apart: from the states of
// the fours behind, in WAYS, and then to them of those before, in TOTALS.
#define ADD_STATES_PAST                                                                           \
  if (takes_part) {                                                                               \
    UNROLLED for (uint n = 1; n < FOURS; ++n) past += floats_of(pool[WAYS + thread + n * QUADS]); \
  }
// Of a level: of a second half the fours behind, of a first half those before.
#define ADD_LEVEL_PAST(level)                                                                         \
  if (takes_part) {                                                                                   \
    const uint span = 1 << level - NEAR_LEVELS;                                                       \
    const bool second_half = in_second_half(level, four);                                             \
    const uint others = second_half ? span - 1 - four % span : four % span;                           \
    UNROLLED for (uint n = 1; n < span; ++n) {                                                        \
      const uint other = n > others ? thread : second_half ? thread + n * QUADS : thread - n * QUADS; \
      const vec4 way = floats_of(pool[WAYS + other]);                                                 \
      past += n > others ? vec4(0) : way;                                                             \
    }                                                                                                 \
  }
// add_past: of the level before.
#define TAKE_LEVEL(level, factor, add_past)                                                                            \
  if (level < ALL_LEVELS) {                                                                                            \
    if (takes_part) set_level(level, four, quad, queries, keys, factor);                                               \
    PLACE_LEVEL_BLOCKS(level)                                                                                          \
    barrier();                                                                                                         \
    add_past                                                                                                           \
    Sum results[TEAM_TILES];                                                                                           \
    multiply_level(level, square_at, results);                                                                         \
    barrier();                                                                                                         \
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                                                                   \
      if (TEAM_THERE(n)) STORE_CELLS(results[n], pool, team_row() * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE); \
    }                                                                                                                  \
    barrier();                                                                                                         \
    if (takes_part) {                                                                                                  \
      const vec4 ways = add_level(level, four, quad, queries, keys, factor, query_sums, key_sums);                     \
      if (level > NEAR_LEVELS) set_floats(WAYS + thread, ways);                                                        \
    }                                                                                                                  \
  }

void main() {
  const uint thread = thread_index();
  // Neighbours share rows of q, k, g and of the states.
  const Chunk chunk = chunk_in(gl_WorkGroupID.z);
  if (chunk.tokens == 0) return;
  const uint qk_head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint first_channel = gl_WorkGroupID.x * KEY_TILE;
  const uint four = thread / QUADS, quad = thread % QUADS;
  const bool takes_part = ALL_TAKE_PART || four < FOURS;
  const uint count = takes_part ? max(chunk.tokens, four * FOUR) - four * FOUR : 0;  // tokens of the four, or more
  const uint row_quads = KEY_DIM / 4, first_quad = first_channel / 4 + quad, first_pack = first_channel / PACK;
  const uint qk_stride = qk_heads * expansion * row_quads, g_stride = heads * expansion * row_quads;
  const uint qk_at = qk_row(chunk.begin, qk_head * GROUP, subhead) * row_quads + first_quad;

  mat4 query_heads = mat4(0), key_heads = mat4(0);  // dq and dk over the heads so far
  for (uint member = 0; member < GROUP; ++member) {
    const uint head = qk_head * GROUP + member, part = part_of(chunk, head, subhead);
    const uint square_at = (chunk.slot * heads + head) * CHUNK * CHUNK_PACKS;
    const uint g_at = gate_row(chunk.begin, head, subhead) * row_quads + first_quad;
    const uint values_part = chunk.slot * heads + head, value_packs = value_dim / PACK;
    Sum seen[SEEN_ROWS * SEEN_COLUMNS];
    UNROLLED for (uint n = 0; n < SEEN_ROWS * SEEN_COLUMNS; ++n) seen[n] = EMPTY;
    vec4 through = vec4(0);  // the four's part of the sum over all columns

    COLUMNS(even)
#if COOPERATIVE
    COLUMNS(odd)
    FETCH_COLUMNS(even, 0)
    const uint last = value_dim - VALUE_TILE;
    FETCH_COLUMNS(odd, min(VALUE_TILE, last))
    uint first = 0;
    for (; first + 2 * VALUE_TILE < value_dim; first += 2 * VALUE_TILE) {
      PLACE_COLUMNS(even)
      FETCH_COLUMNS(even, first + 2 * VALUE_TILE)
      MULTIPLY_COLUMNS
      PLACE_COLUMNS(odd)
      FETCH_COLUMNS(odd, min(first + 3 * VALUE_TILE, last))
      MULTIPLY_COLUMNS
    }
    PLACE_COLUMNS(even)
    MULTIPLY_COLUMNS
    if (first < last) {
      PLACE_COLUMNS(odd)
      MULTIPLY_COLUMNS
    }
#else
    for (uint first = 0; first < value_dim; first += VALUE_TILE) {  // a copy: software devices compile it for seconds
      FETCH_COLUMNS(even, first)
      PLACE_COLUMNS(even)
      MULTIPLY_COLUMNS
    }
#endif

    const FourKept query_rows = KEPT_OF(q, qk_at, qk_stride, chunk, four), key_rows = KEPT_OF(k, qk_at, qk_stride, chunk, four);
    const mat4 g_rows = FLOATS_OF(g, g_at, g_stride, chunk, four);
    Pack square[FETCHES(CHUNK, CHUNK_PACKS)];
    FETCH_SQUARE(square)

    barrier();
    UNROLLED for (uint m = 0; m < SEEN_ROWS; ++m) UNROLLED for (uint n = 0; n < SEEN_COLUMNS; ++n) {
      if (SEEN_THERE(n))
        STORE_CELLS(seen[m * SEEN_COLUMNS + n], pool,
                    (sees_before() ? BEFORE : AFTER) + seen_row(m) * TILE_STRIDE + seen_column(n) / PACK, TILE_STRIDE);
    }
    vec4 total;
    Held queries, keys;  // q with the decay from the four's beginning, k with that to its end
    {
      const mat4 w = exponentials(first_of(g_rows, count));
      total = w[0] * w[1] * (w[2] * w[3]);
      if (takes_part) set_floats(TOTALS + thread, total);
      queries = held(matrixCompMult(widen(first_of(query_rows, count)), from_begin(w)));
      keys = held(matrixCompMult(widen(first_of(key_rows, count)), to_end(w)));
    }
    PLACE_BLOCKS(square)
    barrier();

    // The decays between the four and the middle of its span of each level, and then the beginning and the end of the chunk.
    vec4 before = vec4(1), after = vec4(1);
    vec4 factor_3 = vec4(0), factor_4 = vec4(0), factor_5 = vec4(0);
    mat4 query_sums = mat4(0), key_sums = mat4(0);  // dq and dk without the decays that q and k have
    vec4 from_state = vec4(0), to_state = vec4(0);
    if (takes_part) {
      EXTEND(2, four, thread, before, after)
      factor_3 = in_second_half(3, four) ? before : after;
      EXTEND(3, four, thread, before, after)
      if (4 < ALL_LEVELS) {
        factor_4 = in_second_half(4, four) ? before : after;
        EXTEND(4, four, thread, before, after)
      }
      if (5 < ALL_LEVELS) {
        factor_5 = in_second_half(5, four) ? before : after;
        EXTEND(5, four, thread, before, after)
      }
      query_sums = each_times(ROWS_AT(pool, BEFORE + four * FOUR * TILE_STRIDE, TILE_STRIDE, quad), before * scale);
      key_sums = each_times(ROWS_AT(pool, AFTER + four * FOUR * TILE_STRIDE, TILE_STRIDE, quad), after);
      through *= before * total * after;
      from_state = sum_of(matrixCompMult(widen(queries), query_sums)) + through;
      to_state = sum_of(matrixCompMult(widen(keys), key_sums)) + through;
    }
    barrier();
    if (takes_part) {
      set_floats(WAYS + thread, from_state);
      set_floats(TOTALS + thread, to_state);
    }
    PLACE_SQUARE(square)

    vec4 past = through;
#if COOPERATIVE
    TAKE_LEVEL(2, vec4(1), ADD_STATES_PAST)
    TAKE_LEVEL(3, factor_3, )
    TAKE_LEVEL(4, factor_4, ADD_LEVEL_PAST(3))
    TAKE_LEVEL(5, factor_5, ADD_LEVEL_PAST(4))
#else
    for (uint level = 2; level < ALL_LEVELS; ++level) {
      const vec4 factor = level == 2 ? vec4(1) : level == 3 ? factor_3 : level == 4 ? factor_4 : factor_5;
      TAKE_LEVEL(level, factor, if (level == 2) ADD_STATES_PAST if (level > 3) ADD_LEVEL_PAST(level - 1))
    }
#endif
    barrier();
    ADD_LEVEL_PAST(ALL_LEVELS - 1)

    if (takes_part) {
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
      // q, k and g from a place that the compiler cannot know to be the same: it would hold them all the way.
      const uint again = seq_len >> 31;
      const FourKept query_again = KEPT_OF(q, qk_at + again, qk_stride, chunk, four);
      const FourKept key_again = KEPT_OF(k, qk_at + again, qk_stride, chunk, four);
      const mat4 g_again = FLOATS_OF(g, g_at + again, g_stride, chunk, four);
      const mat4 w = exponentials(first_of(g_again, count));
      const mat4 query = widen(first_of(query_again, count)), key = widen(first_of(key_again, count));
      query_sums = matrixCompMult(query_sums, from_begin(w));
      key_sums = matrixCompMult(key_sums, to_end(w));
#define PAIRS_OF(i) square_quad(square_at, four * FOUR + i, four)
      const vec4 pairs_0 = PAIRS_OF(0), pairs_1 = PAIRS_OF(1), pairs_2 = PAIRS_OF(2), pairs_3 = PAIRS_OF(3);
      query_sums += mat4(pairs_0[0] * key[0], pairs_1[1] * key[1], pairs_2[2] * key[2], pairs_3[3] * key[3]);
      key_sums += mat4(pairs_0[0] * query[0], pairs_1[1] * query[1], pairs_2[2] * query[2], pairs_3[3] * query[3]);
      vec4 way;
#define ADD_PAIR(i, j, decay)                   \
  {                                             \
    const vec4 factor = pairs_##i[j] * (decay); \
    query_sums[i] += factor * key[j];           \
    key_sums[j] += factor * query[i];           \
    way = factor * key[j] * query[i];           \
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
      UNROLLED for (uint i = 0; i < FOUR; ++i) if (i < count) dg.data[g_at + (four * FOUR + i) * g_stride] = gates[i];
      query_heads += query_sums;
      key_heads += key_sums;
    }
  }

  UNROLLED for (uint i = 0; i < FOUR; ++i) {
    if (i < count) {
      dq.data[qk_at + (four * FOUR + i) * qk_stride] = narrowed(query_heads[i]);
      dk.data[qk_at + (four * FOUR + i) * qk_stride] = narrowed(key_heads[i]);
    }
  }
}
