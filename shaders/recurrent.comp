// Recurrent form of every rule, forward and step (DESIGN section 1; row vectors):
//   linear       S <- S + k^T v
//   ssd          S <- e^g S + k^T v                        g a scalar
//   gla          S <- diag(e^g) S + k^T v                  g a vector over K
//   gated_delta  S <- e^g S + beta k^T (v - e^g k S)
//   o = scale sum over subheads of q S
//
// The columns of S do not touch each other, so a workgroup owns VALUE_TILE columns of one head of one sequence, for
// SUBHEADS subheads at once: v arrives once for all of them and their o is summed here, in the order of the subheads.
// LANES lanes of a subgroup share four columns: each keeps every LANES-th quad of rows in registers, and dot products
// over K end in a butterfly over the lanes.
//
// Shared memory: partial o, float [BLOCK][SUBHEADS][VALUE_TILE], written and summed every BLOCK tokens; none when
// SUBHEADS = 1. Subheads beyond a workgroup run in later launches, which continue the sum in `running_sum`.
#version 450
#extension GL_GOOGLE_include_directive : require
#if SHUFFLE
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "recurrence.glsl"

layout(constant_id = 3) const uint VALUE_TILE = 16;
layout(constant_id = 4) const uint LANES = 1;
layout(constant_id = 5) const uint SUBHEADS = 1;
layout(constant_id = 6) const uint BLOCK = 1;
// A GPU needs loops over the state unrolled: an array that is indexed at run time is not in registers. A software device
// has none to fill, and takes seconds to compile what unrolling makes of its loads and stores.
layout(constant_id = 7) const bool UNROLL = true;

layout(binding = 9) buffer RunningSumBuffer { vec4 data[]; } running_sum;  // [B, T, H, V], unscaled o so far

const uint KEY_QUADS = KEY_DIM / 4;
const uint ROW_QUADS = (KEY_QUADS + LANES - 1) / LANES;  // quads of rows that a lane keeps
const uint ROWS = 4 * ROW_QUADS;
// Mesa takes an array of up to 32 elements as the length of a loop over it, and unrolls that after all.
const uint CAPACITY = UNROLL ? ROWS : ROWS + 32;
const bool ROWS_FILL_LANES = ROW_QUADS * LANES == KEY_QUADS;
const uint TILE_QUADS = VALUE_TILE / 4;

shared vec4 partial_o[SUBHEADS == 1 ? 1 : BLOCK * SUBHEADS * TILE_QUADS];

// Trip count of a loop over the state or over lanes; the compiler cannot know that every sequence has fewer than 2^30 tokens.
uint steps(uint count) { return UNROLL ? count : min(count, seq_len + 0x40000000u); }

uint thread_index() {
#if SHUFFLE
  return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
#else
  return gl_LocalInvocationIndex;
#endif
}

// The sum over the lanes that share a column, in every one of them.
vec4 sum_over_lanes(vec4 x) {
#if SHUFFLE
  for (uint mask = 1; mask < steps(LANES); mask *= 2) x += subgroupShuffleXor(x, mask);
#endif
  return x;
}

bool launch_ends_the_sum() { return subhead_begin + SUBHEADS >= expansion; }

// Adds what earlier launches left, then hands the sum on or out.
void finish(uint quad, vec4 sum) {
  if (launch_ends_the_sum()) {
    o.data[quad] = narrow(scale * sum);
  } else {
    running_sum.data[quad] = sum;
  }
}

vec4 sum_so_far(uint quad) { return subhead_begin == 0 ? vec4(0) : running_sum.data[quad]; }

void main() {
  const uint thread = thread_index();
  const uint lane = thread % LANES;
  const uint column = thread / LANES % TILE_QUADS;       // which quad of the tile's columns
  const uint slot = thread / (LANES * TILE_QUADS);       // which of the workgroup's subheads
  const uint head = gl_WorkGroupID.y;
  const uint sequence = gl_WorkGroupID.z;
  const uint value_quads = value_dim / 4;
  const uint first_column = gl_WorkGroupID.x * TILE_QUADS;
  const uint subheads = min(SUBHEADS, expansion - subhead_begin);
  // Lanes without work (the workgroup is rounded up to whole subgroups) follow the last subhead and write nothing.
  const bool idle = slot >= subheads;
  const uint subhead = subhead_begin + min(slot, subheads - 1);
  const Tokens tokens = tokens_of(sequence);

  vec4 s[CAPACITY];
  const uint state = state_quad(sequence, head, subhead, first_column + column);
  for (uint r = 0; r < steps(ROWS); ++r) {
    const uint row = (r / 4 * LANES + lane) * 4 + r % 4;
    const bool inside = ROWS_FILL_LANES || row < KEY_DIM;
    s[r] = has_initial != 0 && inside ? initial.data[state + row * value_quads] : vec4(0);
  }

  for (uint block = tokens.begin; block < tokens.end; block += BLOCK) {
    const uint block_end = min(block + BLOCK, tokens.end);
    for (uint token = block; token < block_end; ++token) {
      const uint o_quad = (token * heads + head) * value_quads + first_column + column;
      const uint qk_quad = qk_row(token, head, subhead) * KEY_QUADS;
      const uint gate = gate_row(token, head, subhead);
      float keys[CAPACITY];
      float queries[CAPACITY];
#if RULE == GLA
      float decays[CAPACITY];
#endif
      for (uint quad = 0; quad < steps(ROW_QUADS); ++quad) {
        const uint key_quad = quad * LANES + lane;
        const bool inside = ROWS_FILL_LANES || key_quad < KEY_QUADS;
        const vec4 key = inside ? widen(k.data[qk_quad + key_quad]) : vec4(0);
        const vec4 query = inside ? widen(q.data[qk_quad + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) keys[4 * quad + i] = key[i];
        for (uint i = 0; i < 4; ++i) queries[4 * quad + i] = query[i];
#if RULE == GLA
        const vec4 decay = inside ? exp(g.data[gate * KEY_QUADS + key_quad]) : vec4(0);
        for (uint i = 0; i < 4; ++i) decays[4 * quad + i] = decay[i];
#endif
      }
#if RULE == SSD || RULE == GATED_DELTA
      const float decay = exp(g.data[gate]);
#endif

      vec4 u = widen(v.data[o_quad]);  // what the key writes
#if RULE == GATED_DELTA
      vec4 recalled = vec4(0);
      for (uint r = 0; r < steps(ROWS); ++r) recalled += keys[r] * s[r];
      u = beta.data[gate] * (u - decay * sum_over_lanes(recalled));
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
        read += queries[r] * s[r];
      }
      read = sum_over_lanes(read);

      if (lane == 0 && !idle) {
        if (SUBHEADS == 1) {
          finish(o_quad, sum_so_far(o_quad) + read);
        } else {
          partial_o[((token - block) * SUBHEADS + slot) * TILE_QUADS + column] = read;
        }
      }
    }

    if (SUBHEADS > 1) {
      barrier();
      for (uint i = thread; i < (block_end - block) * TILE_QUADS; i += gl_WorkGroupSize.x) {
        const uint row = i / TILE_QUADS;
        const uint o_quad = ((block + row) * heads + head) * value_quads + first_column + i % TILE_QUADS;
        vec4 sum = sum_so_far(o_quad);
        for (uint j = 0; j < subheads; ++j) sum += partial_o[(row * SUBHEADS + j) * TILE_QUADS + i % TILE_QUADS];
        finish(o_quad, sum);
      }
      barrier();
    }
  }

  if (idle) return;
  for (uint r = 0; r < steps(ROWS); ++r) {
    const uint row = (r / 4 * LANES + lane) * 4 + r % 4;
    if (ROWS_FILL_LANES || row < KEY_DIM) ht.data[state + row * value_quads] = s[r];
  }
}
