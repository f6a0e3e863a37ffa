// How the scans over tokens (recurrent.comp, recurrent_reverse.comp) lie on a workgroup.
//
// The columns of a state do not touch each other, so a workgroup owns VALUE_TILE columns of one head of one sequence, for
// SUBHEADS subheads at once: what they share (v, do) arrives once for all of them, and what they add up to (o, dv) is
// summed here, in the order of the subheads. LANES lanes of a subgroup share four columns: each keeps every LANES-th quad
// of rows in registers, and dot products over K end in a butterfly over the lanes.
//
// SUMS: whether there is anything to add up. Shared memory: partial sums, float [BLOCK][SUBHEADS][VALUE_TILE], written and summed every BLOCK tokens; none when
// SUBHEADS = 1. Subheads beyond a workgroup run in later launches, which continue the sum in `running_sum`.
#if SHUFFLE
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "scan.glsl"

layout(constant_id = 3) const uint VALUE_TILE = 16;
layout(constant_id = 4) const uint LANES = 1;
layout(constant_id = 5) const uint SUBHEADS = 1;
layout(constant_id = 6) const uint BLOCK = 1;
// A GPU needs loops over the state unrolled: an array that is indexed at run time is not in registers. A software device
// has none to fill, and takes seconds to compile what unrolling makes of its loads and stores.
layout(constant_id = 7) const bool UNROLL = true;

const uint KEY_QUADS = KEY_DIM / 4;
const uint ROW_QUADS = (KEY_QUADS + LANES - 1) / LANES;  // quads of rows that a lane keeps
const uint ROWS = 4 * ROW_QUADS;
// Mesa takes an array of up to 32 elements as the length of a loop over it, and unrolls that after all.
const uint CAPACITY = UNROLL ? ROWS : ROWS + 32;
const bool ROWS_FILL_LANES = ROW_QUADS * LANES == KEY_QUADS;
const uint TILE_QUADS = VALUE_TILE / 4;

// Trip count of a loop over the state or over lanes; the compiler cannot know that every sequence has fewer than 2^30 tokens.
uint steps(uint count) { return UNROLL ? count : min(count, seq_len + 0x40000000u); }

uint thread_index() {
#if SHUFFLE
  return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
#else
  return gl_LocalInvocationIndex;
#endif
}

// A thread's part of the work.
struct Place {
  uint thread;
  uint lane;
  uint column;        // which quad of the tile's columns
  uint slot;          // which of the workgroup's subheads
  uint first_column;  // of the tile, in quads
  uint head, sequence, subhead;
  uint subheads;      // that the workgroup has
  bool idle;          // Without work (a workgroup is rounded up to whole subgroups): follows the last subhead, writes nothing.
};

Place find_place() {
  Place p;
  p.thread = thread_index();
  p.lane = p.thread % LANES;
  p.column = p.thread / LANES % TILE_QUADS;
  p.slot = p.thread / (LANES * TILE_QUADS);
  p.first_column = gl_WorkGroupID.x * TILE_QUADS;
  p.head = gl_WorkGroupID.y;
  p.sequence = gl_WorkGroupID.z;
  p.subheads = min(SUBHEADS, expansion - subhead_begin);
  p.idle = p.slot >= p.subheads;
  p.subhead = subhead_begin + min(p.slot, p.subheads - 1);
  return p;
}

// Row of K of a lane's r-th row; and whether there is such a row.
uint row_of(uint r, uint lane) { return (r / 4 * LANES + lane) * 4 + r % 4; }
bool has_row(uint r, uint lane) { return ROWS_FILL_LANES || row_of(r, lane) < KEY_DIM; }

// The sum over the lanes that share a column, in every one of them.
vec4 sum_over_lanes(vec4 x) {
#if SHUFFLE
  for (uint mask = 1; mask < steps(LANES); mask *= 2) x += subgroupShuffleXor(x, mask);
#endif
  return x;
}

#if SUMS
layout(binding = 9) buffer RunningSumBuffer { vec4 data[]; } running_sum;  // [B, T, H, V], unscaled, so far

shared vec4 partial_sums[SUBHEADS == 1 ? 1 : BLOCK * SUBHEADS * TILE_QUADS];

// A launch adds to what earlier ones left, and hands the sum on unless it has the last subheads.
bool launch_ends_the_sum() { return subhead_begin + SUBHEADS >= expansion; }
vec4 sum_so_far(uint quad) { return subhead_begin == 0 ? vec4(0) : running_sum.data[quad]; }

// The sum over the subheads, in their order, of what was left in row `row` of the block.
vec4 sum_of_parts(uint row, uint column, uint subheads) {
  vec4 sum = vec4(0);
  for (uint j = 0; j < subheads; ++j) sum += partial_sums[(row * SUBHEADS + j) * TILE_QUADS + column];
  return sum;
}
#endif

// Column 0 of a workgroup's state in `initial` and in `ht`.
#if BACKWARD
uint states_a_slot() { return sequences * heads * expansion * KEY_DIM * (value_dim / 4); }
uint state_before(Place p) {
  return initial_slot * states_a_slot() + state_quad(p.sequence, p.head, p.subhead, 0);
}
uint state_after(Place p) { return final_slot * states_a_slot() + state_quad(p.sequence, p.head, p.subhead, 0); }
#else
uint state_before(Place p) { return state_quad(p.sequence, p.head, p.subhead, 0); }
uint state_after(Place p) { return state_before(p); }
#endif

// Row `token` of o or dv, in quads.
uint value_row(uint token, uint head) { return (token * heads + head) * (value_dim / 4); }
