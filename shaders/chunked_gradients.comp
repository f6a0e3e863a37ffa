// dq and dk of KEY_TILE channels of a chunk of a subhead, every chunk at once, and the ways through the states of dg and
// dbeta. S is the state before the chunk, D the gradient of the state after it, R what beta multiplies (V itself without
// correction), M and N from chunked_pairs.comp:
//   dQ = scale e^γ ∘ (dO S^T) + M K
//   dK = beta e^{γ_C - γ} ∘ (R D^T) + M^T Q - e^γ ∘ (dR S^T) + (N + N^T) K
// The ways (runtime/cpu/chunked.h): through S and D; from S to token i, q_i . (scale e^γ_i dO_i S^T) - k_i . (e^γ_i dR_i
// S^T); from token j to S+, k_j . (e^{γ_C - γ_j} R_j D^T), without beta.
//
// Heads that share q and k are walked in order, their sums kept in registers.
//
// Shared memory, Cell: pool, the longest of what chunked_states_seen.glsl takes; parts of sums of rows; where matrices are
// cooperative K and Q [C][KEY_TILE / PACK + 1] and behind them M and N [C][C / PACK + 1], which the parts lie in before.
// float: ssd and gated_delta from_start and to_end [C], inners, one an invocation; gated_delta betas [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"

#define PART_STRIDE (COLUMN_STEP * PARTS / 4 + 1)  // quads: parts of a row's sum from each team
#define PART_CELLS (2 * CHUNK * PART_STRIDE)
#define SQUARE_CELLS (SQUARES * CHUNK * CHUNK_STRIDE)
#if COOPERATIVE
#define OTHER_CELLS (2 * CHUNK * TILE_STRIDE + (PART_CELLS > SQUARE_CELLS ? PART_CELLS : SQUARE_CELLS))
#else
#define OTHER_CELLS PART_CELLS
#endif
#if RULE == GATED_DELTA
const uint SQUARES = 2;
#else
const uint SQUARES = 1;
#endif
#include "chunked_states_seen.glsl"

layout(binding = 10) readonly buffer PairsBuffer { Pack data[]; } pairs;          // [parts, C, C]: M
layout(binding = 11) writeonly buffer DqBuffer { Pack data[]; } dq;               // [B, T, Hq, E, K]
layout(binding = 12) writeonly buffer DkBuffer { Pack data[]; } dk;               // [B, T, Hq, E, K]
#if RULE != LINEAR
// [parts, K / KEY_TILE]: from S [C], to S+ [C], through in 16 parts
layout(binding = 13) writeonly buffer StateWaysBuffer { float data[]; } state_ways;
#endif
#if RULE == GATED_DELTA
layout(binding = 14) readonly buffer BetaBuffer { float data[]; } beta;           // [B, T, H, E]
layout(binding = 15) readonly buffer KeyPairsBuffer { Pack data[]; } key_pairs;   // [parts, C, C]: N
#endif

layout(constant_id = 6) const uint GROUP = 1;  // heads that share q and k

const uint QUERIES = 0;
const uint KEYS = CHUNK * TILE_STRIDE;
#if COOPERATIVE
const uint FIRST_PART = 2 * CHUNK * TILE_STRIDE;
#else
const uint FIRST_PART = 0;
#endif
const uint PAIRS = FIRST_PART;
const uint KEY_PAIRS = PAIRS + CHUNK * CHUNK_STRIDE;
const uint THROUGHS = 16;  // parts of <S, D>

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

void main() {
  const uint thread = thread_index();
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint qk_head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint first_channel = gl_WorkGroupID.z * KEY_TILE;
  const uint row = team_row();
  const Rows rows = qk_rows(chunk, qk_head * GROUP, subhead);

  Sum query_sums[TEAM_TILES], key_sums[TEAM_TILES];  // dq and dk over the heads so far
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) query_sums[n] = key_sums[n] = EMPTY;

  for (uint member = 0; member < GROUP; ++member) {
    const uint head = qk_head * GROUP + member;
    const uint part = part_of(chunk, head, subhead);
    const uint square_at = part * CHUNK * CHUNK_PACKS;
#if RULE != LINEAR
    barrier();
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
    for (uint i = thread; i < CHUNK; i += THREADS) {
      const float here = gamma.data[part * CHUNK + i];
      from_start[i / 4][i % 4] = exp(here);
      to_end[i / 4][i % 4] = exp(last - here);
#if RULE == GATED_DELTA
      betas[i / 4][i % 4] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
#endif
    }
#endif
    Sum before[TEAM_TILES], after[TEAM_TILES];
    float inner;
#if RULE == GATED_DELTA
    Sum recalled[TEAM_TILES];
    see_states(chunk, head, subhead, first_channel, before, after, recalled, inner);
#else
    see_states(chunk, head, subhead, first_channel, before, after, inner);
#endif

    barrier();
#if COOPERATIVE
    for (uint i = thread; i < CHUNK * TILE_PACKS; i += THREADS) {
      const uint token = i / TILE_PACKS, pack = i % TILE_PACKS;
      const uint at = rows.first + token * rows.stride + first_channel / PACK + pack;
      pool[QUERIES + token * TILE_STRIDE + pack] = token < rows.count ? q.data[at] : Pack(0);
      pool[KEYS + token * TILE_STRIDE + pack] = token < rows.count ? k.data[at] : Pack(0);
    }
    barrier();
#endif
#if RULE == LINEAR
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) before[n] = SCALED(before[n], scale);
#else
    inners[thread] = inner;
    Sum from_decay, to_decay;
    LOAD_ROW_FACTORS(from_decay, from_start, row / 4);
    LOAD_ROW_FACTORS(to_decay, to_end, row / 4);
    Sum from_state = EMPTY, to_state = EMPTY;
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint column = team_column(n);
      if (column >= KEY_TILE) continue;
      Sum queries, keys;
      TILE_ROWS(queries, QUERIES, q, rows, row, column);
      TILE_ROWS(keys, KEYS, k, rows, row, column);
      before[n] = SCALED(PRODUCT(from_decay, before[n]), scale);
      after[n] = PRODUCT(to_decay, after[n]);
      from_state = SUM_OF(from_state, PRODUCT(queries, before[n]));
      to_state = SUM_OF(to_state, PRODUCT(keys, after[n]));
#if RULE == GATED_DELTA
      recalled[n] = PRODUCT(from_decay, recalled[n]);
      from_state = DIFFERENCE(from_state, PRODUCT(keys, recalled[n]));
      Sum strength;
      LOAD_ROW_FACTORS(strength, betas, row / 4);
      after[n] = DIFFERENCE(PRODUCT(strength, after[n]), recalled[n]);
#endif
    }
    const uint part_at = FIRST_PART + row * PART_STRIDE + team_index() / ROW_TILES * (PARTS / 4);
    if (team_index() < ROW_TILES * COLUMN_STEP) {
      STORE_ROW_PARTS(from_state, pool, part_at, PART_STRIDE);
      STORE_ROW_PARTS(to_state, pool, part_at + CHUNK * PART_STRIDE, PART_STRIDE);
    }
    barrier();
    const uint ways_at = (part * (KEY_DIM / KEY_TILE) + gl_WorkGroupID.z) * (2 * CHUNK + THROUGHS);
    for (uint i = thread; i < 2 * CHUNK + THROUGHS; i += THREADS) {
      float sum = 0;
      if (i < 2 * CHUNK) {
        for (uint n = 0; n < COLUMN_STEP * PARTS / 4; ++n) sum += dot(floats_of(pool[FIRST_PART + i * PART_STRIDE + n]), vec4(1));
      } else {
        for (uint n = i - 2 * CHUNK; n < THREADS; n += THROUGHS) sum += inners[n];
      }
      state_ways.data[ways_at + i] = sum;
    }
    barrier();
#endif

#if COOPERATIVE
    for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
      const uint token = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
      if (pack * PACK / TILE > token / TILE) continue;
      pool[PAIRS + token * CHUNK_STRIDE + pack] = pairs.data[square_at + i];
#if RULE == GATED_DELTA
      pool[KEY_PAIRS + token * CHUNK_STRIDE + pack] = key_pairs.data[square_at + i];
#endif
    }
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
        const uint column = team_column(n);
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
      query_sums[n] = SUM_OF(query_sums[n], before[n]);
      key_sums[n] = SUM_OF(key_sums[n], after[n]);
    }
  }

#if COOPERATIVE
  barrier();
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint at = row * TILE_STRIDE + team_column(n) / PACK;
    if (team_column(n) >= KEY_TILE) continue;
    STORE_CELLS(query_sums[n], pool, QUERIES + at, TILE_STRIDE);
    STORE_CELLS(key_sums[n], pool, KEYS + at, TILE_STRIDE);
  }
  barrier();
  for (uint i = thread; i < chunk.tokens * TILE_PACKS; i += THREADS) {
    const uint token = i / TILE_PACKS, pack = i % TILE_PACKS;
    const uint at = rows.first + token * rows.stride + first_channel / PACK + pack;
    dq.data[at] = pack_of(pool[QUERIES + token * TILE_STRIDE + pack]);
    dk.data[at] = pack_of(pool[KEYS + token * TILE_STRIDE + pack]);
  }
#else
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint column = team_column(n);
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
