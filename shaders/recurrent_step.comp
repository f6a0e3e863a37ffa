// One token of every rule, the state in place, at memory speed (equations: recurrent.comp). The state is read and written
// once and is nearly all there is to move, so what counts is that every access is of whole cache lines and that enough of
// them are on their way.
//
// A workgroup owns VALUE_TILE columns of a head (32: rows of 128 bytes). A thread holds four columns of ROWS consecutive
// rows; GROUPS threads share a column, and SLICES teams of such threads walk the head's subheads side by side. A thread asks
// for all of its rows at once; while some teams wait for theirs, others write. o is summed over a thread's rows and subheads
// first, and over groups and slices at the end: always in the same order.
//
// gated_delta sums k S over K for every subhead, through shared memory, in one half while the other may still be read.
// Shared memory: partial sums, float [2][SLICES][GROUPS][VALUE_TILE].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "recurrence.glsl"

layout(constant_id = 3) const uint VALUE_TILE = 32;
layout(constant_id = 4) const uint GROUPS = 8;
layout(constant_id = 5) const uint SLICES = 1;
layout(constant_id = 6) const bool UNROLL = true;  // as in recurrent_tile.glsl

layout(binding = 2) readonly buffer VBuffer { Quad data[]; } v;   // [B, H, V]
layout(binding = 7) writeonly buffer OBuffer { Quad data[]; } o;  // [B, H, V]
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;          // [B, H, E, K, V]

const uint KEY_QUADS = KEY_DIM / 4;
const uint ROW_QUADS = (KEY_QUADS + GROUPS - 1) / GROUPS;
const uint ROWS = 4 * ROW_QUADS;
const bool ROWS_FILL_GROUPS = ROW_QUADS * GROUPS == KEY_QUADS;
const uint TILE_QUADS = VALUE_TILE / 4;
const uint HALF = SLICES * GROUPS * TILE_QUADS;
const uint CAPACITY = UNROLL ? ROWS : ROWS + 32;

shared vec4 partial_sums[2 * HALF];

uint steps(uint count) { return UNROLL ? count : min(count, seq_len + 0x40000000u); }

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint column = thread % TILE_QUADS;
  const uint group = thread / TILE_QUADS % GROUPS;
  const uint slice = thread / (TILE_QUADS * GROUPS);
  const uint head = gl_WorkGroupID.y;
  const uint row = gl_WorkGroupID.z;  // of the batch
  const uint value_quads = value_dim / 4;
  const uint first_column = gl_WorkGroupID.x * TILE_QUADS + column;
  const uint own_state = state_quad(row, head, 0, first_column) + group * ROWS * value_quads;
  const uint own_qk = qk_row(row, head, 0) * KEY_QUADS + group * ROW_QUADS;
  const uint own_gate = gate_row(row, head, 0);

#define HAS_QUAD(i) (ROWS_FILL_GROUPS || group * ROW_QUADS + i < KEY_QUADS)
  const vec4 value = widen(v.data[(row * heads + head) * value_quads + first_column]);
  vec4 read = vec4(0);
  for (uint first = 0; first < expansion; first += SLICES) {
    const uint subhead = first + slice, present = min(subhead, expansion - 1);  // idle teams go along for the barriers
    const uint state = own_state + present * KEY_DIM * value_quads;
    const uint qk = own_qk + present * KEY_QUADS;
    vec4 s[CAPACITY];
    Quad keys[CAPACITY / 4], queries[CAPACITY / 4];
#if RULE == GLA
    vec4 gates[CAPACITY / 4];
#endif
    for (uint r = 0; r < steps(ROWS); ++r) s[r] = HAS_QUAD(r / 4) ? ht.data[state + r * value_quads] : vec4(0);
    for (uint i = 0; i < steps(ROW_QUADS); ++i) {
      keys[i] = HAS_QUAD(i) ? k.data[qk + i] : Quad(0);
      queries[i] = HAS_QUAD(i) ? q.data[qk + i] : Quad(0);
#if RULE == GLA
      gates[i] = HAS_QUAD(i) ? g.data[(own_gate + present) * KEY_QUADS + group * ROW_QUADS + i] : vec4(0);
#endif
    }
#if RULE == SSD || RULE == GATED_DELTA
    const float decay = exp(g.data[own_gate + present]);
#endif
#if RULE == GATED_DELTA
    const float write_strength = beta.data[own_gate + present];
#endif
    vec4 u = value;
#if RULE == GATED_DELTA
    vec4 recalled = vec4(0);
    for (uint i = 0; i < steps(ROW_QUADS); ++i) {
      const vec4 key = widen(keys[i]);
      for (uint j = 0; j < 4; ++j) recalled += key[j] * s[4 * i + j];
    }
    const uint half_begin = first / SLICES % 2 * HALF;
    partial_sums[half_begin + thread] = recalled;
    barrier();
    recalled = vec4(0);
    for (uint i = 0; i < GROUPS; ++i) recalled += partial_sums[half_begin + (slice * GROUPS + i) * TILE_QUADS + column];
    u = write_strength * (value - decay * recalled);
#endif
    if (subhead < expansion) {
      for (uint i = 0; i < steps(ROW_QUADS); ++i) {
        const vec4 key = widen(keys[i]), query = widen(queries[i]);
#if RULE == GLA
        const vec4 decays = exp(gates[i]);
#endif
        for (uint j = 0; j < 4; ++j) {
          const uint r = 4 * i + j;
#if RULE == LINEAR
          s[r] += key[j] * u;
#elif RULE == GLA
          s[r] = decays[j] * s[r] + key[j] * u;
#else
          s[r] = decay * s[r] + key[j] * u;
#endif
          if (HAS_QUAD(i)) ht.data[state + r * value_quads] = s[r];
          read += query[j] * s[r];
        }
      }
    }
  }

  barrier();
  partial_sums[(slice * GROUPS + group) * TILE_QUADS + column] = read;
  barrier();
  if (thread < TILE_QUADS) {
    vec4 sum = vec4(0);
    for (uint i = 0; i < SLICES * GROUPS; ++i) sum += partial_sums[i * TILE_QUADS + thread];
    o.data[(row * heads + head) * value_quads + gl_WorkGroupID.x * TILE_QUADS + thread] = narrow(scale * sum);
  }
}
