// The states at every chunk's start and the corrected values U, serially over the chunks; the equations of
// runtime/cpu/chunked_*.cpp, for VALUE_TILE columns of one subhead's state, kept in float32 in tiles of registers:
//   gated_delta  U = A diag(beta) (V - e^γ ∘ (K S));  others U = V
//   S <- e^{γ_C} S + K^T (e^{γ_C - γ} ∘ U);  gla  S <- diag(e^{γ_C}) S + (K ∘ e^{γ_C - γ})^T U
// all of it transposed, so that each product's operands lie along the depth as the product before left them.
//
// Shared memory, Cell: keys [C][K / PACK + 1] where matrices are cooperative; values, a block of [16][16 / PACK + 1] a
// tile: V, and in the same places what replaces it, transposed; second, the largest of S^T [VALUE_TILE][K / PACK + 1], as
// many blocks again, and where matrices are cooperative and for gated_delta A [C][C / PACK + 1]; float gates.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer BetaBuffer { float data[]; } beta;       // [B, T, H, E]
layout(binding = 6) readonly buffer InverseBuffer { Pack data[]; } inverse;  // [parts, C, C]: A
layout(binding = 7) readonly buffer H0Buffer { vec4 data[]; } h0;            // [N, H, E, K, V]
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;                     // [N, H, E, K, V]
layout(binding = 9) writeonly buffer StatesBuffer { Pack data[]; } states;   // [parts, V, K]: S^T
// gated_delta [parts, V, C]; else one for all subheads, [slots, H, V, C]: U^T
layout(binding = 10) writeonly buffer CorrectedBuffer { Pack data[]; } corrected;
#if RULE == GLA
layout(binding = 11) readonly buffer DecayedKBuffer { Pack data[]; } decayed_k;  // [parts, C, K]: K ∘ e^{γ_C - γ}
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
#if RULE == GATED_DELTA && COOPERATIVE
const uint INVERSE_CELLS = CHUNK * CHUNK_STRIDE;
#else
const uint INVERSE_CELLS = 0;
#endif
const uint BLOCKS_CELLS = BLOCKS * BLOCK_CELLS > INVERSE_CELLS ? BLOCKS * BLOCK_CELLS : INVERSE_CELLS;

#if COOPERATIVE
shared Cell keys[CHUNK * KEY_STRIDE];
#else
#define keys KEYS.data
#endif
shared Cell values[BLOCKS * BLOCK_CELLS];
shared Cell second[VALUE_TILE * KEY_STRIDE > BLOCKS_CELLS ? VALUE_TILE * KEY_STRIDE : BLOCKS_CELLS];
#if RULE == GATED_DELTA
shared float gammas[CHUNK];
shared float betas[CHUNK];
#endif
#if RULE == GLA
shared float whole[KEY_DIM];  // e^{γ_C}
#endif

// Where the block of these columns and tokens has this column (or where V is not yet replaced, token).
uint block_at(uint column, uint token) { return (column / TILE * ROW_TILES + token / TILE) * BLOCK_CELLS + token % TILE / PACK; }

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
    if (chunks == 0 && first >= slot_begin && first < slot_end) index = end;
    if (index >= end && !(chunks == 0 && first >= slot_begin && first < slot_end)) return;
  }

  find_positions();
  const uint state = ((sequence * heads + head) * expansion + subhead) * KEY_DIM * value_dim;
  Sum s[STATE_TILES];  // of S^T: columns of V, channels
  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    s[n] = EMPTY;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) {
      if (index > 0) {
        LOAD_FLOATS_TRANSPOSED(s[n], ht.data, at, value_dim / 4);
      } else if (has_initial != 0) {
        LOAD_FLOATS_TRANSPOSED(s[n], h0.data, at, value_dim / 4);
      }
    }
  }

  for (; index < end; ++index) {
    const Chunk chunk = chunk_of(sequence, index);
    const uint part = part_of(chunk, head, subhead);
    const Rows rows = key_rows(chunk, head, subhead);
#if RULE == SSD || RULE == GATED_DELTA
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
#endif

    barrier();
    STAGE_ROWS(keys, KEYS, rows)
    for (uint i = thread; i < CHUNK * VALUE_PACKS; i += THREADS) {
      const uint row = i / VALUE_PACKS, pack = i % VALUE_PACKS;
      const uint from = ((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack;
      values[(pack / LINE * ROW_TILES + row / TILE) * BLOCK_CELLS + row % TILE * BLOCK_LINE + pack % LINE] =
          row < chunk.tokens ? cell(v.data[from]) : Cell(0);
    }
#if RULE == GLA
    for (uint i = thread; i < KEY_DIM; i += THREADS)
      whole[i] = exp(gamma.data[((part * CHUNK + CHUNK - 1) * KEY_DIM + i) / 4][i % 4]);
#elif RULE == GATED_DELTA
    for (uint i = thread; i < CHUNK; i += THREADS) {
      gammas[i] = gamma.data[part * CHUNK + i];
      betas[i] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
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
#if RULE == GATED_DELTA && COOPERATIVE
    Pack inverses[FETCHES(CHUNK, CHUNK_PACKS)];
    FETCH(inverses, CHUNK, CHUNK_PACKS,
          pack * PACK / TILE <= row / TILE ? inverse.data[(part * CHUNK + row) * CHUNK_PACKS + pack] : Pack(0))
#endif

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
      for (uint e = 0; e < ELEMENTS; ++e) {
        const uint i = token + column_of(e);
        VALUE(written[n], e) = betas[i] * (VALUE(written[n], e) - exp(gammas[i]) * VALUE(recalled, e));
      }
#endif
    }
    barrier();

#if RULE == GATED_DELTA
    for (uint n = 0; n < VALUE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile < BLOCKS) STORE_CELLS(written[n], values, tile * BLOCK_CELLS, BLOCK_LINE);
    }
#if COOPERATIVE
    PLACE(second, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, inverses)
#define INVERSE_RIGHT(right, row, token) \
  LOAD_RIGHT_TRANSPOSED(right, second, (row) * CHUNK_STRIDE + (token) / PACK, CHUNK_STRIDE)
#else
#define INVERSE_RIGHT(right, row, token) \
  LOAD_RIGHT_TRANSPOSED(right, inverse.data, (part * CHUNK + (row)) * CHUNK_PACKS + (token) / PACK, CHUNK_PACKS)
#endif
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
      STORE_CELLS(written[n], second, tile * BLOCK_CELLS, BLOCK_LINE);
#if RULE == SSD || RULE == GATED_DELTA
      for (uint e = 0; e < ELEMENTS; ++e) {
        const uint i = tile % ROW_TILES * TILE + column_of(e);
        VALUE(written[n], e) *= exp(last - gamma.data[part * CHUNK + i]);
      }
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

    for (uint n = 0; n < STATE_TILES; ++n) {
#if RULE == GLA
      const uint channel = (team + n * TEAMS) % KEY_TILES * TILE;
      for (uint e = 0; e < ELEMENTS; ++e) VALUE(s[n], e) *= whole[channel + column_of(e)];
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
        if (n == 0 || TEAMS % KEY_TILES != 0) ROWS_RIGHT(right, keys, rows, token, channel);
        Left left;
        LOAD_LEFT(left, values, block_at(column, token), BLOCK_LINE);
        MULTIPLY_ADD(s[n], left, right);
      }
    }
  }

  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) STORE_FLOATS_TRANSPOSED(s[n], ht.data, at, value_dim / 4);
  }
}
