// chunked_reverse.comp where matrices are cooperative, as chunked_states_matrix.comp is to chunked_states.comp: SHARES teams
// carry dS^T of 16 columns of V, each its part of K, and make their parts of the chunk's tokens.
//   gated_delta  dU^T = scale dO^T P + (e^{γ_C - γ} ∘ dS^T K^T),  dR^T = (beta ∘ dU^T) A
//   dS^T <- e^{γ_C} dS^T + scale (e^γ ∘ dO^T) Q - (e^γ ∘ dR^T) K;  gla  dS^T <- dS^T diag(e^{γ_C}) + scale dO^T (Q ∘ e^γ)
// P and A, and K and Q, share a place. The next chunk's first tiles are on their way while the gradient takes in this one's.
//
// Shared memory, Cell: keys [C][K / PACK + 1]; gated_delta square [C][C / PACK + 1]; of each 16 columns the larger of dS^T
// [16][K / PACK + 1] and, for beta dU^T, [16][C / PACK + 1] with, for dO and dR, [C][16 / PACK + 1]. float: ssd and gated_delta
// from_start [C], gated_delta to_end and betas [C], gla decays [K].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"
#include "chunked_serial.glsl"

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;                 // [B, T, H, V]
layout(binding = 6) readonly buffer BetaBuffer { float data[]; } beta;             // [B, T, H, E]
layout(binding = 7) readonly buffer ScoresBuffer { Pack data[]; } scores;          // [parts, C, C]: P
layout(binding = 8) readonly buffer InverseBuffer { Pack data[]; } inverse;        // [parts, C, C]: A
layout(binding = 9) readonly buffer DhtBuffer { vec4 data[]; } dht;                // [N, H, E, K, V]
layout(binding = 10) buffer RunningBuffer { vec4 data[]; } running;                // [N, H, E, K, V]: dS between launches
layout(binding = 11) writeonly buffer GradientsBuffer { Pack data[]; } gradients;  // [parts, V, K]: dS^T after the chunk
#if RULE == GATED_DELTA
layout(binding = 12) writeonly buffer CorrectionsBuffer { Pack data[]; } corrections;  // [parts, C, V]: dR
#define FIRST_ROWS k
#elif RULE == GLA
layout(binding = 12) readonly buffer DecayedQBuffer { Pack data[]; } decayed_q;    // [parts, C, K]: Q ∘ e^γ
layout(binding = 13) readonly buffer WholeBuffer { vec4 data[]; } whole;           // [parts, K]: e^{γ_C}
#define FIRST_ROWS decayed_q
#else
#define FIRST_ROWS q
#endif

const uint OUTPUT_LINE = LINE + 1;  // rows begin in different banks
const uint OWN = LARGER(TILE * KEY_STRIDE, SECOND + CHUNK * OUTPUT_LINE);
const uint OWN_FETCHES = TEAM_FETCHES(SHARE_TOKENS * LINE);

shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell own_cells[GROUPS * OWN];
#if RULE == GATED_DELTA
shared Cell square[CHUNK * CHUNK_STRIDE];
shared vec4 to_end[CHUNK / 4];  // beta e^{γ_C - γ}
shared vec4 betas[CHUNK / 4];   // scale beta
#endif
#if RULE == SSD || RULE == GATED_DELTA
shared float from_start[CHUNK];  // e^γ
#elif RULE == GLA
shared vec4 decays[KEY_DIM / 4];  // e^{γ_C}
#endif

Rows first_rows(Chunk chunk, uint head, uint subhead) {
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

  // This launch's chunks of the sequence; one without tokens has its gradient handed on by the launch that ends it.
  const uint chunks = chunks_of(sequence);
  uint begin = 0, end = chunks;
  if (packed == 0) {
    begin = slot_begin / sequences;
    end = min(chunks, slot_end / sequences);
  } else {
    const uint first = slot_of(sequence, 0);
    begin = slot_begin > first ? slot_begin - first : 0;
    end = slot_end > first ? min(chunks, slot_end - first) : 0;
    const bool begins_here = first >= slot_begin && first < slot_end;
    if (begin >= end && !(chunks == 0 && begins_here)) return;
  }

  const uint state =
      ((((sequence * heads + head) * expansion + subhead) * KEY_DIM + first_channel) * value_dim + first_column) / 4;
  Sum s[KEY_TILES];  // of dS^T: 16 columns of V, 16 channels each, from the share's first
  UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
    s[n] = EMPTY;
    const uint place = state + n * TILE * value_dim / 4;
    if (end < chunks) {
      LOAD_FLOATS_TRANSPOSED(s[n], running.data, place, value_dim / 4);
    } else if (has_final != 0) {
      LOAD_FLOATS_TRANSPOSED(s[n], dht.data, place, value_dim / 4);
    }
  }

  // What the workgroup fetches of a chunk ahead of its step.
  Chunk chunk;
  Rows rows;
  uint part;
  Pack fetched_keys[ROWS_FETCHES];
#if RULE == GATED_DELTA
  Pack fetched_square[FETCHES(CHUNK, CHUNK_PACKS)];
  float fetched_gammas[FETCHES(CHUNK, 1)], fetched_betas[FETCHES(CHUNK, 1)], last;
#define FETCH_GATES                                                                                         \
  FETCH_TRIANGLE(fetched_square, scores)                                                                    \
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
#define FETCH_CHUNK                                        \
  {                                                        \
    chunk = chunk_of(sequence, max(end, begin + 1) - 1);   \
    part = part_of(chunk, head, subhead);                  \
    rows = first_rows(chunk, head, subhead);               \
    FETCH_ROWS(fetched_keys, FIRST_ROWS, rows)             \
    FETCH_GATES                                            \
  }
// The share's tokens of a matrix of rows by token.
#define PLACE_OWN(value)                                                                                 \
  UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {                                                      \
    const uint i = lane + n * TEAM_SIZE, token = token_of(share, i / LINE);                              \
    if (i < SHARE_TOKENS * LINE)                                                                         \
      own_cells[own + SECOND + token * OUTPUT_LINE + i % LINE] = token < chunk.tokens ? value : Cell(0); \
  }
#define ROWS_OF_OWN(left, token) LOAD_LEFT_TRANSPOSED(left, own_cells, own + SECOND + (token) * OUTPUT_LINE, OUTPUT_LINE)
#define OWN_LEFT(left, token) LOAD_LEFT(left, own_cells, own + FIRST + (token) / PACK, CHUNK_STRIDE)
#define SQUARE_RIGHT(right, row, column) LOAD_RIGHT(right, square, (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
// The gradient takes in rows of `keys`, weighted by rows of V's columns.
#define ADD_TOKENS                                                      \
  UNROLLED for (uint token = 0; token < steps(CHUNK); token += DEPTH) { \
    Left left;                                                          \
    ROWS_OF_OWN(left, token);                                           \
    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {              \
      Right right;                                                      \
      ROWS_RIGHT(right, keys, rows, token, first_channel + n * TILE);   \
      MULTIPLY_ADD(s[n], left, right);                                  \
    }                                                                   \
  }

  if (begin < end) FETCH_CHUNK

  while (begin < end) {
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
      from_start[i] = exp(fetched_gammas[n]);
#if RULE == GATED_DELTA
      const float strength = i < chunk.tokens ? fetched_betas[n] : 0;
      to_end[i / 4][i % 4] = strength * exp(last - fetched_gammas[n]);
      betas[i / 4][i % 4] = scale * strength;
#endif
    }
    const float whole_decay = exp(last);
#endif
#if RULE == GATED_DELTA
    PLACE(square, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_square)
#endif
    barrier();
    --end;

    Pack outputs[OWN_FETCHES];
    UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {
      const uint token = token_of(share, (lane + n * TEAM_SIZE) / LINE), pack = lane % LINE;
      outputs[n] =
          d_o.data[((chunk.begin + min(token, chunk.tokens - 1)) * heads + head) * value_packs + first_column / PACK + pack];
    }
#if RULE == GATED_DELTA
    FETCH_TRIANGLE(fetched_square, inverse)
#endif
    COPY_STATE_OUT(gradients, part)

#if RULE == GATED_DELTA
    GROUP_BARRIER
    Sum written[ROW_TILES];  // beta dU^T, then dR^T
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) written[n] = EMPTY;
    UNROLLED for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Left left;
      LOAD_LEFT(left, own_cells, own + channel / PACK, KEY_STRIDE);
      UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
        Right right;
        ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, row_tile(share, n) * TILE);
        MULTIPLY_ADD(written[n], left, right);
      }
    }
    GROUP_BARRIER
    PLACE_OWN(cell(outputs[n]))
    GROUP_BARRIER
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
      const uint tile = row_tile(share, n);
      Sum read = EMPTY;
      UNROLLED for (uint t = 0; t < steps(ALL_ROW_TILES); ++t) {
        if (BEFORE_SHARE(t, n)) continue;
        UNROLLED for (uint d = 0; d < TILE; d += DEPTH) {
          Left left;
          Right right;
          ROWS_OF_OWN(left, t * TILE + d);
          SQUARE_RIGHT(right, t * TILE + d, tile * TILE);
          MULTIPLY_ADD(read, left, right);
        }
      }
      Sum decay, strength;
      LOAD_FACTORS(decay, to_end, tile * TILE / 4);
      LOAD_FACTORS(strength, betas, tile * TILE / 4);
      written[n] = SUM_OF(PRODUCT(decay, written[n]), PRODUCT(strength, read));
      STORE_CELLS(written[n], own_cells, own + FIRST + tile * LINE, CHUNK_STRIDE);
      written[n] = EMPTY;
    }
    barrier();  // everyone is done with P
    PLACE(square, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_square)
    barrier();
    FETCH_ROWS(fetched_keys, q, rows)
    UNROLLED for (uint t = 0; t < steps(ALL_ROW_TILES); ++t) {
      UNROLLED for (uint d = 0; d < TILE; d += DEPTH) {
        Left left;
        OWN_LEFT(left, t * TILE + d);
        UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n) {
          if (BEFORE_SHARE(t, n)) continue;
          Right right;
          SQUARE_RIGHT(right, t * TILE + d, row_tile(share, n) * TILE);
          MULTIPLY_ADD(written[n], left, right);
        }
      }
    }
    UNROLLED for (uint n = 0; n < steps(ROW_TILES); ++n)
      STORE_CELLS_TRANSPOSED(written[n], own_cells, own + SECOND + row_tile(share, n) * TILE * OUTPUT_LINE, OUTPUT_LINE);
    TEAM_BARRIER;
    Pack corrected[OWN_FETCHES];
    UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {
      const uint i = lane + n * TEAM_SIZE;
      if (i < SHARE_TOKENS * LINE)
        corrected[n] = pack_of(own_cells[own + SECOND + token_of(share, i / LINE) * OUTPUT_LINE + i % LINE]);
    }
    UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {
      const uint i = lane + n * TEAM_SIZE, token = token_of(share, i / LINE);
      if (i < SHARE_TOKENS * LINE)
        corrections.data[(part * CHUNK + token) * value_packs + first_column / PACK + i % LINE] = corrected[n];
    }
    PLACE_OWN(cell(scaled(widen(corrected[n]), -from_start[token])))
    GROUP_BARRIER
#endif

    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
#if RULE == GLA
      Sum decay;
      LOAD_FACTORS(decay, decays, first_channel / 4 + n * TILE / 4);
      s[n] = PRODUCT(s[n], decay);
#elif RULE != LINEAR
      s[n] = SCALED(s[n], whole_decay);
#endif
    }
#if RULE == GATED_DELTA
    ADD_TOKENS
    barrier();  // everyone is done with K
    PLACE_ROWS(keys, fetched_keys, rows)
#else
    GROUP_BARRIER
#endif
#if RULE == SSD || RULE == GATED_DELTA
    PLACE_OWN(cell(scaled(widen(outputs[n]), scale * from_start[token])))
#else
    PLACE_OWN(cell(scaled(widen(outputs[n]), scale)))
#endif
#if RULE == GATED_DELTA
    barrier();
#else
    GROUP_BARRIER
#endif
    FETCH_CHUNK
    ADD_TOKENS
  }

  UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n)
    STORE_FLOATS_TRANSPOSED(s[n], running.data, state + n * TILE * value_dim / 4, value_dim / 4);
}
