// The states at every chunk's start and the corrected values U, serially over the chunks; the equations of
// runtime/cpu/chunked_*.cpp, for VALUE_TILE columns of one subhead's state, kept in float32 in tiles of registers:
//   gated_delta  U = A diag(beta) (V - e^γ ∘ (K S));  others U = V
//   S <- e^{γ_C} S + K^T (e^{γ_C - γ} ∘ U);  gla  S <- diag(e^{γ_C}) S + (K ∘ e^{γ_C - γ})^T U
//
// Shared memory, Cell: keys [C][K / PACK + 1] (gla, and where matrices are cooperative), values [C][VALUE_TILE / PACK + 1],
// gated_delta second [max(K, C)][VALUE_TILE / PACK + 1]: the state as an operand, then U; float gates.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer BetaBuffer { float data[]; } beta;       // [B, T, H, E]
layout(binding = 6) readonly buffer InverseBuffer { Pack data[]; } inverse;  // [parts, C, C] in tiles: A
layout(binding = 7) readonly buffer H0Buffer { vec4 data[]; } h0;            // [N, H, E, K, V]
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;                     // [N, H, E, K, V]
layout(binding = 9) writeonly buffer StatesBuffer { Pack data[]; } states;   // [parts, K, V] in tiles
// In tiles: gated_delta [parts, C, V]; else one for all subheads, [slots, H, C, V]
layout(binding = 10) writeonly buffer CorrectedBuffer { Pack data[]; } corrected;

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint KEY_TILES = KEY_DIM / TILE;
const uint ROW_TILES = CHUNK / TILE;
const uint STATE_TILES = (KEY_TILES * COLUMN_TILES + TEAMS - 1) / TEAMS;  // of a team, at most

#if COOPERATIVE || RULE == GLA
shared Cell keys[CHUNK * KEY_STRIDE];
#else
#define keys k.data
#endif
shared Cell values[CHUNK * VALUE_STRIDE];
#if RULE == GATED_DELTA
shared Cell second[(KEY_DIM > CHUNK ? KEY_DIM : CHUNK) * VALUE_STRIDE];
shared float betas[CHUNK];
#define OPERAND second
#else
#define OPERAND values
#endif
#if RULE == GLA
shared float whole[KEY_DIM];  // e^{γ_C}
#elif RULE != LINEAR
shared float gammas[CHUNK];
#endif

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
  Sum s[STATE_TILES];
  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    s[n] = EMPTY;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) {
      if (index > 0) {
        LOAD_FLOATS(s[n], ht.data, at, value_dim / 4);
      } else if (has_initial != 0) {
        LOAD_FLOATS(s[n], h0.data, at, value_dim / 4);
      }
    }
  }

  for (; index < end; ++index) {
    const Chunk chunk = chunk_of(sequence, index);
    const uint part = part_of(chunk, head, subhead);
    const Rows rows = qk_rows(chunk, head, subhead);
#if RULE == SSD || RULE == GATED_DELTA
    const float last = gamma.data[part * CHUNK + CHUNK - 1];
#endif

    barrier();
#if RULE == GLA
    for (uint i = thread; i < CHUNK * KEY_PACKS; i += gl_WorkGroupSize.x) {
      const uint row = i / KEY_PACKS, pack = i % KEY_PACKS;
      const uint decay = part * CHUNK * KEY_DIM + pack * PACK;
      float factors[PACK];
      for (uint j = 0; j < PACK; ++j)
        factors[j] = exp(gamma.data[decay + (CHUNK - 1) * KEY_DIM + j] - gamma.data[decay + row * KEY_DIM + j]);
      keys[row * KEY_STRIDE + pack] = row < rows.count ? cell(product(widen(k.data[rows.first + row * rows.stride + pack]),
                                                                      values_of(factors)))
                                                       : Cell(0);
    }
    for (uint i = thread; i < KEY_DIM; i += gl_WorkGroupSize.x)
      whole[i] = exp(gamma.data[(part * CHUNK + CHUNK - 1) * KEY_DIM + i]);
#else
    STAGE_ROWS(keys, k, rows)
#endif
    for (uint i = thread; i < CHUNK * VALUE_PACKS; i += gl_WorkGroupSize.x) {
      const uint row = i / VALUE_PACKS, pack = i % VALUE_PACKS;
      const uint from = ((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack;
      const uint to = row * VALUE_STRIDE + pack;
      const bool inside = row < chunk.tokens;
#if RULE == GATED_DELTA
      values[to] = inside ? cell(v.data[from]) : Cell(0);
#else
      const Pack value = inside ? v.data[from] : Pack(0);
      if (subhead == 0)
        corrected.data[(chunk.slot * heads + head) * CHUNK * value_packs + tiled(row, first_column + pack * PACK, value_dim)] =
            value;
#if RULE == SSD
      values[to] = cell(scaled(widen(value), exp(last - gamma.data[part * CHUNK + row])));
#else
      values[to] = cell(value);
#endif
#endif
    }
#if RULE == GATED_DELTA
    for (uint i = thread; i < CHUNK; i += gl_WorkGroupSize.x) {
      gammas[i] = gamma.data[part * CHUNK + i];
      betas[i] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
    }
#endif
    for (uint n = 0; n < STATE_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      const uint channel = tile % KEY_TILES * TILE, column = tile / KEY_TILES * TILE;
      if (tile < KEY_TILES * COLUMN_TILES) {
        STORE_PACKS(s[n], states.data, part * KEY_DIM * value_packs + tiled(channel, first_column + column, value_dim), LINE);
#if RULE == GATED_DELTA
        STORE_CELLS(s[n], second, channel * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
#endif
      }
    }
    barrier();

#if RULE == GATED_DELTA
    for (uint tile = team; tile < ROW_TILES * COLUMN_TILES; tile += TEAMS) {
      const uint row = tile / COLUMN_TILES * TILE, column = tile % COLUMN_TILES * TILE;
      Sum recalled = EMPTY;
      for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {
        Left left;
        Right right;
        ROWS_LEFT(left, keys, rows, row, channel);
        LOAD_RIGHT(right, second, channel * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
        MULTIPLY_ADD(recalled, left, right);
      }
      Sum value;
      LOAD_CELLS(value, values, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
      for (uint e = 0; e < ELEMENTS; ++e) {
        const uint i = row + row_of(e);
        VALUE(value, e) = betas[i] * (VALUE(value, e) - exp(gammas[i]) * VALUE(recalled, e));
      }
      STORE_CELLS(value, values, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
    }
    barrier();
    for (uint tile = team; tile < ROW_TILES * COLUMN_TILES; tile += TEAMS) {
      const uint row = tile / COLUMN_TILES * TILE, column = tile % COLUMN_TILES * TILE;
      Sum u = EMPTY;
      for (uint token = 0; token < row + TILE; token += DEPTH) {
        Left left;
        Right right;
        LOAD_LEFT(left, inverse.data, part * CHUNK * CHUNK / PACK + tiled(row, token, CHUNK), LINE);
        LOAD_RIGHT(right, values, token * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
        MULTIPLY_ADD(u, left, right);
      }
      STORE_PACKS(u, corrected.data, part * CHUNK * value_packs + tiled(row, first_column + column, value_dim), LINE);
      for (uint e = 0; e < ELEMENTS; ++e) VALUE(u, e) *= exp(last - gammas[row + row_of(e)]);
      STORE_CELLS(u, second, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
    }
    barrier();
#endif

    for (uint n = 0; n < STATE_TILES; ++n) {
      const uint channel = (team + n * TEAMS) % KEY_TILES * TILE;
#if RULE == GLA
      for (uint e = 0; e < ELEMENTS; ++e) VALUE(s[n], e) *= whole[channel + row_of(e)];
#elif RULE != LINEAR
      s[n] *= exp(last);
#endif
    }
    for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
      Left left;
      for (uint n = 0; n < STATE_TILES; ++n) {
        const uint tile = team + n * TEAMS;
        const uint channel = tile % KEY_TILES * TILE, column = tile / KEY_TILES * TILE;
        if (tile >= KEY_TILES * COLUMN_TILES) continue;
        if (n == 0 || TEAMS % KEY_TILES != 0) {
#if RULE == GLA
          LOAD_LEFT_TRANSPOSED(left, keys, token * KEY_STRIDE + channel / PACK, KEY_STRIDE);
#else
          ROWS_LEFT_TRANSPOSED(left, keys, rows, channel, token);
#endif
        }
        Right right;
        LOAD_RIGHT(right, OPERAND, token * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
        MULTIPLY_ADD(s[n], left, right);
      }
    }
  }

  for (uint n = 0; n < STATE_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    const uint at = (state + tile % KEY_TILES * TILE * value_dim + first_column + tile / KEY_TILES * TILE) / 4;
    if (tile < KEY_TILES * COLUMN_TILES) STORE_FLOATS(s[n], ht.data, at, value_dim / 4);
  }
}
