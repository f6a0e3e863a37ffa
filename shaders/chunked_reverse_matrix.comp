// chunked_reverse.comp where matrices are cooperative, as chunked_states_matrix.comp is to chunked_states.comp: a team keeps
// dS^T of 16 columns of V with all of K, so that what it makes is for itself alone.
//   gated_delta  dU^T = scale dO^T P + (e^{γ_C - γ} ∘ dS^T K^T),  dR^T = (beta ∘ dU^T) A
//   dS^T <- e^{γ_C} dS^T + scale (e^γ ∘ dO^T) Q - (e^γ ∘ dR^T) K;  gla  dS^T <- dS^T diag(e^{γ_C}) + scale dO^T (Q ∘ e^γ)
// P and A, and K and Q, share a place. The next chunk's first tiles are on their way while the gradient takes in this one's.
//
// Shared memory, Cell: keys [C][K / PACK + 1]; gated_delta square [C][C / PACK + 1]; a team's own, the larger of dS^T
// [16][K / PACK + 1] and C / 16 blocks [16][16 / PACK + 1]. float: ssd and gated_delta from_start [C], gated_delta to_end and
// betas [C], gla decays [K].
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

const uint KEY_TILES = KEY_DIM / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint BLOCK_LINE = LINE + 1;  // rows begin in different banks
const uint BLOCK_CELLS = TILE * BLOCK_LINE;
const uint OWN = TILE * KEY_STRIDE > ROW_TILES * BLOCK_CELLS ? TILE * KEY_STRIDE : ROW_TILES * BLOCK_CELLS;
const uint OWN_FETCHES = (CHUNK * LINE + TEAM_SIZE - 1) / TEAM_SIZE;

shared Cell keys[CHUNK * KEY_STRIDE];
shared Cell own_cells[TEAMS * OWN];
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
  const uint own = team * OWN;
  const uint first_column = (gl_WorkGroupID.x * TEAMS + team) * TILE;
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

  const uint state = (((sequence * heads + head) * expansion + subhead) * KEY_DIM * value_dim + first_column) / 4;
  Sum s[KEY_TILES];  // of dS^T: 16 columns of V, 16 channels each
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
#define FETCH_GATES                                                                                     \
  FETCH_TRIANGLE(fetched_square, scores)                                                                \
  FETCH_TOKENS(fetched_gammas, gamma.data[part * CHUNK + row])                                          \
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
// The team's columns of a matrix of rows by token, a block after the other.
#define PLACE_OWN(value)                                             \
  UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {                  \
    const uint row = (lane + n * TEAM_SIZE) / LINE, pack = lane % LINE; \
    if (row < CHUNK) own_cells[own + row * BLOCK_LINE + pack] = row < chunk.tokens ? value : Cell(0); \
  }
#define OUTPUTS_LEFT(left, token) LOAD_LEFT_TRANSPOSED(left, own_cells, own + (token) * BLOCK_LINE, BLOCK_LINE)
#define BLOCKS_LEFT(left, token) \
  LOAD_LEFT(left, own_cells, own + (token) / TILE * BLOCK_CELLS + (token) % TILE / PACK, BLOCK_LINE)
#define SQUARE_RIGHT(right, row, column) LOAD_RIGHT(right, square, (row) * CHUNK_STRIDE + (column) / PACK, CHUNK_STRIDE)
// The gradient takes in rows of `keys`, weighted by token.
#define ADD_TOKENS(LOAD_TOKENS)                                              \
  UNROLLED for (uint token = 0; token < steps(CHUNK); token += DEPTH) {             \
    Left left;                                                               \
    LOAD_TOKENS(left, token);                                                \
    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {                          \
      Right right;                                                           \
      ROWS_RIGHT(right, keys, rows, token, n * TILE);                        \
      MULTIPLY_ADD(s[n], left, right);                                       \
    }                                                                        \
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
      const uint row = (lane + n * TEAM_SIZE) / LINE, pack = lane % LINE;
      outputs[n] =
          d_o.data[((chunk.begin + min(row, chunk.tokens - 1)) * heads + head) * value_packs + first_column / PACK + pack];
    }
#if RULE == GATED_DELTA
    FETCH_TRIANGLE(fetched_square, inverse)
#endif
    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) STORE_CELLS(s[n], own_cells, own + n * LINE, KEY_STRIDE);
    TEAM_BARRIER;
    COPY_OUT(TILE * KEY_PACKS, gradients, (part * value_dim + first_column) * KEY_PACKS,
             own + i / KEY_PACKS * KEY_STRIDE + i % KEY_PACKS)

#if RULE == GATED_DELTA
    Sum written[ROW_TILES];  // beta dU^T, then dR^T
    UNROLLED for (uint t = 0; t < steps(ROW_TILES); ++t) written[t] = EMPTY;
    UNROLLED for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
      Left left;
      LOAD_LEFT(left, own_cells, own + channel / PACK, KEY_STRIDE);
      UNROLLED for (uint t = 0; t < steps(ROW_TILES); ++t) {
        Right right;
        ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, t * TILE);
        MULTIPLY_ADD(written[t], left, right);
      }
    }
    TEAM_BARRIER;
    PLACE_OWN(cell(outputs[n]))
    TEAM_BARRIER;
    UNROLLED for (uint t = 0; t < steps(ROW_TILES); ++t) {
      Sum read = EMPTY;
      UNROLLED for (uint token = t * TILE; token < steps(CHUNK); token += DEPTH) {
        Left left;
        Right right;
        OUTPUTS_LEFT(left, token);
        SQUARE_RIGHT(right, token, t * TILE);
        MULTIPLY_ADD(read, left, right);
      }
      Sum decay, strength;
      LOAD_FACTORS(decay, to_end, t * TILE / 4);
      LOAD_FACTORS(strength, betas, t * TILE / 4);
      written[t] = SUM_OF(PRODUCT(decay, written[t]), PRODUCT(strength, read));
    }
    barrier();  // everyone is done with P
    PLACE(square, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_square)
    UNROLLED for (uint t = 0; t < steps(ROW_TILES); ++t) {
      STORE_CELLS(written[t], own_cells, own + t * BLOCK_CELLS, BLOCK_LINE);
      written[t] = EMPTY;
    }
    barrier();
    FETCH_ROWS(fetched_keys, q, rows)
    UNROLLED for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Left left;
      BLOCKS_LEFT(left, token);
      UNROLLED for (uint t = 0; t < steps(token / TILE + 1); ++t) {
        Right right;
        SQUARE_RIGHT(right, token, t * TILE);
        MULTIPLY_ADD(written[t], left, right);
      }
    }
    TEAM_BARRIER;
    UNROLLED for (uint t = 0; t < steps(ROW_TILES); ++t)
      STORE_CELLS_TRANSPOSED(written[t], own_cells, own + t * BLOCK_CELLS, BLOCK_LINE);
    TEAM_BARRIER;
    Pack corrected[OWN_FETCHES];
    UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {
      const uint row = (lane + n * TEAM_SIZE) / LINE, pack = lane % LINE;
      if (row < CHUNK) corrected[n] = pack_of(own_cells[own + row * BLOCK_LINE + pack]);
    }
    UNROLLED for (uint n = 0; n < OWN_FETCHES; ++n) {
      const uint row = (lane + n * TEAM_SIZE) / LINE, pack = lane % LINE;
      if (row >= CHUNK) continue;
      corrections.data[(part * CHUNK + row) * value_packs + first_column / PACK + pack] = corrected[n];
      own_cells[own + row * BLOCK_LINE + pack] = cell(scaled(widen(corrected[n]), -from_start[row]));
    }
    TEAM_BARRIER;
#endif

    UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n) {
#if RULE == GLA
      Sum decay;
      LOAD_FACTORS(decay, decays, n * TILE / 4);
      s[n] = PRODUCT(s[n], decay);
#elif RULE != LINEAR
      s[n] = SCALED(s[n], whole_decay);
#endif
    }
#if RULE == GATED_DELTA
    ADD_TOKENS(OUTPUTS_LEFT)
    barrier();  // everyone is done with K
    PLACE_ROWS(keys, fetched_keys, rows)
#else
    TEAM_BARRIER;
#endif
#if RULE == SSD || RULE == GATED_DELTA
    PLACE_OWN(cell(scaled(widen(outputs[n]), scale * from_start[row])))
#else
    PLACE_OWN(cell(scaled(widen(outputs[n]), scale)))
#endif
#if RULE == GATED_DELTA
    barrier();
#else
    TEAM_BARRIER;
#endif
    FETCH_CHUNK
    ADD_TOKENS(OUTPUTS_LEFT)
  }

  UNROLLED for (uint n = 0; n < steps(KEY_TILES); ++n)
    STORE_FLOATS_TRANSPOSED(s[n], running.data, state + n * TILE * value_dim / 4, value_dim / 4);
}
