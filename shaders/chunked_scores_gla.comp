// gla: P, j <= i: what a token reads of those before it in its chunk; Q ∘ e^γ, K ∘ e^{γ_C - γ} and e^{γ_C} for the kernels
// that follow. A chunk of a subhead by itself, from g: γ is never formed.
//
// The decay sits inside the sum over the channels. For a pivot between j and i it splits into two factors that are both
// <= 1, products of w = e^g over the tokens after j up to the pivot and over those after the pivot up to i. The pairs whose
// pivot is the end of the first half of a span of 2 h tokens are those of the span's second half with its first: one tile
// of rows, the first halves k and the second halves q, scaled, multiplied with itself, has them all. h = C / 2, .., 2, 1
// covers every pair i > j, and i = j has no decay. So an element has one role a level, its factor is one product more than
// its neighbour's, and the only exponentials are the w themselves.
//
// An invocation has four channels of four tokens (chunked_fours.glsl): PANEL channels of all tokens at a time, as many as the
// workgroup holds. LEVELS levels' tiles of rows are made at once, so that all teams have products to make. A level's products
// stay apart to the end, which takes from the blocks on the diagonal what each of them has.
//
// Shared memory, Cell: pool, the larger of LEVELS tiles of rows [C][PANEL / PACK + 1] and P [C][C / PACK + 1] with what the
// levels below eight leave of the blocks on the diagonal [3][C][16 / PACK] and parts of q_i . k_i; float: totals [C / 4][PANEL].
#version 450
#extension GL_GOOGLE_include_directive : require
#define QK Quad
#define NO_POSITIONS 1
#include "chunked.glsl"

#define QUADS (KEY_DIM / 4 < 4 * THREADS / CHUNK ? KEY_DIM / 4 : 4 * THREADS / CHUNK)
#include "chunked_fours.glsl"

layout(constant_id = 5) const uint LEVELS = 1;  // made at a time

layout(binding = 4) readonly buffer GBuffer { vec4 data[]; } g;                  // [B, T, H, E, K]
layout(binding = 5) writeonly buffer ScoresBuffer { Pack data[]; } scores;       // [parts, C, C], in 16 x 16 tiles with j <= i
layout(binding = 6) writeonly buffer DecayedQBuffer { Quad data[]; } decayed_q;  // [parts, C, K]: Q ∘ e^γ
layout(binding = 7) writeonly buffer DecayedKBuffer { Quad data[]; } decayed_k;  // [parts, C, K]: K ∘ e^{γ_C - γ}
layout(binding = 8) writeonly buffer WholeBuffer { vec4 data[]; } whole;         // [parts, K]: e^{γ_C}

const uint EIGHT = 8;
const uint ROW_TILES = CHUNK / TILE;
const uint KEY_QUADS = KEY_DIM / 4;
const uint PANEL_PACKS = QUADS * 4 / PACK;
const uint PANELS = (KEY_QUADS + QUADS - 1) / QUADS;
const uint MIXED_STRIDE = PANEL_PACKS + 1;
const uint MIXED_CELLS = CHUNK * MIXED_STRIDE;
// A level has a place for the products of each row of tiles; the teams take the places in turn.
const uint TEAM_TILES = (ALL_LEVELS * ROW_TILES + TEAMS - 1) / TEAMS;
const uint NEAR = CHUNK * CHUNK_STRIDE;    // behind P
const uint OWN = NEAR + 3 * CHUNK * LINE;  // in float, parts of q_i . k_i: [C][QUADS]
const uint RESULT_CELLS = OWN + CHUNK * QUADS / 4;

shared vec4 totals[FOURS * QUADS];
#define TOTAL(i) totals[i]
shared Cell pool[LARGER(LEVELS * MIXED_CELLS, RESULT_CELLS)];

#if COOPERATIVE
#define SET_FLOAT(memory, at, i, value) memory[at][i] = floatBitsToUint(value)
#else
#define SET_FLOAT(memory, at, i, value) memory[at][i] = value
#endif

// The block whose products are at a place. Those of levels below a tile's 16 rows are on the diagonal.
struct Place {
  uint level, row, column;
  bool there;
};
Place place_of(uint n) {
  const uint place = team_index() + n * TEAMS, level = place / ROW_TILES, tile = place % ROW_TILES;
  if (level < 4) return Place(level, tile * TILE, tile * TILE, true);
  const uint apart = 1 << level - 4;  // in tiles
  const uint span = tile / (apart * apart) * 2 * apart;
  return Place(level, (span + apart + tile / apart % apart) * TILE, (span + tile % apart) * TILE,
               level < ALL_LEVELS && tile < ROW_TILES * apart / 2);
}

// The product of two 16-row blocks of a tile.
void add_product(inout Sum products, uint tile_at, uint row, uint column) {
  UNROLLED for (uint d = 0; d < steps(4 * QUADS); d += DEPTH) {
    Left left;
    Right right;
    LOAD_LEFT(left, pool, tile_at + row * MIXED_STRIDE + d / PACK, MIXED_STRIDE);
    LOAD_RIGHT_TRANSPOSED(right, pool, tile_at + column * MIXED_STRIDE + d / PACK, MIXED_STRIDE);
    MULTIPLY_ADD(products, left, right);
  }
}

// P_ij of an i and j of the same eight: without a decay, or of one of the three levels.
float near(uint i, uint j, float own, float first, float second, float third) {
  const uint apart = i ^ j;
  return j > i ? 0 : apart >= 4 ? third : apart >= 2 ? second : apart == 1 ? first : own;
}
#define NEAR_OF(e) near(row, column + e, own_sum, value_of(levels[0], e), value_of(levels[1], e), value_of(levels[2], e))

void main() {
  const uint thread = thread_index();
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = part_of(chunk, head, subhead);
  const uint qk_first = qk_row(chunk.begin, head, subhead) * KEY_QUADS, qk_stride = qk_heads * expansion * KEY_QUADS;
  const uint g_first = gate_row(chunk.begin, head, subhead) * KEY_QUADS, g_stride = heads * expansion * KEY_QUADS;
  const uint four = thread / QUADS, quad = thread % QUADS;
  const bool takes_part = FOURS * QUADS == THREADS || four < FOURS;

  Sum sums[TEAM_TILES];
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) sums[n] = EMPTY;
  vec4 own = vec4(0);  // of each token its q . k

#define SET_LEVEL(level, rows) \
  if (takes_part) SET_ROWS(pool, (level) % LEVELS * MIXED_CELLS + four * FOUR * MIXED_STRIDE, MIXED_STRIDE, quad, rows)
// Behind every LEVELS levels, and behind the last.
#define MULTIPLY_LEVELS(last)                                                              \
  if (((last) + 1) % LEVELS == 0 || (last) + 1 == ALL_LEVELS) {                            \
    barrier();                                                                             \
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                                       \
      const Place place = place_of(n);                                                     \
      if (place.there && place.level / LEVELS == (last) / LEVELS)                          \
        add_product(sums[n], place.level % LEVELS * MIXED_CELLS, place.row, place.column); \
    }                                                                                      \
    barrier();                                                                             \
  }
#define FAR_LEVEL(level)                                                                           \
  if (level < ALL_LEVELS) {                                                                        \
    const bool second_half = in_second_half(level, four);                                          \
    SET_LEVEL(level, each_times(second_half ? queries : keys, second_half ? before : after))       \
    MULTIPLY_LEVELS(level)                                                                         \
    if (takes_part) EXTEND(level, four, thread, before, after)                                     \
  }

  for (uint panel = 0; panel < PANELS; ++panel) {
    const uint channels = panel * QUADS + quad;
    const bool inside = takes_part && (KEY_QUADS % QUADS == 0 || channels < KEY_QUADS);
    const uint row = four * FOUR, count = inside ? max(chunk.tokens, row) - row : 0;
    const uint clamped = min(channels, KEY_QUADS - 1);
    const FourKept query_rows = KEPT_OF(q, qk_first + clamped, qk_stride, chunk, four);
    const FourKept key_rows = KEPT_OF(k, qk_first + clamped, qk_stride, chunk, four);
    const mat4 g_rows = FLOATS_OF(g, g_first + clamped, g_stride, chunk, four);
    const FourKept query = first_of(query_rows, count), key = first_of(key_rows, count);
    const mat4 w = exponentials(first_of(g_rows, count));
    own += vec4(dot(widen(query.a), widen(key.a)), dot(widen(query.b), widen(key.b)), dot(widen(query.c), widen(key.c)),
                dot(widen(query.d), widen(key.d)));
    if (takes_part) totals[thread] = w[0] * w[1] * (w[2] * w[3]);
    SET_LEVEL(0, mat4(widen(key.a), widen(query.b) * w[1], widen(key.c), widen(query.d) * w[3]))
    MULTIPLY_LEVELS(0)
    SET_LEVEL(1, mat4(widen(key.a) * w[1], widen(key.b), widen(query.c) * w[2], widen(query.d) * (w[2] * w[3])))
    MULTIPLY_LEVELS(1)

    // From here on q comes with the decay from the four's beginning and k with that to its end.
    const mat4 queries = matrixCompMult(widen(query), from_begin(w)), keys = matrixCompMult(widen(key), to_end(w));
    vec4 before = vec4(1), after = vec4(1);  // of the fours between this one and the pivot
    FAR_LEVEL(2)
    FAR_LEVEL(3)
    FAR_LEVEL(4)
    FAR_LEVEL(5)

    if (inside) {
      const uint to = (part * CHUNK + row) * KEY_QUADS + channels;
      UNROLLED for (uint i = 0; i < FOUR; ++i) {
        decayed_q.data[to + i * KEY_QUADS] = narrowed(queries[i] * before);
        decayed_k.data[to + i * KEY_QUADS] = narrowed(keys[i] * after);
      }
      if (four == FOURS - 1) whole.data[part * KEY_QUADS + channels] = before * totals[thread];
    }
    barrier();  // totals are read
  }

  if (takes_part) {
    UNROLLED for (uint i = 0; i < FOUR; ++i)
      SET_FLOAT(pool, OWN + ((four * FOUR + i) * QUADS + quad) / 4, quad % 4, own[i]);
  }
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const Place place = place_of(n);
    if (!place.there) continue;
    if (place.level < 3) {
      STORE_CELLS(sums[n], pool, NEAR + (place.level * CHUNK + place.row) * LINE, LINE);
    } else {
      STORE_CELLS(sums[n], pool, place.row * CHUNK_STRIDE + place.column / PACK, CHUNK_STRIDE);
    }
  }
  barrier();
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, column = i % CHUNK_PACKS * PACK;
    if (column / TILE > row / TILE) continue;
    Pack pack = pack_of(pool[row * CHUNK_STRIDE + column / PACK]);
    if (column / EIGHT >= row / EIGHT) {
      Values levels[3];
      UNROLLED for (uint l = 0; l < 3; ++l) levels[l] = values_of(pool[NEAR + (l * CHUNK + row) * LINE + column % TILE / PACK]);
      float own_sum = 0;
      UNROLLED for (uint n = 0; n < QUADS / 4; ++n) own_sum += dot(floats_of(pool[OWN + row * (QUADS / 4) + n]), vec4(1));
      pack = pack_of(cell(MASK(NEAR_OF)));
    }
    scores.data[part * CHUNK * CHUNK_PACKS + i] = pack;
  }
}
