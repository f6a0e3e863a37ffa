// Recurrent form of every rule, forward and step (DESIGN section 1; row vectors):
//   linear       S <- S + k^T v
//   ssd          S <- e^g S + k^T v                        g a scalar
//   gla          S <- diag(e^g) S + k^T v                  g a vector over K
//   gated_delta  S <- e^g S + beta k^T (v - e^g k S)
//   o = scale sum over subheads of q S
//
// The columns of S do not touch each other, so a workgroup owns VALUE_TILE columns of one head of one sequence, for
// SUBHEADS subheads at once: v arrives once for all of them and their o is summed here, in the order of the subheads.
// LANES lanes of a subgroup share a quad of columns: each keeps every LANES-th quad of rows in registers, a mat4 whose
// column i is row i of the state (so that M * k is k S and outerProduct(u, k) is k^T u), and dot products over K end in
// a butterfly over the lanes.
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
layout(constant_id = 5) const uint COLUMN_QUADS = 1;  // quads of columns that a lane keeps
layout(constant_id = 6) const uint SUBHEADS = 1;
layout(constant_id = 7) const uint BLOCK = 1;

layout(binding = 9) buffer RunningSumBuffer { vec4 data[]; } running_sum;  // [B, T, H, V], unscaled o so far

const uint KEY_QUADS = KEY_DIM / 4;
const uint ROW_QUADS = (KEY_QUADS + LANES - 1) / LANES;  // quads of rows that a lane keeps
const bool ROWS_FILL_LANES = ROW_QUADS * LANES == KEY_QUADS;
const uint TILE_QUADS = VALUE_TILE / 4;
const uint COLUMN_GROUPS = TILE_QUADS / COLUMN_QUADS;  // lanes side by side in a tile

shared vec4 partial_o[SUBHEADS == 1 ? 1 : BLOCK * SUBHEADS * TILE_QUADS];

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
  for (uint mask = 1; mask < LANES; mask *= 2) x += subgroupShuffleXor(x, mask);
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
  const uint column_group = thread / LANES % COLUMN_GROUPS;
  const uint slot = thread / (LANES * COLUMN_GROUPS);  // which of the workgroup's subheads
  const uint head = gl_WorkGroupID.y;
  const uint sequence = gl_WorkGroupID.z;
  const uint value_quads = value_dim / 4;
  const uint first_column4 = gl_WorkGroupID.x * TILE_QUADS;
  const uint column4 = first_column4 + column_group * COLUMN_QUADS;
  const uint subheads = min(SUBHEADS, expansion - subhead_begin);
  // Lanes without work (the workgroup is rounded up to whole subgroups) follow the last subhead and write nothing.
  const bool idle = slot >= subheads;
  const uint subhead = subhead_begin + min(slot, subheads - 1);
  const Tokens tokens = tokens_of(sequence);

  mat4 s[ROW_QUADS * COLUMN_QUADS];
  const uint state = state_quad(sequence, head, subhead, column4);
  for (uint r = 0; r < ROW_QUADS; ++r) {
    const uint key_quad = r * LANES + lane;
    for (uint c = 0; c < COLUMN_QUADS; ++c) {
      const uint first = state + key_quad * 4 * value_quads + c;
      mat4 m = mat4(0);
      if (state_source != STATE_ZERO && (ROWS_FILL_LANES || key_quad < KEY_QUADS)) {
        if (state_source == STATE_H0) {
          m = mat4(h0.data[first], h0.data[first + value_quads], h0.data[first + 2 * value_quads],
                   h0.data[first + 3 * value_quads]);
        } else {
          m = mat4(ht.data[first], ht.data[first + value_quads], ht.data[first + 2 * value_quads],
                   ht.data[first + 3 * value_quads]);
        }
      }
      s[r * COLUMN_QUADS + c] = m;
    }
  }

  for (uint block = tokens.begin; block < tokens.end; block += BLOCK) {
    const uint block_end = min(block + BLOCK, tokens.end);
    for (uint token = block; token < block_end; ++token) {
      const uint qk = qk_row(token, head, subhead) * KEY_QUADS;
      vec4 keys[ROW_QUADS];
      vec4 queries[ROW_QUADS];
      for (uint r = 0; r < ROW_QUADS; ++r) {
        const uint key_quad = r * LANES + lane;
        const bool inside = ROWS_FILL_LANES || key_quad < KEY_QUADS;
        keys[r] = inside ? widen(k.data[qk + key_quad]) : vec4(0);
        queries[r] = inside ? widen(q.data[qk + key_quad]) : vec4(0);
      }
      vec4 u[COLUMN_QUADS];  // what the key writes
      for (uint c = 0; c < COLUMN_QUADS; ++c)
        u[c] = widen(v.data[(token * heads + head) * value_quads + column4 + c]);

#if RULE == GLA
      const uint gate = gate_row(token, head, subhead) * KEY_QUADS;
      for (uint r = 0; r < ROW_QUADS; ++r) {
        const uint key_quad = r * LANES + lane;
        const vec4 decay = ROWS_FILL_LANES || key_quad < KEY_QUADS ? exp(g.data[gate + key_quad]) : vec4(0);
        for (uint c = 0; c < COLUMN_QUADS; ++c) {
          const mat4 m = s[r * COLUMN_QUADS + c];
          s[r * COLUMN_QUADS + c] = mat4(m[0] * decay.x, m[1] * decay.y, m[2] * decay.z, m[3] * decay.w) +
                                    outerProduct(u[c], keys[r]);
        }
      }
#else
#if RULE == LINEAR
      const float decay = 1.0;
#else
      const uint gate = gate_row(token, head, subhead);
      const float decay = exp(g.data[gate]);
#endif
#if RULE == GATED_DELTA
      const float strength = beta.data[gate];
      for (uint c = 0; c < COLUMN_QUADS; ++c) {
        vec4 recalled = vec4(0);
        for (uint r = 0; r < ROW_QUADS; ++r) recalled += s[r * COLUMN_QUADS + c] * keys[r];
        u[c] = strength * (u[c] - decay * sum_over_lanes(recalled));
      }
#endif
      for (uint r = 0; r < ROW_QUADS; ++r)
        for (uint c = 0; c < COLUMN_QUADS; ++c)
          s[r * COLUMN_QUADS + c] = decay * s[r * COLUMN_QUADS + c] + outerProduct(u[c], keys[r]);
#endif

      for (uint c = 0; c < COLUMN_QUADS; ++c) {
        vec4 read = vec4(0);
        for (uint r = 0; r < ROW_QUADS; ++r) read += s[r * COLUMN_QUADS + c] * queries[r];
        read = sum_over_lanes(read);
        if (lane == 0 && !idle) {
          if (SUBHEADS == 1) {
            const uint quad = (token * heads + head) * value_quads + column4 + c;
            finish(quad, sum_so_far(quad) + read);
          } else {
            partial_o[((token - block) * SUBHEADS + slot) * TILE_QUADS + column_group * COLUMN_QUADS + c] = read;
          }
        }
      }
    }

    if (SUBHEADS > 1) {
      barrier();
      for (uint i = thread; i < (block_end - block) * TILE_QUADS; i += gl_WorkGroupSize.x) {
        const uint column = i % TILE_QUADS;
        const uint quad = ((block + i / TILE_QUADS) * heads + head) * value_quads + first_column4 + column;
        vec4 sum = sum_so_far(quad);
        for (uint j = 0; j < subheads; ++j) sum += partial_o[(i / TILE_QUADS * SUBHEADS + j) * TILE_QUADS + column];
        finish(quad, sum);
      }
      barrier();
    }
  }

  if (idle) return;
  for (uint r = 0; r < ROW_QUADS; ++r) {
    const uint key_quad = r * LANES + lane;
    if (!(ROWS_FILL_LANES || key_quad < KEY_QUADS)) break;
    for (uint c = 0; c < COLUMN_QUADS; ++c) {
      const uint first = state + key_quad * 4 * value_quads + c;
      for (uint i = 0; i < 4; ++i) ht.data[first + i * value_quads] = s[r * COLUMN_QUADS + c][i];
    }
  }
}
