// The comparison kernels: naive and subheads from this one source (paper, section 4.2). The state of one (sub)head, all
// of it, stays in shared memory as float32 and one workgroup runs it token by token; a naive head is E = 1 with K = E K.
// They show what the division does to shared memory; recurrent.comp has the equations and is what one would run.
//
// SEGMENTS threads share a quad of columns: each takes every SEGMENTS-th row. Shared memory, float32:
//   state [K][V], then keys [K], queries [K], decays [K] (gla only), partial [SEGMENTS][V].
// With E > 1 each subhead writes its own o to `subhead_o`, which sum_subheads.comp adds up.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "scan.glsl"

layout(constant_id = 3) const uint VALUE_DIM = 64;  // V
layout(constant_id = 4) const uint SEGMENTS = 1;

layout(binding = 2) readonly buffer VBuffer { Quad data[]; } v;                         // [B, T, H, V]
layout(binding = 7) writeonly buffer OBuffer { Quad data[]; } o;                        // [B, T, H, V]
layout(binding = 9) writeonly buffer SubheadOBuffer { vec4 data[]; } subhead_o;  // [B, T, H, E, V], unscaled

const uint KEY_QUADS = KEY_DIM / 4;
const uint VALUE_QUADS = VALUE_DIM / 4;

shared vec4 state[KEY_DIM * VALUE_QUADS];
shared float keys[KEY_DIM];
shared float queries[KEY_DIM];
#if RULE == GLA
shared float decays[KEY_DIM];
#endif
shared vec4 partial[SEGMENTS * VALUE_QUADS];

vec4 sum_over_segments(uint column4) {
  vec4 sum = vec4(0);
  for (uint i = 0; i < SEGMENTS; ++i) sum += partial[i * VALUE_QUADS + column4];
  return sum;
}

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint column4 = thread % VALUE_QUADS;
  const uint segment = thread / VALUE_QUADS;
  const uint subhead = gl_WorkGroupID.x;
  const uint head = gl_WorkGroupID.y;
  const uint sequence = gl_WorkGroupID.z;
  const Tokens tokens = tokens_of(sequence);
  const uint first = state_quad(sequence, head, subhead, column4);

  // Each thread reads and writes its own rows and columns only, so the state itself needs no barrier.
  for (uint row = segment; row < KEY_DIM; row += SEGMENTS) {
    state[row * VALUE_QUADS + column4] = has_initial != 0 ? initial.data[first + row * VALUE_QUADS] : vec4(0);
  }

  for (uint token = tokens.begin; token < tokens.end; ++token) {
    const uint qk = qk_row(token, head, subhead) * KEY_QUADS;
    const uint gate = gate_row(token, head, subhead);
    for (uint i = thread; i < KEY_QUADS; i += gl_WorkGroupSize.x) {
      const vec4 key = widen(k.data[qk + i]);
      const vec4 query = widen(q.data[qk + i]);
      for (uint j = 0; j < 4; ++j) {
        keys[4 * i + j] = key[j];
        queries[4 * i + j] = query[j];
      }
#if RULE == GLA
      const vec4 decay = exp(g.data[gate * KEY_QUADS + i]);
      for (uint j = 0; j < 4; ++j) decays[4 * i + j] = decay[j];
#endif
    }
    vec4 u = widen(v.data[(token * heads + head) * VALUE_QUADS + column4]);  // what the key writes
    barrier();

#if RULE == SSD || RULE == GATED_DELTA
    const float decay = exp(g.data[gate]);
#endif
#if RULE == GATED_DELTA
    vec4 recalled = vec4(0);
    for (uint row = segment; row < KEY_DIM; row += SEGMENTS)
      recalled += keys[row] * state[row * VALUE_QUADS + column4];
    partial[thread] = recalled;
    barrier();
    u = beta.data[gate] * (u - decay * sum_over_segments(column4));
    barrier();
#endif

    vec4 read = vec4(0);
    for (uint row = segment; row < KEY_DIM; row += SEGMENTS) {
      vec4 s = state[row * VALUE_QUADS + column4];
#if RULE == GLA
      s = decays[row] * s + keys[row] * u;
#elif RULE == LINEAR
      s += keys[row] * u;
#else
      s = decay * s + keys[row] * u;
#endif
      state[row * VALUE_QUADS + column4] = s;
      read += queries[row] * s;
    }
    partial[thread] = read;
    barrier();
    if (segment == 0) {
      const vec4 sum = sum_over_segments(column4);
      if (expansion == 1) {
        o.data[(token * heads + head) * VALUE_QUADS + column4] = narrow(scale * sum);
      } else {
        subhead_o.data[gate * VALUE_QUADS + column4] = sum;
      }
    }
    barrier();
  }

  for (uint row = segment; row < KEY_DIM; row += SEGMENTS)
    ht.data[first + row * VALUE_QUADS] = state[row * VALUE_QUADS + column4];
}
