// C = alpha A B^T for A of few rows: a group of 32 lanes reads one row of B, so each weight is read once a row of A.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "lanes.glsl"

layout(constant_id = 1) const uint IN_TYPE = 0;
layout(constant_id = 2) const uint OUT_TYPE = 0;

layout(binding = 0) readonly buffer ABuffer { uint data[]; } a;
layout(binding = 1) readonly buffer BBuffer { uint data[]; } b;
layout(binding = 2) buffer CBuffer { uint data[]; } c;

layout(push_constant) uniform Sizes {
  uint m, n, k;
  uint a_at, a_row, a_matrix;
  uint b_at, b_row, b_matrix;
  uint c_at, c_row, c_matrix;
  uint accumulate;
  float alpha;
};

// One after the other, each lane two neighbours at a time; a group makes two columns, so that it can write a pair.
float product(uint a_first, uint b_first) {
  float sum = 0;
  for (uint kk = 2 * (gl_LocalInvocationIndex % LANES); kk < k; kk += 2 * LANES) {
    sum += LOAD(a, a_first + kk, IN_TYPE) * LOAD(b, b_first + kk, IN_TYPE);
    if (kk + 1 < k) sum += LOAD(a, a_first + kk + 1, IN_TYPE) * LOAD(b, b_first + kk + 1, IN_TYPE);
  }
  return sum_over_lanes(sum);
}

void main() {
  const uint group = gl_LocalInvocationIndex / LANES;
  const uint col = 2 * (gl_WorkGroupID.x * (THREADS / LANES) + group);
  const uint a_first = a_at + gl_WorkGroupID.z * a_matrix + gl_WorkGroupID.y * a_row;
  const uint b_first = b_at + gl_WorkGroupID.z * b_matrix;
  // Groups past the end follow the last column: barriers are met by all.
  const vec2 value = alpha * vec2(product(a_first, b_first + min(col, n - 1) * b_row),
                                  product(a_first, b_first + min(col + 1, n - 1) * b_row));
  if (col >= n || gl_LocalInvocationIndex % LANES != 0) return;
  const uint at = c_at + gl_WorkGroupID.z * c_matrix + gl_WorkGroupID.y * c_row + col;
  vec2 sum = value;
  if (accumulate != 0) {
    sum.x += LOAD(c, at, OUT_TYPE);
    if (col + 1 < n) sum.y += LOAD(c, at + 1, OUT_TYPE);
  }
  STORE_PAIR(c, at, OUT_TYPE, sum, col + 1 < n)
}
