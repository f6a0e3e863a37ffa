// Recurrent form of every rule, forward and step (DESIGN section 1; row vectors):
//   linear       S <- S + k^T v
//   ssd          S <- e^g S + k^T v                        g a scalar
//   gla          S <- diag(e^g) S + k^T v                  g a vector over K
//   gated_delta  S <- e^g S + beta k^T w,  w = v - e^g k S
//   o = scale sum over subheads of q S
// Who does what, and shared memory: recurrent_tile.glsl.
//
// With BACKWARD the first of backward's kernels (recurrent_reverse.comp, recurrent_gradients.comp): no o, but the state
// before every chunk of 16 tokens, and w.
#version 450
#extension GL_GOOGLE_include_directive : require
#define SUMS !BACKWARD
#include "recurrent_tile.glsl"

layout(binding = 2) readonly buffer VBuffer { Quad data[]; } v;  // [B, T, H, V]
#if BACKWARD
layout(binding = 10) writeonly buffer StatesBuffer { vec4 data[]; } states;  // [chunks, H, E, K, V]
#if RULE == GATED_DELTA
layout(binding = 12) writeonly buffer WBuffer { vec4 data[]; } w;            // [B, T, H, E, V]
#endif
#else
layout(binding = 7) writeonly buffer OBuffer { Quad data[]; } o;  // [B, T, H, V]

// Adds what earlier launches left, then hands the sum on or out.
void finish(uint quad, vec4 sum) {
  sum += sum_so_far(quad);
  if (launch_ends_the_sum()) {
    o.data[quad] = narrow(scale * sum);
  } else {
    running_sum.data[quad] = sum;
  }
}
#endif

void main() {
  const Place p = find_place();
  const uint value_quads = value_dim / 4;
  const uint column = p.first_column + p.column;
  const Tokens tokens = tokens_of(p.sequence);

  vec4 s[CAPACITY];
  const uint before = state_before(p) + column;
  for (uint r = 0; r < steps(ROWS); ++r) {
    const bool inside = has_initial != 0 && has_row(r, p.lane);
    s[r] = inside ? initial.data[before + row_of(r, p.lane) * value_quads] : vec4(0);
  }

  for (uint block = tokens.begin; block < tokens.end; block += BLOCK) {
    const uint block_end = min(block + BLOCK, tokens.end);
#if BACKWARD
    if (keeps_chunks() && (block - tokens.begin) % CHUNK == 0 && !p.idle) {
      const uint chunk = first_chunk(p.sequence) + (block - tokens.begin) / CHUNK;
      const uint state = state_quad(chunk, p.head, p.subhead, column);
      for (uint r = 0; r < steps(ROWS); ++r) {
        if (has_row(r, p.lane)) states.data[state + row_of(r, p.lane) * value_quads] = s[r];
      }
    }
#endif
    for (uint token = block; token < block_end; ++token) {
      const uint quad = value_row(token, p.head) + column;
      const uint qk_quad = qk_row(token, p.head, p.subhead) * KEY_QUADS;
      const uint gate = gate_row(token, p.head, p.subhead);
      float keys[CAPACITY];
#if !BACKWARD
      float queries[CAPACITY];
#endif
#if RULE == GLA
      float decays[CAPACITY];
#endif
      for (uint row = 0; row < steps(ROW_QUADS); ++row) {
        const uint key_quad = row * LANES + p.lane;
        const bool inside = ROWS_FILL_LANES || key_quad < KEY_QUADS;
        const vec4 key = inside ? widen(k.data[qk_quad + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) keys[4 * row + i] = key[i];
#if !BACKWARD
        const vec4 query = inside ? widen(q.data[qk_quad + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) queries[4 * row + i] = query[i];
#endif
#if RULE == GLA
        const vec4 decay = inside ? exp(g.data[gate * KEY_QUADS + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) decays[4 * row + i] = decay[i];
#endif
      }
#if RULE == SSD || RULE == GATED_DELTA
      const float decay = exp(g.data[gate]);
#endif

      vec4 u = widen(v.data[quad]);  // what the key writes
#if RULE == GATED_DELTA
      vec4 recalled = vec4(0);
      for (uint r = 0; r < steps(ROWS); ++r) recalled += keys[r] * s[r];
      u -= decay * sum_over_lanes(recalled);
#if BACKWARD
      if (keeps_chunks() && p.lane == 0 && !p.idle) w.data[gate * value_quads + column] = u;
#endif
      u *= beta.data[gate];
#endif
      vec4 read = vec4(0);
      for (uint r = 0; r < steps(ROWS); ++r) {
#if RULE == LINEAR
        s[r] += keys[r] * u;
#elif RULE == GLA
        s[r] = decays[r] * s[r] + keys[r] * u;
#else
        s[r] = decay * s[r] + keys[r] * u;
#endif
#if !BACKWARD
        read += queries[r] * s[r];
#endif
      }
#if !BACKWARD
      read = sum_over_lanes(read);
      if (p.lane == 0 && !p.idle) {
        if (SUBHEADS == 1) {
          finish(quad, read);
        } else {
          partial_sums[((token - block) * SUBHEADS + p.slot) * TILE_QUADS + p.column] = read;
        }
      }
#endif
    }

#if !BACKWARD
    if (SUBHEADS > 1) {
      barrier();
      for (uint i = p.thread; i < (block_end - block) * TILE_QUADS; i += gl_WorkGroupSize.x) {
        const uint row = i / TILE_QUADS;
        finish(value_row(block + row, p.head) + p.first_column + i % TILE_QUADS, sum_of_parts(row, i % TILE_QUADS, p.subheads));
      }
      barrier();
    }
#endif
  }

  if (p.idle) return;
  const uint after = state_after(p) + column;
  for (uint r = 0; r < steps(ROWS); ++r) {
    if (has_row(r, p.lane)) ht.data[after + row_of(r, p.lane) * value_quads] = s[r];
  }
}
