// The second of backward's kernels: the gradient of the state, from the last token to the first. u is what a token adds to
// the state, S_t = e^g S_{t-1} + k_t^T u_t; C_t is the gradient of S_t that comes from later tokens (C_T = dht) and G_t
// the whole of it:
//   G_t = C_t + scale q_t^T do_t
//   du_t = k_t G_t
//   linear, ssd, gla   u = v:       dv_t = sum over subheads of du_t         C_{t-1} = e^g G_t
//   gated_delta        u = beta w:  dv_t = sum over subheads of beta du_t    C_{t-1} = e^g (G_t - beta k_t^T du_t)
//   dh0 = C_0
// Leaves C at the end of every chunk of 16 tokens, and du (gated_delta). `initial` is dht, or where the launch that ran
// the later tokens left off, and `ht` where this one does: dh0 in the end.
// Who does what, and shared memory: recurrent_tile.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#define SUMS 1
#include "recurrent_tile.glsl"

layout(binding = 11) writeonly buffer GradientsBuffer { vec4 data[]; } gradients;  // [chunks, H, E, K, V]
#if RULE == GATED_DELTA
layout(binding = 13) writeonly buffer DuBuffer { vec4 data[]; } du;                // [B, T, H, E, V]
#endif
layout(binding = 14) readonly buffer DoBuffer { Quad data[]; } d_o;                // [B, T, H, V]
layout(binding = 15) writeonly buffer DvBuffer { Quad data[]; } dv;                // [B, T, H, V]

// Adds what earlier launches left, then hands the sum on or out.
void finish(uint quad, vec4 sum) {
  sum += sum_so_far(quad);
  if (launch_ends_the_sum()) {
    dv.data[quad] = narrow(sum);
  } else {
    running_sum.data[quad] = sum;
  }
}

void main() {
  const Place p = find_place();
  const uint value_quads = value_dim / 4;
  const uint column = p.first_column + p.column;
  const Tokens tokens = tokens_of(p.sequence);
  const uint count = tokens.end - tokens.begin;

  vec4 c[CAPACITY];
  const uint before = state_before(p) + column;
  for (uint r = 0; r < steps(ROWS); ++r) {
    const bool inside = has_initial != 0 && has_row(r, p.lane);
    c[r] = inside ? initial.data[before + row_of(r, p.lane) * value_quads] : vec4(0);
  }

  for (uint blocks = (count + BLOCK - 1) / BLOCK; blocks > 0; --blocks) {
    const uint block = tokens.begin + (blocks - 1) * BLOCK;
    const uint block_end = min(block + BLOCK, tokens.end);
    // BLOCK divides a chunk.
    if (!p.idle && (block_end == tokens.end || (block_end - tokens.begin) % CHUNK == 0)) {
      const uint chunk = first_chunk(p.sequence) + (block - tokens.begin) / CHUNK;
      const uint state = state_quad(chunk, p.head, p.subhead, column);
      for (uint r = 0; r < steps(ROWS); ++r) {
        if (has_row(r, p.lane)) gradients.data[state + row_of(r, p.lane) * value_quads] = c[r];
      }
    }
    for (uint token = block_end; token-- > block;) {
      const uint quad = value_row(token, p.head) + column;
      const uint qk_quad = qk_row(token, p.head, p.subhead) * KEY_QUADS;
      const uint gate = gate_row(token, p.head, p.subhead);
      const vec4 read = scale * widen(d_o.data[quad]);  // what the queries' outer product adds
      vec4 written = vec4(0);                            // du
      float keys[CAPACITY];
      for (uint row = 0; row < steps(ROW_QUADS); ++row) {
        const uint key_quad = row * LANES + p.lane;
        const bool inside = ROWS_FILL_LANES || key_quad < KEY_QUADS;
        const vec4 key = inside ? widen(k.data[qk_quad + key_quad]) : vec4(0);
        const vec4 query = inside ? widen(q.data[qk_quad + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) {
          keys[4 * row + i] = key[i];
          c[4 * row + i] += query[i] * read;
          written += key[i] * c[4 * row + i];
        }
      }
      written = sum_over_lanes(written);
#if RULE == GATED_DELTA
      if (p.lane == 0 && !p.idle) du.data[gate * value_quads + column] = written;
      written *= beta.data[gate];
#endif
#if RULE == GLA
      for (uint row = 0; row < steps(ROW_QUADS); ++row) {
        const uint key_quad = row * LANES + p.lane;
        const bool inside = ROWS_FILL_LANES || key_quad < KEY_QUADS;
        const vec4 decay = inside ? exp(g.data[gate * KEY_QUADS + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) c[4 * row + i] *= decay[i];
      }
#elif RULE == SSD
      const float decay = exp(g.data[gate]);
      for (uint r = 0; r < steps(ROWS); ++r) c[r] *= decay;
#elif RULE == GATED_DELTA
      const float decay = exp(g.data[gate]);
      for (uint r = 0; r < steps(ROWS); ++r) c[r] = decay * (c[r] - keys[r] * written);
#endif
      if (p.lane == 0 && !p.idle) {
        if (SUBHEADS == 1) {
          finish(quad, written);
        } else {
          partial_sums[((token - block) * SUBHEADS + p.slot) * TILE_QUADS + p.column] = written;
        }
      }
    }

    if (SUBHEADS > 1) {
      barrier();
      for (uint i = p.thread; i < (block_end - block) * TILE_QUADS; i += gl_WorkGroupSize.x) {
        const uint row = i / TILE_QUADS;
        finish(value_row(block + row, p.head) + p.first_column + i % TILE_QUADS, sum_of_parts(row, i % TILE_QUADS, p.subheads));
      }
      barrier();
    }
  }

  if (p.idle) return;
  const uint after = state_after(p) + column;
  for (uint r = 0; r < steps(ROWS); ++r) {
    if (has_row(r, p.lane)) ht.data[after + row_of(r, p.lane) * value_quads] = c[r];
  }
}
