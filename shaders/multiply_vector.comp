// C = alpha A B^T for A of few rows: a group of lanes reads two rows of B, so each weight is read once a row of A.
// PACKED: rows begin at multiples of 16 bytes and are read 16 bytes at a time, a lane beside the next.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "lanes.glsl"

layout(constant_id = 1) const uint IN_TYPE = 0;
layout(constant_id = 2) const uint OUT_TYPE = 0;

#if PACKED
#define Word uvec4
#else
#define Word uint
#endif
layout(binding = 0) readonly buffer ABuffer { Word data[]; } a;
layout(binding = 1) readonly buffer BBuffer { Word data[]; } b;
layout(binding = 2) buffer CBuffer { uint data[]; } c;

layout(push_constant) uniform Sizes {
  uint m, n, k;
  uint a_at, a_row, a_matrix;
  uint b_at, b_row, b_matrix;
  uint c_at, c_row, c_matrix;
  uint accumulate;
  float alpha;
};

#if PACKED

float dot_of(uvec4 x, uvec4 y) {
  if (IN_TYPE == F32) return dot(uintBitsToFloat(x), uintBitsToFloat(y));
  float sum = 0;
  for (uint i = 0; i < 4; ++i) {
    sum += element(x[i], 0, IN_TYPE) * element(y[i], 0, IN_TYPE);
    sum += element(x[i], 1, IN_TYPE) * element(y[i], 1, IN_TYPE);
  }
  return sum;
}

// Of this lane's part of the row of A with two rows of B.
vec2 products(uint a_first, uint b_first, uint b_second) {
  const uint pack = IN_TYPE == F32 ? 4 : 8;
  vec2 sum = vec2(0);
  for (uint i = gl_LocalInvocationIndex % LANES; i < k / pack; i += LANES) {
    const uvec4 x = a.data[a_first / pack + i];
    sum += vec2(dot_of(x, b.data[b_first / pack + i]), dot_of(x, b.data[b_second / pack + i]));
  }
  return sum;
}

#else

vec2 products(uint a_first, uint b_first, uint b_second) {
  vec2 sum = vec2(0);
  for (uint i = gl_LocalInvocationIndex % LANES; i < k; i += LANES)
    sum += LOAD(a, a_first + i, IN_TYPE) *
           vec2(LOAD(b, b_first + i, IN_TYPE), LOAD(b, b_second + i, IN_TYPE));
  return sum;
}

#endif

void main() {
  const uint groups = THREADS / LANES;
  const uint a_first = a_at + gl_WorkGroupID.z * a_matrix + gl_WorkGroupID.y * a_row;
  const uint b_first = b_at + gl_WorkGroupID.z * b_matrix;
  for (uint first = gl_WorkGroupID.x * groups; 2 * first < n; first += gl_NumWorkGroups.x * groups) {
    // Groups past the end follow the last column: barriers are met by all.
    const uint col = 2 * (first + gl_LocalInvocationIndex / LANES);
    const vec2 part = products(a_first, b_first + min(col, n - 1) * b_row, b_first + min(col + 1, n - 1) * b_row);
    vec2 sum = alpha * sum_over_lanes(part);
    if (col >= n || gl_LocalInvocationIndex % LANES != 0) continue;
    const uint at = c_at + gl_WorkGroupID.z * c_matrix + gl_WorkGroupID.y * c_row + col;
    if (accumulate != 0) {
      sum.x += LOAD(c, at, OUT_TYPE);
      if (col + 1 < n) sum.y += LOAD(c, at + 1, OUT_TYPE);
    }
    STORE_PAIR(c, at, OUT_TYPE, sum, col + 1 < n)
  }
}
