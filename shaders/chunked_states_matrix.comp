// chunked_states.comp where matrices are cooperative. SHARES teams carry S^T of 16 columns of V: each keeps its part of K as
// sums, and makes its part of the chunk's tokens of what the state corrects. A chunk is a chain of products, one waiting
// for the other, so its length in time is what a team has to do of it.
//   gated_delta  R^T = (V^T - e^γ ∘ (S^T K^T)) A^T, U^T = beta ∘ R^T;  others U = V
//   S^T <- e^{γ_C} S^T + (e^{γ_C - γ} ∘ U^T) K;  gla  S^T <- S^T diag(e^{γ_C}) + U^T (K ∘ e^{γ_C - γ})
// Backward wants R in place of U, and the states between its stretches.
// The next chunk's k and A are on their way while this one's products are made; behind the last chunk, that one's once more.
//
// Shared memory, Cell: keys [C][K / PACK + 1]; gated_delta triangle [C][C / PACK + 1]: A; of each 16 columns the larger of
// S^T [16][K / PACK + 1] and two of [16][C / PACK + 1], tokens along the rows: what U is made of, and U. V comes to the
// second's place, [C][16 / PACK]. float: ssd and gated_delta to_end [C], gated_delta betas and from_start [C], gla decays [K].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"
#include "chunked_serial.glsl"

layout(binding = 5) readonly buffer BetaBuffer { float data[]; } beta;       // [B, T, H, E]
layout(binding = 6) readonly buffer InverseBuffer { Pack data[]; } inverse;  // [parts, C, C]: A
layout(binding = 7) readonly buffer H0Buffer { vec4 data[]; } h0;            // [N, H, E, K, V]
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;                     // [N, H, E, K, V]; backward [stretches] of it
layout(binding = 9) writeonly buffer StatesBuffer { Pack data[]; } states;   // [parts, V, K]: S^T
// gated_delta [parts, V, C]; else one for all subheads, [slots, H, V, C]: U^T, of backward without beta
layout(binding = 10) writeonly buffer CorrectedBuffer { Pack data[]; } corrected;
#if RULE == GLA
layout(binding = 11) readonly buffer DecayedKBuffer { Pack data[]; } decayed_k;  // [parts, C, K]: K ∘ e^{γ_C - γ}
layout(binding = 12) readonly buffer WholeBuffer { vec4 data[]; } whole;          // [parts, K]: e^{γ_C}
#define KEYS decayed_k
#else
#define KEYS k
#endif

const uint OWN = LARGER(TILE * KEY_STRIDE, 2 * SECOND);
// Where U^T lies decayed to the chunk's end, for the state, and as it is, for the kernel that makes o.
const uint OF_STATE = RULE == GATED_DELTA ? SECOND : FIRST;
const uint OF_OUTPUTS = RULE == SSD ? SECOND : FIRST;

shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell own_cells[GROUPS * OWN];
#if RULE == SSD || RULE == GATED_DELTA
shared vec4 to_end[CHUNK / 4];  // e^{γ_C - γ}; gated_delta beta e^{γ_C - γ}
#endif
#if RULE == GATED_DELTA
shared vec4 betas[CHUNK / 4];
shared vec4 from_start[CHUNK / 4];  // e^γ
shared Cell triangle[CHUNK * CHUNK_STRIDE];
#elif RULE == GLA
shared vec4 decays[KEY_DIM / 4];  // e^{γ_C}
#endif

Rows key_rows(Chunk chunk, uint head, uint subhead) {
#if RULE == GLA
  return part_rows(part_of(chunk, head, subhead));
#else
  return qk_rows(chunk, head, subhead);
#endif
}

void main() {
  const uint thread = thread_index(), team = team_index(), lane = thread % TEAM_SIZE;
  const uint share = team % SHARES, own = team / SHARES * OWN;
  const uint first_column = (gl_WorkGroupID.x * GROUPS + team / SHARES) * TILE;
  const uint first_channel = share * KEY_TILES * TILE;
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint sequence = gl_WorkGroupID.z;
  const uint value_packs = value_dim / PACK;

  // This launch's chunks of the sequence; one without tokens has its state handed on by the launch that begins it.
  const uint chunks = chunks_of(sequence);
  uint index = 0, end = chunks;
  if (packed == 0) {
    index = slot_begin / sequences;
    end = min(chunks, slot_end / sequences);
  } else {
    const uint first = slot_of(sequence, 0);
    index = slot_begin > first ? slot_begin - first : 0;
    end = slot_end > first ? min(chunks, slot_end - first) : 0;
    const bool begins_here = first >= slot_begin && first < slot_end;
    if (index >= end && !(chunks == 0 && begins_here)) return;
  }

  const uint state =
      ((((sequence * heads + head) * expansion + subhead) * KEY_DIM + first_channel) * value_dim + first_column) / 4;
#if BACKWARD
  const uint all_states = sequences * heads * expansion * KEY_DIM * value_dim / 4;
  const uint state_in = stretch == 0 ? 0 : (stretch - 1) * all_states + state;
  const uint state_out = stretch * all_states + state;
#else
  const uint state_in = state, state_out = state;
#endif
  Sum s[KEY_TILES];  // of S^T: 16 columns of V, 16 channels each, from the share's first
  UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
    s[n] = EMPTY;
    const uint place = n * TILE * value_dim / 4;
    if (index > 0) {
      LOAD_FLOATS_TRANSPOSED(s[n], ht.data, state_in + place, value_dim / 4);
    } else if (has_initial != 0) {
      LOAD_FLOATS_TRANSPOSED(s[n], h0.data, state + place, value_dim / 4);
    }
  }

  // What the workgroup fetches of a chunk ahead of its step.
  Chunk chunk;
  Rows rows;
  uint part;
  Pack fetched_keys[ROWS_FETCHES];
#if RULE == GATED_DELTA
  Pack fetched_triangle[FETCHES(CHUNK, CHUNK_PACKS)];
  float fetched_gammas[FETCHES(CHUNK, 1)], fetched_betas[FETCHES(CHUNK, 1)], last;
#define FETCH_GATES                                                                                         \
  FETCH_TRIANGLE(fetched_triangle, inverse)                                                                 \
  FETCH_TOKENS(fetched_gammas, gamma.data[part * CHUNK + row])                                              \
  FETCH_TOKENS(fetched_betas, beta.data[gate_row(chunk.begin + min(row, chunk.tokens - 1), head, subhead)]) \
  last = gamma.data[part * CHUNK + CHUNK - 1];
#elif RULE == SSD
  float fetched_gammas[FETCHES(CHUNK, 1)], last;
#define FETCH_GATES                                            \
  FETCH_TOKENS(fetched_gammas, gamma.data[part * CHUNK + row]) \
  last = gamma.data[part * CHUNK + CHUNK - 1];
#elif RULE == GLA
  vec4 fetched_whole[FETCHES(1, KEY_DIM / 4)];
#define FETCH_GATES FETCH(fetched_whole, 1, KEY_DIM / 4, whole.data[part * (KEY_DIM / 4) + pack])
#else
#define FETCH_GATES
#endif
#define FETCH_CHUNK                                  \
  {                                                  \
    chunk = chunk_of(sequence, min(index, end - 1)); \
    part = part_of(chunk, head, subhead);            \
    rows = key_rows(chunk, head, subhead);           \
    FETCH_ROWS(fetched_keys, KEYS, rows)             \
    FETCH_GATES                                      \
  }
  if (index < end) FETCH_CHUNK

  while (index < end) {
    barrier();
    PLACE_ROWS(keys, fetched_keys, rows)
#if RULE == GLA
    UNROLLED for (uint n = 0; n < FETCHES(1, KEY_DIM / 4); ++n) {
      const uint i = thread + n * THREADS;
      if (i < KEY_DIM / 4) decays[i] = fetched_whole[n];
    }
#elif RULE != LINEAR
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, 1); ++n) {
      const uint i = thread + n * THREADS;
      if (i >= CHUNK) continue;
      to_end[i / 4][i % 4] = exp(last - fetched_gammas[n]);
#if RULE == GATED_DELTA
      const float strength = i < chunk.tokens ? fetched_betas[n] : 0;
      to_end[i / 4][i % 4] *= strength;
      betas[i / 4][i % 4] = strength;
      from_start[i / 4][i % 4] = exp(fetched_gammas[n]);
#endif
    }
#endif
#if RULE == GATED_DELTA
    PLACE(triangle, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_triangle)
#endif
#if RULE == SSD || RULE == GATED_DELTA
    const float whole = exp(last);
#endif
    const Chunk here = chunk;
    const Rows rows_here = rows;
    const uint part_here = part;
    barrier();
    ++index;
    FETCH_CHUNK

    // V's packs of the share's tokens.
    Pack fetched_values[TEAM_FETCHES(SHARE_TOKENS * LINE)];
    UNROLLED for (uint n = 0; n < TEAM_FETCHES(SHARE_TOKENS * LINE); ++n) {
      const uint token = token_of(share, (lane + n * TEAM_SIZE) / LINE), pack = lane % LINE;
      fetched_values[n] =
          v.data[((here.begin + min(token, here.tokens - 1)) * heads + head) * value_packs + first_column / PACK + pack];
    }
    COPY_STATE_OUT(states, part_here)

#if RULE == GATED_DELTA
    GROUP_BARRIER
    Sum recalled[ROW_TILES];
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) recalled[n] = EMPTY;
    UNROLLED for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Left left;
      LOAD_LEFT(left, own_cells, own + channel / PACK, KEY_STRIDE);
      UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
        Right right;
        ROWS_RIGHT_TRANSPOSED(right, keys, rows_here, channel, row_tile(share, n) * TILE);
        MULTIPLY_ADD(recalled[n], left, right);
      }
    }
#endif
    GROUP_BARRIER
    UNROLLED for (uint n = 0; n < TEAM_FETCHES(SHARE_TOKENS * LINE); ++n) {
      const uint i = lane + n * TEAM_SIZE;
      if (i >= SHARE_TOKENS * LINE) continue;
      const uint token = token_of(share, i / LINE);
      own_cells[own + SECOND + token * LINE + i % LINE] = token < here.tokens ? cell(fetched_values[n]) : Cell(0);
    }
    TEAM_BARRIER;
    Sum written[ROW_TILES];
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
      const uint tile = row_tile(share, n);
      LOAD_CELLS_TRANSPOSED(written[n], own_cells, own + SECOND + tile * TILE * LINE, LINE);
#if RULE == GATED_DELTA
      Sum decay;
      LOAD_FACTORS(decay, from_start, tile * TILE / 4);
      written[n] = DIFFERENCE(written[n], PRODUCT(decay, recalled[n]));
      STORE_CELLS(written[n], own_cells, own + FIRST + tile * LINE, CHUNK_STRIDE);
      written[n] = EMPTY;
#endif
    }
#if RULE == GATED_DELTA
    GROUP_BARRIER
    UNROLLED for (uint t = 0; t < steps(ALL_ROW_TILES); ++t) {
      UNROLLED for (uint d = 0; d < TILE; d += DEPTH) {
        Left left;
        LOAD_LEFT(left, own_cells, own + FIRST + (t * TILE + d) / PACK, CHUNK_STRIDE);
        UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
          if (AFTER_SHARE(t, n)) continue;
          Right right;
          LOAD_RIGHT_TRANSPOSED(right, triangle, row_tile(share, n) * TILE * CHUNK_STRIDE + (t * TILE + d) / PACK,
                                CHUNK_STRIDE);
          MULTIPLY_ADD(written[n], left, right);
        }
      }
    }
#endif

    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
      const uint tile = row_tile(share, n);
#if RULE == SSD || RULE == GATED_DELTA
      Sum decay;
      LOAD_FACTORS(decay, to_end, tile * TILE / 4);
      decay = PRODUCT(decay, written[n]);
      STORE_CELLS(decay, own_cells, own + OF_STATE + tile * LINE, CHUNK_STRIDE);
#else
      STORE_CELLS(written[n], own_cells, own + OF_STATE + tile * LINE, CHUNK_STRIDE);
#endif
    }
    GROUP_BARRIER
#if RULE == SSD || RULE == GATED_DELTA
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
      const uint tile = row_tile(share, n);
#if RULE == GATED_DELTA && !BACKWARD
      Sum strength;
      LOAD_FACTORS(strength, betas, tile * TILE / 4);
      written[n] = PRODUCT(written[n], strength);
#endif
      STORE_CELLS(written[n], own_cells, own + OF_OUTPUTS + tile * LINE, CHUNK_STRIDE);
    }
    TEAM_BARRIER;
#endif
#if RULE == GATED_DELTA
    const uint corrected_part = part_here;
#else
    const uint corrected_part = here.slot * heads + head;
    if (subhead == 0)
#endif
    COPY_OUT(TILE * TOKEN_PACKS, corrected,
             (corrected_part * value_dim + first_column + i / TOKEN_PACKS) * CHUNK_PACKS + token_pack(share, i),
             own + OF_OUTPUTS + i / TOKEN_PACKS * CHUNK_STRIDE + token_pack(share, i))

    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
#if RULE == GLA
      Sum decay;
      LOAD_FACTORS(decay, decays, first_channel / 4 + n * TILE / 4);
      s[n] = PRODUCT(s[n], decay);
#elif RULE != LINEAR
      s[n] = SCALED(s[n], whole);
#endif
    }
    UNROLLED for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Left left;
      LOAD_LEFT(left, own_cells, own + OF_STATE + token / PACK, CHUNK_STRIDE);
      UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
        Right right;
        ROWS_RIGHT(right, keys, rows_here, token, first_channel + n * TILE);
        MULTIPLY_ADD(s[n], left, right);
      }
    }
  }

  UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n)
    STORE_FLOATS_TRANSPOSED(s[n], ht.data, state_out + n * TILE * value_dim / 4, value_dim / 4);
}
