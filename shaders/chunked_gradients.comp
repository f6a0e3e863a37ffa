// dq and dk of KEY_TILE channels of a chunk of a subhead, every chunk at once, and the ways through the states of dg and
// dbeta. S is the state before the chunk, D the gradient of the state after it, R what beta multiplies (V itself without
// correction), M and N from chunked_pairs.comp:
//   dQ = scale e^γ ∘ (dO S^T) + M K
//   dK = beta e^{γ_C - γ} ∘ (R D^T) + M^T Q - e^γ ∘ (dR S^T) + (N + N^T) K
// The ways (runtime/cpu/chunked.h): through S and D; from S to token i, q_i . (scale e^γ_i dO_i S^T) - k_i . (e^γ_i dR_i
// S^T); from token j to S+, k_j . (e^{γ_C - γ_j} R_j D^T), without beta.
//
// V is gone through twice, first with D and then with S, so that two sums at a time are in registers and not three: dK's goes
// on from R D^T. Of the way from S this leaves k_i . dK_i, which has beta_i times the way to S+ in it;
// chunked_gate_gradients.comp takes it out.
//
// Teams share rows of tiles; a team's tiles of a row are COLUMN_STEP apart. Heads that share q and k are walked in order,
// their sums kept in registers.
//
// Shared memory, Cell: pool, where matrices are cooperative K [C][KEY_TILE / PACK + 1] first, then the longest of
//   R^T [GRADIENT_TILE][C / PACK + 1], D^T [GRADIENT_TILE][KEY_TILE / PACK + 1];
//   dO [C][VALUE_TILE / PACK + 1], dR alike, S^T [VALUE_TILE][KEY_TILE / PACK + 1];
//   parts of sums of rows (of those to S+ where the slabs lie), and where matrices are cooperative before them Q as K, M and N
//   [C][C / PACK + 1] in their place.
// float: ssd and gated_delta from_start and to_end [C], inners, one an invocation; gated_delta betas [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;     // columns of V at a time, with S
layout(constant_id = 9) const uint GRADIENT_TILE = 16;  // and with D
layout(constant_id = 14) const uint VALUE_DIM = 64;     // V
layout(constant_id = 5) const uint KEY_TILE = 16;       // channels of K of a workgroup
layout(constant_id = 6) const uint GROUP = 1;           // heads that share q and k

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;                // [B, T, H, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;   // as chunked_states.comp leaves it: R^T
layout(binding = 7) readonly buffer StatesBuffer { Pack data[]; } states;         // [parts, V, K]: S^T
layout(binding = 8) readonly buffer GradientsBuffer { Pack data[]; } gradients;   // [parts, V, K]: D^T
layout(binding = 10) readonly buffer PairsBuffer { Pack data[]; } pairs;          // [parts, C, C], linear [slots, H, C, C]: M
layout(binding = 11) writeonly buffer DqBuffer { Pack data[]; } dq;               // [B, T, Hq, E, K]
layout(binding = 12) writeonly buffer DkBuffer { Pack data[]; } dk;               // [B, T, Hq, E, K]
#if RULE != LINEAR
// [parts, K / KEY_TILE]: from S [C], to S+ [C], through in 16 parts
layout(binding = 13) writeonly buffer StateWaysBuffer { float data[]; } state_ways;
#endif
#if RULE == GATED_DELTA
layout(binding = 9) readonly buffer CorrectionsBuffer { Pack data[]; } corrections;  // [parts, C, V]: dR
layout(binding = 14) readonly buffer BetaBuffer { float data[]; } beta;              // [B, T, H, E]
layout(binding = 15) readonly buffer KeyPairsBuffer { Pack data[]; } key_pairs;      // [parts, C, C]: N
#endif

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint TILE_PACKS = KEY_TILE / PACK;
const uint TILE_STRIDE = TILE_PACKS + 1;
const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = KEY_TILE / TILE;
const uint COLUMN_STEP = TEAMS / ROW_TILES;  // teams that share a row of tiles
const uint TEAM_TILES = (COLUMN_TILES + COLUMN_STEP - 1) / COLUMN_STEP;
const uint PART_STRIDE = COLUMN_STEP * PARTS / 4 + 1;  // quads: parts of a row's sum from each team
const uint THROUGHS = 16;                              // parts of <S, D>

const uint KEYS = 0;
#if COOPERATIVE
const uint SLAB = CHUNK * TILE_STRIDE;
const uint QUERIES = SLAB;
const uint FIRST_PART = QUERIES + CHUNK * TILE_STRIDE;
#else
const uint SLAB = 0;
const uint FIRST_PART = 0;
#endif
const uint ERRORS = SLAB;
const uint GRADIENTS = ERRORS + GRADIENT_TILE * CHUNK_STRIDE;
const uint GRADIENT_END = GRADIENTS + GRADIENT_TILE * TILE_STRIDE;
const uint OUTPUTS = SLAB;
const uint STATES = OUTPUTS + CHUNK * VALUE_STRIDE;
const uint CORRECTIONS = STATES + VALUE_TILE * TILE_STRIDE;
const uint PAIRS = FIRST_PART;
const uint KEY_PAIRS = PAIRS + CHUNK * CHUNK_STRIDE;
#if RULE == GATED_DELTA
const uint STATE_END = CORRECTIONS + CHUNK * VALUE_STRIDE;
const uint PAIRS_END = KEY_PAIRS + CHUNK * CHUNK_STRIDE;
#else
const uint STATE_END = CORRECTIONS;
const uint PAIRS_END = KEY_PAIRS;
#endif
const uint SLAB_END = LARGER(GRADIENT_END, STATE_END);
const uint PARTS_END = FIRST_PART + CHUNK * PART_STRIDE;
#if COOPERATIVE
const uint OTHER_END = LARGER(PARTS_END, PAIRS_END);
#else
const uint OTHER_END = PARTS_END;
#endif

shared Cell pool[LARGER(SLAB_END, OTHER_END)];
#if RULE != LINEAR
shared vec4 from_start[CHUNK / 4];  // e^γ
shared vec4 to_end[CHUNK / 4];      // e^{γ_C - γ}
shared float inners[THREADS];
#endif
#if RULE == GATED_DELTA
shared vec4 betas[CHUNK / 4];
#endif

#if COOPERATIVE
#define TILE_ROWS(sum, at, memory, rows, row, column) \
  LOAD_CELLS(sum, pool, (at) + (row) * TILE_STRIDE + (column) / PACK, TILE_STRIDE)
#define TILE_RIGHT(right, at, memory, rows, row, column) \
  LOAD_RIGHT(right, pool, (at) + (row) * TILE_STRIDE + (column) / PACK, TILE_STRIDE)
#define SQUARE_LEFT(left, at, memory, row, column) \
  LOAD_LEFT(left, pool, (at) + (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
#define SQUARE_LEFT_TRANSPOSED(left, at, memory, row, column) \
  LOAD_LEFT_TRANSPOSED(left, pool, (at) + (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
#else
#define SQUARE_LEFT(left, at, memory, row, column) \
  LOAD_LEFT(left, memory.data, square_at + (row) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)
#define SQUARE_LEFT_TRANSPOSED(left, at, memory, row, column) \
  LOAD_LEFT_TRANSPOSED(left, memory.data, square_at + (row) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)
#define TILE_ROWS(sum, at, memory, rows, row, column) ROWS_SUM(sum, memory.data, rows, row, first_channel + (column))
#define TILE_RIGHT(right, at, memory, rows, row, column) ROWS_RIGHT(right, memory.data, rows, row, first_channel + (column))
#endif

// Of the team's n-th tile of its row; KEY_TILE or more: there is none.
#define TEAM_COLUMN(n) ((team_index() / ROW_TILES + (n) * COLUMN_STEP) * TILE)

void main() {
  const uint thread = thread_index();
  const Chunk chunk = chunk_in(gl_WorkGroupID.z);
  if (chunk.tokens == 0) return;
  const uint qk_head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint first_channel = gl_WorkGroupID.x * KEY_TILE;
  const uint row = team_index() % ROW_TILES * TILE;
  const uint value_packs = value_dim / PACK;
  const Rows rows = qk_rows(chunk, qk_head * GROUP, subhead);

  // What is fetched while something else is multiplied.
#define ROW_PACK(buffer_) \
  buffer_.data[rows.first + min(row, rows.count - 1) * rows.stride + first_channel / PACK + pack]
#define STATE_PACK(buffer_, first) \
  buffer_.data[(part * value_dim + (first) + row) * KEY_PACKS + first_channel / PACK + pack]
#define SQUARE_PACK(buffer_) \
  buffer_.data[square_at + row * CHUNK_PACKS + min(pack, row / TILE * LINE + LINE - 1)]
  Pack afters[FETCHES(GRADIENT_TILE, TILE_PACKS)], errors[FETCHES(GRADIENT_TILE, CHUNK_PACKS)];
#define FETCH_GRADIENT(first)                                                             \
  {                                                                                       \
    FETCH(afters, GRADIENT_TILE, TILE_PACKS, STATE_PACK(gradients, first))                \
    FETCH(errors, GRADIENT_TILE, CHUNK_PACKS,                                             \
          corrected.data[(values_part * value_dim + (first) + row) * CHUNK_PACKS + pack]) \
  }
  Pack befores[FETCHES(VALUE_TILE, TILE_PACKS)], outputs[FETCHES(CHUNK, VALUE_PACKS)];
#if RULE == LINEAR
#define FETCH_BOTH_STATES(first) FETCH(befores, VALUE_TILE, TILE_PACKS, STATE_PACK(states, first))
#else
  // D once more, for <S, D>.
#define FETCH_BOTH_STATES(first)                                       \
  FETCH(befores, VALUE_TILE, TILE_PACKS, STATE_PACK(states, first))    \
  FETCH(afters, VALUE_TILE, TILE_PACKS, STATE_PACK(gradients, first))
#endif
#if RULE == GATED_DELTA
  Pack corrects[FETCHES(CHUNK, VALUE_PACKS)];
#define FETCH_CORRECTIONS(first) \
  FETCH(corrects, CHUNK, VALUE_PACKS, corrections.data[(part * CHUNK + row) * value_packs + (first) / PACK + pack])
#else
#define FETCH_CORRECTIONS(first)
#endif
#define FETCH_STATE(first)                                                                                             \
  {                                                                                                                    \
    FETCH_BOTH_STATES(first)                                                                                           \
    FETCH_CORRECTIONS(first)                                                                                           \
    FETCH(outputs, CHUNK, VALUE_PACKS,                                                                                 \
          d_o.data[((chunk.begin + min(row, chunk.tokens - 1)) * heads + head) * value_packs + (first) / PACK + pack]) \
  }
#if COOPERATIVE
  Pack fetched_keys[FETCHES(CHUNK, TILE_PACKS)], fetched_queries[FETCHES(CHUNK, TILE_PACKS)];
  FETCH(fetched_keys, CHUNK, TILE_PACKS, ROW_PACK(k))
#define FETCH_QUERIES FETCH(fetched_queries, CHUNK, TILE_PACKS, ROW_PACK(q))
#else
#define FETCH_QUERIES
#endif

  Sum query_sums[TEAM_TILES], key_sums[TEAM_TILES];  // dq and dk over the heads so far
  if (GROUP > 1) {
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) query_sums[n] = key_sums[n] = EMPTY;
  }

  for (uint member = 0; member < GROUP; ++member) {
    const uint head = qk_head * GROUP + member;
    const uint part = part_of(chunk, head, subhead);
#if RULE == GATED_DELTA
    const uint values_part = part;
#else
    const uint values_part = chunk.slot * heads + head;
#endif
    const uint square_at = (RULE == LINEAR ? values_part : part) * CHUNK * CHUNK_PACKS;
    FETCH_GRADIENT(0)
#if RULE != LINEAR
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
    float heres[FETCHES(CHUNK, 1)];
    FETCH_TOKENS(heres, gamma.data[part * CHUNK + row])
#if RULE == GATED_DELTA
    float strengths[FETCHES(CHUNK, 1)];
    FETCH_TOKENS(strengths, beta.data[gate_row(chunk.begin + min(row, chunk.tokens - 1), head, subhead)])
#endif
    barrier();
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, 1); ++n) {
      const uint i = thread + n * THREADS;
      if (i >= CHUNK) continue;
      from_start[i / 4][i % 4] = exp(heres[n]);
      to_end[i / 4][i % 4] = exp(last - heres[n]);
#if RULE == GATED_DELTA
      betas[i / 4][i % 4] = i < chunk.tokens ? strengths[n] : 0;
#endif
    }
    float inner = 0;
#endif
#if COOPERATIVE
    if (member == 0) {
      PLACE_EACH(pool, KEYS, TILE_STRIDE, CHUNK, TILE_PACKS, row < chunk.tokens ? cell(fetched_keys[n_]) : Cell(0))
    }
#endif

    Sum after[TEAM_TILES];  // R D^T, in the end dK
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) after[n] = EMPTY;
    UNROLLED for (uint first = 0; first < VALUE_DIM; first += GRADIENT_TILE) {
      barrier();
      PLACE_AT(pool, GRADIENTS, TILE_STRIDE, GRADIENT_TILE, TILE_PACKS, afters)
      PLACE_AT(pool, ERRORS, CHUNK_STRIDE, GRADIENT_TILE, CHUNK_PACKS, errors)
      barrier();
      if (first + GRADIENT_TILE < VALUE_DIM) {
        FETCH_GRADIENT(first + GRADIENT_TILE)
      } else {
        FETCH_STATE(0)
      }
      ROLLED for (uint d = 0; d < steps(GRADIENT_TILE); d += DEPTH) {
        Left error_rows;
        LOAD_LEFT_TRANSPOSED(error_rows, pool, ERRORS + d * CHUNK_STRIDE + row / PACK, CHUNK_STRIDE);
        UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
          const uint column = TEAM_COLUMN(n);
          if (column >= KEY_TILE) continue;
          Right right;
          LOAD_RIGHT(right, pool, GRADIENTS + d * TILE_STRIDE + column / PACK, TILE_STRIDE);
          MULTIPLY_ADD(after[n], error_rows, right);
        }
      }
    }
#if RULE != LINEAR
    Sum to_state = EMPTY, to_decay;
    LOAD_ROW_FACTORS(to_decay, to_end, row / 4);
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint column = TEAM_COLUMN(n);
      if (column >= KEY_TILE) continue;
      Sum keys;
      TILE_ROWS(keys, KEYS, k, rows, row, column);
      after[n] = PRODUCT(to_decay, after[n]);
      to_state = SUM_OF(to_state, PRODUCT(keys, after[n]));
#if RULE == GATED_DELTA
      Sum strength;
      LOAD_ROW_FACTORS(strength, betas, row / 4);
      after[n] = PRODUCT(strength, after[n]);
#endif
    }
    const uint part_at = row * PART_STRIDE + team_index() / ROW_TILES * (PARTS / 4);
    barrier();
    if (team_index() < ROW_TILES * COLUMN_STEP) STORE_ROW_PARTS(to_state, pool, SLAB + part_at, PART_STRIDE);
    const uint ways_at = (part * (KEY_DIM / KEY_TILE) + gl_WorkGroupID.x) * (2 * CHUNK + THROUGHS);
    barrier();
    if (thread < CHUNK) {
      vec4 sum = vec4(0);
      UNROLLED for (uint n = 0; n < COLUMN_STEP * PARTS / 4; ++n) sum += floats_of(pool[SLAB + thread * PART_STRIDE + n]);
      state_ways.data[ways_at + CHUNK + thread] = dot(sum, vec4(1));
    }
#endif

    Sum before[TEAM_TILES];  // dO S^T, in the end dQ
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) before[n] = EMPTY;
    UNROLLED for (uint first = 0; first < VALUE_DIM; first += VALUE_TILE) {
      barrier();
#if RULE != LINEAR
      UNROLLED for (uint n = 0; n < FETCHES(VALUE_TILE, TILE_PACKS); ++n) {
        if (thread + n * THREADS < VALUE_TILE * TILE_PACKS) inner += dot_of(widen(befores[n]), widen(afters[n]));
      }
#endif
      PLACE_AT(pool, STATES, TILE_STRIDE, VALUE_TILE, TILE_PACKS, befores)
      PLACE_EACH(pool, OUTPUTS, VALUE_STRIDE, CHUNK, VALUE_PACKS, row < chunk.tokens ? cell(outputs[n_]) : Cell(0))
#if RULE == GATED_DELTA
      PLACE_EACH(pool, CORRECTIONS, VALUE_STRIDE, CHUNK, VALUE_PACKS,
                 cell(scaled(widen(corrects[n_]), -from_start[row / 4][row % 4])))
#endif
      barrier();
      if (first + VALUE_TILE < VALUE_DIM) {
        FETCH_STATE(first + VALUE_TILE)
      } else {
        FETCH_QUERIES
      }
      ROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {
        Left output_rows;
        LOAD_LEFT(output_rows, pool, OUTPUTS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
#if RULE == GATED_DELTA
        Left correction_rows;
        LOAD_LEFT(correction_rows, pool, CORRECTIONS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
#endif
        UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
          const uint column = TEAM_COLUMN(n);
          if (column >= KEY_TILE) continue;
          Right right;
          LOAD_RIGHT(right, pool, STATES + d * TILE_STRIDE + column / PACK, TILE_STRIDE);
          MULTIPLY_ADD(before[n], output_rows, right);
#if RULE == GATED_DELTA
          MULTIPLY_ADD(after[n], correction_rows, right);
#endif
        }
      }
    }

#if COOPERATIVE
    barrier();
    PLACE_EACH(pool, QUERIES, TILE_STRIDE, CHUNK, TILE_PACKS, row < chunk.tokens ? cell(fetched_queries[n_]) : Cell(0))
    barrier();
#endif
#if COOPERATIVE
    // Asked for when the ways are out of the registers.
    Pack fetched_pairs[FETCHES(CHUNK, CHUNK_PACKS)];
#if RULE == GATED_DELTA
    Pack fetched_key_pairs[FETCHES(CHUNK, CHUNK_PACKS)];
#define FETCH_PAIRS                                              \
  FETCH(fetched_pairs, CHUNK, CHUNK_PACKS, SQUARE_PACK(pairs))   \
  FETCH(fetched_key_pairs, CHUNK, CHUNK_PACKS, SQUARE_PACK(key_pairs))
#else
#define FETCH_PAIRS FETCH(fetched_pairs, CHUNK, CHUNK_PACKS, SQUARE_PACK(pairs))
#endif
#else
#define FETCH_PAIRS
#endif
#if RULE == LINEAR
    FETCH_PAIRS
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) before[n] = SCALED(before[n], scale);
#else
    inners[thread] = inner;
    Sum from_state = EMPTY, from_decay;
    LOAD_ROW_FACTORS(from_decay, from_start, row / 4);
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint column = TEAM_COLUMN(n);
      if (column >= KEY_TILE) continue;
      Sum rows_sum;
      TILE_ROWS(rows_sum, QUERIES, q, rows, row, column);
      before[n] = SCALED(PRODUCT(from_decay, before[n]), scale);
      from_state = SUM_OF(from_state, PRODUCT(rows_sum, before[n]));
#if RULE == GATED_DELTA
      TILE_ROWS(rows_sum, KEYS, k, rows, row, column);
      from_state = SUM_OF(from_state, PRODUCT(rows_sum, after[n]));
#endif
    }
#if !COOPERATIVE
    barrier();
#endif
    FETCH_PAIRS
    if (team_index() < ROW_TILES * COLUMN_STEP) STORE_ROW_PARTS(from_state, pool, FIRST_PART + part_at, PART_STRIDE);
    barrier();
    for (uint i = thread; i < CHUNK + THROUGHS; i += THREADS) {
      float sum = 0;
      if (i < CHUNK) {
        UNROLLED for (uint n = 0; n < COLUMN_STEP * PARTS / 4; ++n) sum += dot(floats_of(pool[FIRST_PART + i * PART_STRIDE + n]), vec4(1));
      } else {
        UNROLLED for (uint n = 0; n < THREADS / THROUGHS; ++n) sum += inners[i - CHUNK + n * THROUGHS];
      }
      state_ways.data[ways_at + (i < CHUNK ? i : i + CHUNK)] = sum;
    }
#endif

#if COOPERATIVE
    barrier();
    PLACE_AT(pool, PAIRS, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_pairs)
#if RULE == GATED_DELTA
    PLACE_AT(pool, KEY_PAIRS, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_key_pairs)
#endif
    barrier();
#endif
    UNROLLED for (uint other = 0; other < steps(CHUNK); other += DEPTH) {
      const bool earlier = other < row + TILE, later = other >= row;  // the diagonal's tile is both
      Left from_earlier, from_later;
      if (earlier) SQUARE_LEFT(from_earlier, PAIRS, pairs, row, other);
      if (later) SQUARE_LEFT_TRANSPOSED(from_later, PAIRS, pairs, other, row);
#if RULE == GATED_DELTA
      Left key_earlier, key_later;
      if (earlier) SQUARE_LEFT(key_earlier, KEY_PAIRS, key_pairs, row, other);
      if (later) SQUARE_LEFT_TRANSPOSED(key_later, KEY_PAIRS, key_pairs, other, row);
#endif
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
        const uint column = TEAM_COLUMN(n);
        if (column >= KEY_TILE) continue;
        Right right;
        TILE_RIGHT(right, KEYS, k, rows, other, column);
        if (earlier) MULTIPLY_ADD(before[n], from_earlier, right);
#if RULE == GATED_DELTA
        if (earlier) MULTIPLY_ADD(after[n], key_earlier, right);
        if (later) MULTIPLY_ADD(after[n], key_later, right);
#endif
        if (later) {
          TILE_RIGHT(right, QUERIES, q, rows, other, column);
          MULTIPLY_ADD(after[n], from_later, right);
        }
      }
    }
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      if (GROUP > 1) {
        query_sums[n] = SUM_OF(query_sums[n], before[n]);
        key_sums[n] = SUM_OF(key_sums[n], after[n]);
      } else {
        query_sums[n] = before[n];
        key_sums[n] = after[n];
      }
    }
  }

#if COOPERATIVE
  barrier();
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint at = row * TILE_STRIDE + TEAM_COLUMN(n) / PACK;
    if (TEAM_COLUMN(n) >= KEY_TILE) continue;
    STORE_CELLS(query_sums[n], pool, QUERIES + at, TILE_STRIDE);
    STORE_CELLS(key_sums[n], pool, KEYS + at, TILE_STRIDE);
  }
  barrier();
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, TILE_PACKS); ++n) {
    const uint token = (thread + n * THREADS) / TILE_PACKS, pack = (thread + n * THREADS) % TILE_PACKS;
    if (token >= chunk.tokens) continue;
    const uint at = rows.first + token * rows.stride + first_channel / PACK + pack;
    dq.data[at] = pack_of(pool[QUERIES + token * TILE_STRIDE + pack]);
    dk.data[at] = pack_of(pool[KEYS + token * TILE_STRIDE + pack]);
  }
#else
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint column = TEAM_COLUMN(n);
    for (uint i = 0; i < 4; ++i) {
      const uint token = row + 4 * row4() + i;
      if (column >= KEY_TILE || token >= chunk.tokens) continue;
      const uint at = rows.first + token * rows.stride + (first_channel + column) / PACK + column4();
      dq.data[at] = pack_of(query_sums[n][i]);
      dk.data[at] = pack_of(key_sums[n][i]);
    }
  }
#endif
}
