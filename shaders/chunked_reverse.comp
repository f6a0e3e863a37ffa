// The gradient of the state after every chunk, serially from the last chunk to the first; the equations of
// runtime/cpu/chunked_*.cpp, for VALUE_TILE columns of one subhead's dS, kept in float32 in tiles of registers:
//   dS <- e^{γ_C} dS + scale (e^γ ∘ Q)^T dO;  gla  dS <- diag(e^{γ_C}) dS + scale (Q ∘ e^γ)^T dO
// and of gated_delta, where what a chunk writes is corrected by what it finds,
//   dU = scale P^T dO + e^{γ_C - γ} ∘ (K dS),  dR = A^T diag(beta) dU,  dS <- .. - (e^γ ∘ K)^T dR
// dR is this subhead's part of dv. All of it is transposed, as in chunked_states.comp.
//
// Where matrices are cooperative, chunked_reverse_matrix.comp does this.
//
// Shared memory, Cell: outputs [C][VALUE_TILE / PACK + 1]: dO; turned, the larger of dS^T [VALUE_TILE][K / PACK + 1] and of
// gated_delta dR as outputs; gated_delta: blocks, of [16][16 / PACK + 1], [VALUE_TILE][C]: dU^T, and in the same places
// dR^T. float: ssd and gated_delta from_start [C], gated_delta to_end and betas [C], gla decays [K].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;                 // [B, T, H, V]
layout(binding = 6) readonly buffer BetaBuffer { float data[]; } beta;             // [B, T, H, E]
layout(binding = 7) readonly buffer ScoresBuffer { Pack data[]; } scores;          // [parts, C, C]: P
layout(binding = 8) readonly buffer InverseBuffer { Pack data[]; } inverse;        // [parts, C, C]: A
layout(binding = 9) readonly buffer DhtBuffer { vec4 data[]; } dht;                // [N, H, E, K, V]
layout(binding = 10) buffer RunningBuffer { vec4 data[]; } running;                // [N, H, E, K, V]: dS between launches
layout(binding = 11) writeonly buffer GradientsBuffer { Pack data[]; } gradients;  // [parts, V, K]: dS^T after the chunk
#if RULE == GATED_DELTA
layout(binding = 12) writeonly buffer CorrectionsBuffer { Pack data[]; } corrections;  // [parts, C, V]: dR
#elif RULE == GLA
layout(binding = 12) readonly buffer DecayedQBuffer { Pack data[]; } decayed_q;    // [parts, C, K]: Q ∘ e^γ
layout(binding = 13) readonly buffer WholeBuffer { vec4 data[]; } whole;           // [parts, K]: e^{γ_C}
#endif

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint KEY_TILES = KEY_DIM / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint BLOCKS = COLUMN_TILES * ROW_TILES;
const uint BLOCK_LINE = LINE + 1;  // rows begin in different banks
const uint BLOCK_CELLS = TILE * BLOCK_LINE;
const uint STATE_TILES = (KEY_TILES * COLUMN_TILES + TEAMS - 1) / TEAMS;  // of a team, at most
const uint VALUE_TILES = (BLOCKS + TEAMS - 1) / TEAMS;

shared Cell outputs[CHUNK * VALUE_STRIDE];
#if RULE == GATED_DELTA
shared Cell turned[LARGER(VALUE_TILE * KEY_STRIDE, CHUNK * VALUE_STRIDE)];
shared Cell blocks[BLOCKS * BLOCK_CELLS];
shared vec4 to_end[CHUNK / 4];  // beta e^{γ_C - γ}
shared vec4 betas[CHUNK / 4];   // scale beta
#else
shared Cell turned[VALUE_TILE * KEY_STRIDE];
#endif
#if RULE == SSD || RULE == GATED_DELTA
shared vec4 from_start[CHUNK / 4];  // e^γ
#elif RULE == GLA
shared vec4 decays[KEY_DIM / 4];  // e^{γ_C}
#endif

// Of the block of these columns and tokens, the first row's pack that has this token.
uint block_at(uint column, uint token) {
  return (column / TILE * ROW_TILES + token / TILE) * BLOCK_CELLS + token % TILE / PACK;
}

// What the state reads and is read by: Q, of gla with its decay.
#if RULE == GLA
#define QUERIES decayed_q
Rows query_rows(Chunk chunk, uint head, uint subhead) { return part_rows(part_of(chunk, head, subhead)); }
#else
#define QUERIES q
Rows query_rows(Chunk chunk, uint head, uint subhead) { return qk_rows(chunk, head, subhead); }
#endif

#define SQUARE_RIGHT(right, memory, row, column) \
  LOAD_RIGHT(right, memory.data, (part * CHUNK + (row)) * CHUNK_PACKS + (column) / PACK, CHUNK_PACKS)

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint first_column = gl_WorkGroupID.x * VALUE_TILE;
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

  const uint state = ((sequence * heads + head) * expansion + subhead) * KEY_DIM * value_dim;
  Sum s[STATE_TILES];  // of dS^T: columns of V, channels
  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    s[n] = EMPTY;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) {
      if (end < chunks) {
        LOAD_FLOATS_TRANSPOSED(s[n], running.data, at, value_dim / 4);
      } else if (has_final != 0) {
        LOAD_FLOATS_TRANSPOSED(s[n], dht.data, at, value_dim / 4);
      }
    }
  }

// A product of dS^T's columns of V by tokens, and rows of tokens: taken in by the state.
#define ADD_TOKENS(LOAD_TOKENS, memory, rows)                                              \
  for (uint token = 0; token < steps(CHUNK); token += DEPTH) {                             \
    Right right;                                                                           \
    for (uint n = 0; n < STATE_TILES; ++n) {                                               \
      const uint tile = team + n * TEAMS;                                                  \
      const uint channel = tile % KEY_TILES * TILE, column = tile / KEY_TILES * TILE;      \
      if (tile >= KEY_TILES * COLUMN_TILES) continue;                                      \
      if (n == 0 || TEAMS % KEY_TILES != 0) ROWS_RIGHT(right, memory, rows, token, channel); \
      Left left;                                                                           \
      LOAD_TOKENS(left, column, token);                                                    \
      MULTIPLY_ADD(s[n], left, right);                                                     \
    }                                                                                      \
  }
#define OUTPUT_TOKENS(left, column, token) \
  LOAD_LEFT_TRANSPOSED(left, outputs, (token) * VALUE_STRIDE + (column) / PACK, VALUE_STRIDE)
#define BLOCK_TOKENS(left, column, token) LOAD_LEFT(left, blocks, block_at(column, token), BLOCK_LINE)

  Pack output_fetches[FETCHES(CHUNK, VALUE_PACKS)];

  // The next chunk is under way while the state takes in this one.
  Chunk chunk;
  uint part;
#define FETCH_CHUNK                                                                                      \
  {                                                                                                      \
    chunk = chunk_of(sequence, end - 1);                                                                 \
    part = part_of(chunk, head, subhead);                                                                \
    FETCH(output_fetches, CHUNK, VALUE_PACKS,                                                            \
          row < chunk.tokens                                                                             \
              ? d_o.data[((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack] \
              : Pack(0))                                                                                 \
  }
  if (begin < end) FETCH_CHUNK

  while (begin < end) {
    const Rows rows = query_rows(chunk, head, subhead);
#if RULE == SSD || RULE == GATED_DELTA
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
#endif
    barrier();
#if RULE == GATED_DELTA
    PLACE(outputs, VALUE_STRIDE, CHUNK, VALUE_PACKS, output_fetches)
    for (uint i = thread; i < CHUNK; i += THREADS) {
      const float here = gamma.data[part * CHUNK + i];
      const float strength = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
      from_start[i / 4][i % 4] = exp(here);
      to_end[i / 4][i % 4] = strength * exp(last - here);
      betas[i / 4][i % 4] = scale * strength;
    }
#else
    for (uint n = 0; n < FETCHES(CHUNK, VALUE_PACKS); ++n) {
      const uint row = (thread + n * THREADS) / VALUE_PACKS, pack = (thread + n * THREADS) % VALUE_PACKS;
#if RULE == SSD
      const float factor = row < CHUNK ? scale * exp(gamma.data[part * CHUNK + row]) : 0;
#else
      const float factor = scale;
#endif
      if (row < CHUNK) outputs[row * VALUE_STRIDE + pack] = cell(scaled(widen(output_fetches[n]), factor));
    }
#if RULE == GLA
    for (uint i = thread; i < KEY_DIM / 4; i += THREADS)
      decays[i] = whole.data[part * (KEY_DIM / 4) + i];
#endif
#endif
    for (uint n = 0; n < STATE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile < KEY_TILES * COLUMN_TILES)
        STORE_CELLS(s[n], turned, tile / KEY_TILES * TILE * KEY_STRIDE + tile % KEY_TILES * LINE, KEY_STRIDE);
    }
    barrier();

    for (uint i = thread; i < VALUE_TILE * KEY_PACKS; i += THREADS)
      gradients.data[(part * value_dim + first_column) * KEY_PACKS + i] =
          pack_of(turned[i / KEY_PACKS * KEY_STRIDE + i % KEY_PACKS]);

#if RULE == GATED_DELTA
    const Rows key_rows = qk_rows(chunk, head, subhead);
    Sum written[VALUE_TILES];  // dU^T, then dR^T
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint column = tile / ROW_TILES * TILE, token = tile % ROW_TILES * TILE;
      if (tile >= BLOCKS) continue;
      Sum later = EMPTY, read = EMPTY;
      for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT(left, turned, column * KEY_STRIDE + channel / PACK, KEY_STRIDE);
        ROWS_RIGHT_TRANSPOSED(right, k.data, key_rows, channel, token);
        MULTIPLY_ADD(later, left, right);
      }
      for (uint row = token; row < CHUNK; row += DEPTH) {
        Left left;
        Right right;
        OUTPUT_TOKENS(left, column, row);
        SQUARE_RIGHT(right, scores, row, token);
        MULTIPLY_ADD(read, left, right);
      }
      Sum decay, strength;
      LOAD_FACTORS(decay, to_end, token / 4);
      LOAD_FACTORS(strength, betas, token / 4);
      written[n] = PRODUCT(decay, later) + PRODUCT(strength, read);
    }
    barrier();

    for (uint i = thread; i < CHUNK * VALUE_PACKS; i += THREADS) {
      const uint row = i / VALUE_PACKS, at = row * VALUE_STRIDE + i % VALUE_PACKS;
      outputs[at] = cell(scaled(widen(outputs[at]), scale * from_start[row / 4][row % 4]));
    }
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile < BLOCKS) STORE_CELLS(written[n], blocks, tile * BLOCK_CELLS, BLOCK_LINE);
    }
    barrier();
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint column = tile / ROW_TILES * TILE, token = tile % ROW_TILES * TILE;
      if (tile >= BLOCKS) continue;
      written[n] = EMPTY;
      for (uint row = token; row < CHUNK; row += DEPTH) {
        Left left;
        Right right;
        BLOCK_TOKENS(left, column, row);
        SQUARE_RIGHT(right, inverse, row, token);
        MULTIPLY_ADD(written[n], left, right);
      }
    }
    barrier();
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint column = tile / ROW_TILES * TILE, token = tile % ROW_TILES * TILE;
      if (tile >= BLOCKS) continue;
      STORE_CELLS_TRANSPOSED(written[n], turned, token * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
      Sum decay;
      LOAD_FACTORS(decay, from_start, token / 4);
      written[n] = -PRODUCT(decay, written[n]);
      STORE_CELLS(written[n], blocks, tile * BLOCK_CELLS, BLOCK_LINE);
    }
    barrier();
    for (uint i = thread; i < CHUNK * VALUE_PACKS; i += THREADS) {
      const uint row = i / VALUE_PACKS, pack = i % VALUE_PACKS;
      corrections.data[(part * CHUNK + row) * value_packs + first_column / PACK + pack] =
          pack_of(turned[row * VALUE_STRIDE + pack]);
    }
#endif

    for (uint n = 0; n < STATE_TILES; ++n) {
#if RULE == GLA
      Sum decay;
      LOAD_FACTORS(decay, decays, (team + n * TEAMS) % KEY_TILES * TILE / 4);
      s[n] = PRODUCT(s[n], decay);
#elif RULE != LINEAR
      s[n] *= exp(last);
#endif
    }
#if RULE == GATED_DELTA
    ADD_TOKENS(BLOCK_TOKENS, k.data, key_rows)
#endif
    if (--end > begin) FETCH_CHUNK
    ADD_TOKENS(OUTPUT_TOKENS, QUERIES.data, rows)
  }

  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) STORE_FLOATS_TRANSPOSED(s[n], running.data, at, value_dim / 4);
  }
}
