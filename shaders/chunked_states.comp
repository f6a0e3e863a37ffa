// The states at every chunk's start and the corrected values U, serially over the chunks; the equations of
// runtime/cpu/chunked_*.cpp, for VALUE_TILE columns of one subhead's state, kept in float32 in tiles of registers:
//   gated_delta  U = diag(beta) A (V - e^γ ∘ (K S));  others U = V
//   S <- e^{γ_C} S + K^T (e^{γ_C - γ} ∘ U);  gla  S <- diag(e^{γ_C}) S + (K ∘ e^{γ_C - γ})^T U
// all of it transposed, so that each product's operands lie along the depth as the product before left them. Backward
// wants what beta multiplies in place of U, and the states between its stretches. Where matrices are cooperative,
// chunked_states_matrix.comp does this.
//
// Shared memory, Cell: values, a block of [16][16 / PACK + 1] a tile: V, and in the same places what replaces it,
// transposed; second, the larger of S^T [VALUE_TILE][K / PACK + 1] and as many blocks again. float: ssd and gated_delta
// to_end [C], gated_delta betas and from_start [C], gla decays [K].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

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

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint KEY_TILES = KEY_DIM / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint BLOCKS = COLUMN_TILES * ROW_TILES;
const uint BLOCK_LINE = LINE + 1;  // rows begin in different banks
const uint BLOCK_CELLS = TILE * BLOCK_LINE;
const uint STATE_TILES = (KEY_TILES * COLUMN_TILES + TEAMS - 1) / TEAMS;  // of a team, at most
const uint VALUE_TILES = (BLOCKS + TEAMS - 1) / TEAMS;

#define keys KEYS.data
shared Cell values[BLOCKS * BLOCK_CELLS];
shared Cell second[LARGER(VALUE_TILE * KEY_STRIDE, BLOCKS * BLOCK_CELLS)];
#if RULE == SSD || RULE == GATED_DELTA
shared vec4 to_end[CHUNK / 4];  // e^{γ_C - γ}; gated_delta beta e^{γ_C - γ}
#endif
#if RULE == GATED_DELTA
shared vec4 betas[CHUNK / 4];
shared vec4 from_start[CHUNK / 4];  // e^γ
#elif RULE == GLA
shared vec4 decays[KEY_DIM / 4];  // e^{γ_C}
#endif

// Of the block of these columns and tokens, the first row's pack that has this token.
uint block_at(uint column, uint token) {
  return (column / TILE * ROW_TILES + token / TILE) * BLOCK_CELLS + token % TILE / PACK;
}

Rows key_rows(Chunk chunk, uint head, uint subhead) {
#if RULE == GLA
  return part_rows(part_of(chunk, head, subhead));
#else
  return qk_rows(chunk, head, subhead);
#endif
}

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint first_column = gl_WorkGroupID.x * VALUE_TILE;
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

  const uint state = ((sequence * heads + head) * expansion + subhead) * KEY_DIM * value_dim;
#if BACKWARD
  const uint all_states = sequences * heads * expansion * KEY_DIM * value_dim;
  const uint state_in = stretch == 0 ? 0 : (stretch - 1) * all_states + state;
  const uint state_out = stretch * all_states + state;
#else
  const uint state_in = state, state_out = state;
#endif
  Sum s[STATE_TILES];  // of S^T: columns of V, channels
  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    s[n] = EMPTY;
    const uint place = tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE;
    if (tile < KEY_TILES * COLUMN_TILES) {
      if (index > 0) {
        LOAD_FLOATS_TRANSPOSED(s[n], ht.data, (state_in + place) / 4, value_dim / 4);
      } else if (has_initial != 0) {
        LOAD_FLOATS_TRANSPOSED(s[n], h0.data, (state + place) / 4, value_dim / 4);
      }
    }
  }

  Pack value_fetches[FETCHES(CHUNK, VALUE_PACKS)];
  // The next chunk is under way while the state takes in this one.
  Chunk chunk;
  Rows rows;
  uint part;
#define FETCH_CHUNK                                                                                          \
  {                                                                                                          \
    chunk = chunk_of(sequence, index);                                                                       \
    part = part_of(chunk, head, subhead);                                                                    \
    rows = key_rows(chunk, head, subhead);                                                                   \
    FETCH(value_fetches, CHUNK, VALUE_PACKS,                                                                 \
          row < chunk.tokens                                                                                 \
              ? v.data[((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack]      \
              : Pack(0))                                                                                     \
  }
  if (index < end) FETCH_CHUNK

  while (index < end) {
#if RULE == SSD || RULE == GATED_DELTA
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
#endif
    barrier();
    for (uint n = 0; n < FETCHES(CHUNK, VALUE_PACKS); ++n) {
      const uint row = (thread + n * THREADS) / VALUE_PACKS, pack = (thread + n * THREADS) % VALUE_PACKS;
      if (row < CHUNK)
        values[(pack / LINE * ROW_TILES + row / TILE) * BLOCK_CELLS + row % TILE * BLOCK_LINE + pack % LINE] =
            cell(value_fetches[n]);
    }
#if RULE == GLA
    for (uint i = thread; i < KEY_DIM / 4; i += THREADS)
      decays[i] = whole.data[part * (KEY_DIM / 4) + i];
#elif RULE != LINEAR
    for (uint i = thread; i < CHUNK; i += THREADS) {
      const float here = gamma.data[part * CHUNK + i];
      to_end[i / 4][i % 4] = exp(last - here);
#if RULE == GATED_DELTA
      const float strength = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
      to_end[i / 4][i % 4] *= strength;
      betas[i / 4][i % 4] = strength;
      from_start[i / 4][i % 4] = exp(here);
#endif
    }
#endif
    for (uint n = 0; n < STATE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile < KEY_TILES * COLUMN_TILES)
        STORE_CELLS(s[n], second, tile / KEY_TILES * TILE * KEY_STRIDE + tile % KEY_TILES * LINE, KEY_STRIDE);
    }
    barrier();

    for (uint i = thread; i < VALUE_TILE * KEY_PACKS; i += THREADS)
      states.data[(part * value_dim + first_column) * KEY_PACKS + i] =
          pack_of(second[i / KEY_PACKS * KEY_STRIDE + i % KEY_PACKS]);
    // What the keys write, transposed.
    Sum written[VALUE_TILES];
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint column = tile / ROW_TILES * TILE, token = tile % ROW_TILES * TILE;
      if (tile >= BLOCKS) continue;
      LOAD_CELLS_TRANSPOSED(written[n], values, tile * BLOCK_CELLS, BLOCK_LINE);
#if RULE == GATED_DELTA
      Sum recalled = EMPTY;
      for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT(left, second, column * KEY_STRIDE + channel / PACK, KEY_STRIDE);
        ROWS_RIGHT_TRANSPOSED(right, keys, rows, channel, token);
        MULTIPLY_ADD(recalled, left, right);
      }
      Sum decay;
      LOAD_FACTORS(decay, from_start, token / 4);
      written[n] -= PRODUCT(decay, recalled);
#endif
    }
    barrier();

#if RULE == GATED_DELTA
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile < BLOCKS) STORE_CELLS(written[n], values, tile * BLOCK_CELLS, BLOCK_LINE);
    }
#define INVERSE_RIGHT(right, row, token) \
  LOAD_RIGHT_TRANSPOSED(right, inverse.data, (part * CHUNK + (row)) * CHUNK_PACKS + (token) / PACK, CHUNK_PACKS)
    barrier();
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint column = tile / ROW_TILES * TILE, row = tile % ROW_TILES * TILE;
      if (tile >= BLOCKS) continue;
      written[n] = EMPTY;
      for (uint token = 0; token < row + TILE; token += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT(left, values, block_at(column, token), BLOCK_LINE);
        INVERSE_RIGHT(right, row, token);
        MULTIPLY_ADD(written[n], left, right);
      }
    }
    barrier();
#endif

    // U^T as it is for the kernel that makes o, and decayed to the chunk's end for the state.
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile >= BLOCKS) continue;
#if RULE == GATED_DELTA && !BACKWARD
      Sum strength;
      LOAD_FACTORS(strength, betas, tile % ROW_TILES * TILE / 4);
      STORE_CELLS(PRODUCT(strength, written[n]), second, tile * BLOCK_CELLS, BLOCK_LINE);
#else
      STORE_CELLS(written[n], second, tile * BLOCK_CELLS, BLOCK_LINE);
#endif
#if RULE == SSD || RULE == GATED_DELTA
      Sum decay;
      LOAD_FACTORS(decay, to_end, tile % ROW_TILES * TILE / 4);
      written[n] = PRODUCT(written[n], decay);
#endif
      STORE_CELLS(written[n], values, tile * BLOCK_CELLS, BLOCK_LINE);
    }
    barrier();

#if RULE == GATED_DELTA
    const uint corrected_part = part;
#else
    const uint corrected_part = chunk.slot * heads + head;
    if (subhead == 0)
#endif
    for (uint i = thread; i < VALUE_TILE * CHUNK_PACKS; i += THREADS) {
      const uint column = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
      corrected.data[(corrected_part * value_dim + first_column) * CHUNK_PACKS + i] =
          pack_of(second[block_at(column, pack * PACK) + column % TILE * BLOCK_LINE]);
    }

    const Rows rows_here = rows;
    if (++index < end) FETCH_CHUNK

    for (uint n = 0; n < STATE_TILES; ++n) {
#if RULE == GLA
      Sum decay;
      LOAD_FACTORS(decay, decays, (team + n * TEAMS) % KEY_TILES * TILE / 4);
      s[n] = PRODUCT(s[n], decay);
#elif RULE != LINEAR
      s[n] *= exp(last);
#endif
    }
    for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Right right;
      for (uint n = 0; n < STATE_TILES; ++n) {
        const uint tile = team + n * TEAMS;
        const uint channel = tile % KEY_TILES * TILE, column = tile / KEY_TILES * TILE;
        if (tile >= KEY_TILES * COLUMN_TILES) continue;
        if (n == 0 || TEAMS % KEY_TILES != 0) ROWS_RIGHT(right, keys, rows_here, token, channel);
        Left left;
        LOAD_LEFT(left, values, block_at(column, token), BLOCK_LINE);
        MULTIPLY_ADD(s[n], left, right);
      }
    }
  }

  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    const uint at = (state_out + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) STORE_FLOATS_TRANSPOSED(s[n], ht.data, at, value_dim / 4);
  }
}
