// dq, dk and dg of gla for KEY_TILE channels of a chunk of a subhead, every chunk at once. S is the state before the chunk, D
// the gradient of the state after it, M from chunked_pairs.comp, all of the rest by channel:
//   dq_i = scale e^γ_i ∘ (dO S^T)_i + sum_{j<=i} M_ij k_j e^{γ_i - γ_j}
//   dk_j = e^{γ_C - γ_j} ∘ (V D^T)_j + sum_{i>=j} M_ij q_i e^{γ_i - γ_j}
// The pairs are taken by levels, as in forward's scores: those whose pivot is the end of the first half of a span of 2 h
// tokens are the span's second half with its first. With k e^{γ_π - γ} in the first halves and q e^{γ - γ_π} in the second,
// M's pairs of the level times that tile of rows, times the same factors once more, are dk's terms and dq's. All
// exponents are <= 0.
//
// dg_t is the sum of all terms of <O, dO> + <S+, D> whose way crosses t (runtime/cpu/chunked.h): nothing cancels.
//   through = e^{γ_C} rowsum(S ∘ D);  from S to i >= t, q_i ∘ dq_i's first term;  from j < t to S+, k_j ∘ dk_j's first
//   of a level, t in a second half: q_i ∘ dq_i's term with i >= t there;  t in a first half: k_j ∘ dk_j's with j < t there
// So each is a matrix of ones and zeros times a tile of rows.
//
// An invocation keeps the sums of its packs of rows in registers; teams multiply tiles in shared memory.
// Heads that share q and k are walked in order.
//
// Shared memory, Cell: pool, the longest of what chunked_states_seen.glsl takes; two tiles of rows [C][KEY_TILE / PACK + 1]
// with as many rows again of parts of <S, D> as there are invocations a pack, or with level, blocks on the diagonal [C][16 /
// PACK + 1], and where matrices are cooperative M [C][C / PACK + 1]; dg in float [C][KEY_TILE + 4]. ones, seven of
// [16][16 / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#define GAMMA_OF_CHANNELS 1
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"

#if COOPERATIVE
#define LEVELS_CELLS (CHUNK * (BLOCK_LINE + CHUNK_STRIDE))
#else
#define LEVELS_CELLS (CHUNK * BLOCK_LINE)
#endif
#define INNERS_CELLS (INNER_ROWS * TILE_STRIDE)
#define OTHER_CELLS (2 * CHUNK * TILE_STRIDE + (INNERS_CELLS > LEVELS_CELLS ? INNERS_CELLS : LEVELS_CELLS))
#define INNER_ROWS (THREADS / TILE_PACKS > TILE ? THREADS / TILE_PACKS : TILE)
const uint BLOCK_LINE = LINE + 1;
#include "chunked_states_seen.glsl"

layout(binding = 10) readonly buffer PairsBuffer { Pack data[]; } pairs;  // [slots, H, C, C]: M, mirrored
layout(binding = 11) writeonly buffer DqBuffer { Pack data[]; } dq;       // [B, T, Hq, E, K]
layout(binding = 12) writeonly buffer DkBuffer { Pack data[]; } dk;       // [B, T, Hq, E, K]
layout(binding = 13) writeonly buffer DgBuffer { vec4 data[]; } dg;       // [B, T, H, E, K]

layout(constant_id = 6) const uint GROUP = 1;  // heads that share q and k

const uint MIXED = 0;  // then dg
const uint RESULT = CHUNK * TILE_STRIDE;
const uint INNERS = 2 * CHUNK * TILE_STRIDE;
const uint LEVEL = INNERS;
const uint PAIRS = LEVEL + CHUNK * BLOCK_LINE;
const uint OWN = FETCHES(CHUNK, TILE_PACKS);  // packs of an invocation
const uint DG_STRIDE = KEY_TILE / 4 + 1;

// Where a row sums: everything; itself and later ones; earlier ones; those of its half of a span.
const uint ONES = 0, LATER = 1, EARLIER = 2, WITHIN = 3;  // of halves of 1, and behind it of 2, 4 and 8
shared Cell ones[7 * TILE * BLOCK_LINE];

// M by rows as a left operand, and a pack of one of its rows.
#if COOPERATIVE
#define PAIRS_LEFT(left, row, column) LOAD_LEFT(left, pool, PAIRS + (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
Values pairs_of(uint square_at, uint row, uint pack) { return widen(pool[PAIRS + row * CHUNK_STRIDE + pack]); }
#else
#define PAIRS_LEFT(left, row, column) \
  LOAD_LEFT(left, pairs.data, square_at + (row) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)
Values pairs_of(uint square_at, uint row, uint pack) { return widen(pairs.data[square_at + row * CHUNK_PACKS + pack]); }
#endif

// Of the invocation's n-th pack.
uint own_row(uint n) { return (thread_index() + n * THREADS) / TILE_PACKS; }
uint own_pack() { return thread_index() % TILE_PACKS; }

#define EVERY(i) 1
#define IS_LATER(i) float(column + i >= row)
#define IS_EARLIER(i) float(column + i < row)
// Of two tokens, the bits in which they differ tell the level of their pair: 1 in the halves' bit alone.
#define IS_WITHIN(i) \
  float(((column + i) ^ row) >> level == 0 && ((row >> level & 1) == 1 ? column + i >= row : column + i < row))
#define IS_LEVEL(i) float(((column + i) ^ row % TILE) >> level == 1)
#define SET_ONES(number, wanted)                                            \
  for (uint i_ = thread_index(); i_ < TILE * LINE; i_ += THREADS) {         \
    const uint row = i_ / LINE, column = i_ % LINE * PACK;                  \
    ones[((number) * TILE + row) * BLOCK_LINE + column / PACK] = cell(MASK(wanted)); \
  }

// dg += ones or zeros times rows of the tile at `tile`, 16 of them from `other` on.
#define ADD_ROWS(number, tile, other)                                                                \
  UNROLLED for (uint d = 0; d < steps(TILE); d += DEPTH) {                                                    \
    Left left;                                                                                       \
    LOAD_LEFT(left, ones, (number) * TILE * BLOCK_LINE + d / PACK, BLOCK_LINE);                      \
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                                                          \
      if (team_column(n) >= KEY_TILE) continue;                                                      \
      Right right;                                                                                   \
      LOAD_RIGHT(right, pool, (tile) + ((other) + d) * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE); \
      MULTIPLY_ADD(gates[n], left, right);                                                           \
    }                                                                                                \
  }

// result += a left operand times rows of `mixed` from `other` on.
#define ADD_MIXED(other)                                                                                  \
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                                                                 \
    if (team_column(n) >= KEY_TILE) continue;                                                             \
    Right right;                                                                                          \
    LOAD_RIGHT(right, pool, MIXED + (other) * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);          \
    MULTIPLY_ADD(results[n], left, right);                                                                \
  }

void main() {
  const uint thread = thread_index();
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint qk_head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint first_channel = gl_WorkGroupID.z * KEY_TILE, first_pack = first_channel / PACK;
  const Rows rows = qk_rows(chunk, qk_head * GROUP, subhead);

  SET_ONES(ONES, EVERY)
  SET_ONES(LATER, IS_LATER)
  SET_ONES(EARLIER, IS_EARLIER)
  for (uint level = 0; 1 << level < TILE; ++level) SET_ONES(WITHIN + level, IS_WITHIN)

  Values query_sums[OWN], key_sums[OWN];  // dq and dk over the heads so far
  UNROLLED for (uint n = 0; n < OWN; ++n) query_sums[n] = key_sums[n] = widen(Pack(0));

  for (uint member = 0; member < GROUP; ++member) {
    const uint head = qk_head * GROUP + member;
    const uint part = part_of(chunk, head, subhead);
    const uint square_at = (chunk.slot * heads + head) * CHUNK * CHUNK_PACKS;
    Sum before[TEAM_TILES], after[TEAM_TILES];
    Values inner;
    see_states(chunk, head, subhead, first_channel, before, after, inner);

    barrier();
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint at = team_row() * TILE_STRIDE + team_column(n) / PACK;
      if (team_column(n) >= KEY_TILE) continue;
      STORE_CELLS(before[n], pool, MIXED + at, TILE_STRIDE);
      STORE_CELLS(after[n], pool, RESULT + at, TILE_STRIDE);
    }
    barrier();
    {
      // Row by row what the invocations have of <S, D>; rows that they do not fill are zero.
      const Values through = product(inner, exponentials(gamma_at(part, CHUNK - 1, first_pack + own_pack())));
      for (uint row = own_row(0); row < INNER_ROWS; row += THREADS / TILE_PACKS)
        pool[INNERS + row * TILE_STRIDE + own_pack()] = row == own_row(0) ? cell(through) : Cell(0);
    }
    UNROLLED for (uint n = 0; n < OWN; ++n) {
      const uint row = own_row(n), pack = own_pack(), at = row * TILE_STRIDE + pack;
      if (row >= CHUNK) continue;
      const bool there = row < rows.count;
      const uint key_at = rows.first + row * rows.stride + first_pack + pack;
      const Values query = widen(there ? q.data[key_at] : Pack(0)), key = widen(there ? k.data[key_at] : Pack(0));
      const Values here = gamma_at(part, row, first_pack + pack), last = gamma_at(part, CHUNK - 1, first_pack + pack);
      const float own = value_of(widen(pairs.data[square_at + row * CHUNK_PACKS + row / PACK]), row % PACK);
      const Values from_state = product(values_of(pool[MIXED + at]), scaled(exponentials(here), scale));
      const Values to_state = product(values_of(pool[RESULT + at]), exponentials(difference(last, here)));
      pool[MIXED + at] = cell(product(query, from_state));
      pool[RESULT + at] = cell(product(key, to_state));
      query_sums[n] = sum_of(query_sums[n], sum_of(from_state, scaled(key, own)));
      key_sums[n] = sum_of(key_sums[n], sum_of(to_state, scaled(query, own)));
    }
    barrier();
    Sum gates[TEAM_TILES];  // dg
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) gates[n] = EMPTY;
    for (uint row = 0; row < INNER_ROWS; row += TILE) ADD_ROWS(ONES, INNERS, row)
    for (uint other = 0; other < CHUNK; other += TILE) {
      if (other >= team_row()) ADD_ROWS(other == team_row() ? LATER : ONES, MIXED, other)
      if (other <= team_row()) ADD_ROWS(other == team_row() ? EARLIER : ONES, RESULT, other)
    }
    barrier();
#if COOPERATIVE
    for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS)
      pool[PAIRS + i / CHUNK_PACKS * CHUNK_STRIDE + i % CHUNK_PACKS] = pairs.data[square_at + i];
    barrier();
#endif

    for (int level = findMSB(CHUNK) - 1; level >= 0; --level) {
      const uint half_span = 1 << level;
      Pack factors[OWN];
      UNROLLED for (uint n = 0; n < OWN; ++n) {
        const uint row = own_row(n), pack = own_pack();
        if (row >= CHUNK) continue;
        const uint pivot = (row | half_span) - (row & half_span - 1) - 1;
        const uint key_at = rows.first + row * rows.stride + first_pack + pack;
        const Values here = gamma_at(part, row, first_pack + pack), there = gamma_at(part, pivot, first_pack + pack);
        Pack own = Pack(0);  // q of second halves, k of first ones
        if (row < rows.count) own = row > pivot ? q.data[key_at] : k.data[key_at];
        const Values decays = exponentials(row > pivot ? difference(here, there) : difference(there, here));
        pool[MIXED + row * TILE_STRIDE + pack] = cell(product(widen(own), decays));
        factors[n] = narrow(decays);
      }
      if (half_span < TILE) {
        for (uint i = thread; i < CHUNK * LINE; i += THREADS) {
          const uint row = i / LINE, column = i % LINE * PACK;
          pool[LEVEL + row * BLOCK_LINE + i % LINE] =
              cell(product(pairs_of(square_at, row, row / TILE * LINE + i % LINE), MASK(IS_LEVEL)));
        }
      }
      barrier();
      Sum results[TEAM_TILES];
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) results[n] = EMPTY;
      const uint half_begin = team_row() >> level << level;
      const bool second_half = (team_row() & half_span) != 0;
      if (half_span >= TILE) {
        const uint partners = second_half ? half_begin - half_span : half_begin + half_span;
        for (uint d = 0; d < half_span; d += DEPTH) {
          Left left;
          PAIRS_LEFT(left, team_row(), partners + d);
          ADD_MIXED(partners + d)
        }
      } else {
        UNROLLED for (uint d = 0; d < TILE; d += DEPTH) {
          Left left;
          LOAD_LEFT(left, pool, LEVEL + team_row() * BLOCK_LINE + d / PACK, BLOCK_LINE);
          ADD_MIXED(team_row() + d)
        }
      }
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
        if (team_column(n) < KEY_TILE)
          STORE_CELLS(results[n], pool, RESULT + team_row() * TILE_STRIDE + team_column(n) / PACK, TILE_STRIDE);
      }
      barrier();
      UNROLLED for (uint n = 0; n < OWN; ++n) {
        const uint row = own_row(n), pack = own_pack();
        if (row >= CHUNK) continue;
        const uint at = row * TILE_STRIDE + pack;
        const Values results = values_of(pool[RESULT + at]), terms = product(results, widen(factors[n]));
        if ((row & half_span) != 0) {
          query_sums[n] = sum_of(query_sums[n], terms);
        } else {
          key_sums[n] = sum_of(key_sums[n], terms);
        }
        pool[RESULT + at] = cell(product(values_of(pool[MIXED + at]), results));  // q or k times its terms
      }
      barrier();
      if (half_span < TILE) {
        ADD_ROWS(WITHIN + level, RESULT, team_row())
      } else {
        for (uint other = half_begin; other < half_begin + half_span; other += TILE) {
          if (other == team_row()) {
            ADD_ROWS(second_half ? LATER : EARLIER, RESULT, other)
          } else if (second_half == (other > team_row())) {
            ADD_ROWS(ONES, RESULT, other)
          }
        }
      }
    }
    barrier();
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      if (team_column(n) < KEY_TILE)
        STORE_FLOATS(gates[n], pool, team_row() * DG_STRIDE + team_column(n) / 4, DG_STRIDE);
    }
    barrier();
    for (uint i = thread; i < chunk.tokens * KEY_TILE / 4; i += THREADS) {
      const uint row = i / (KEY_TILE / 4), quad = i % (KEY_TILE / 4);
      dg.data[gate_row(chunk.begin + row, head, subhead) * KEY_DIM / 4 + first_channel / 4 + quad] =
          floats_of(pool[row * DG_STRIDE + quad]);
    }
    barrier();
  }

  UNROLLED for (uint n = 0; n < OWN; ++n) {
    const uint row = own_row(n), pack = own_pack();
    if (row >= CHUNK) continue;
    const uint at = rows.first + row * rows.stride + first_pack + pack;
    if (row < chunk.tokens) {
      dq.data[at] = narrow(query_sums[n]);
      dk.data[at] = narrow(key_sums[n]);
    }
  }
}
