// C = alpha A B (or A B^T), or C += the same, a matrix of the batch along z: tiles of 64 x 64 of C, 16 of k at a time.
//
// A thread of 256 keeps 4 x 4 of C: eight floats of shared memory a step give sixteen multiply-adds, and 16 + 8 floats
// of state leave registers for four workgroups a multiprocessor. Shared memory: two tiles [16][64] of floats, 8 KiB.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"

layout(constant_id = 1) const uint IN_TYPE = 0;
layout(constant_id = 2) const uint OUT_TYPE = 0;
layout(constant_id = 3) const bool TRANSPOSE_B = false;

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

const uint TILE = 64;
const uint DEPTH = 16;
shared vec4 tile_a[DEPTH][TILE / 4];
shared vec4 tile_b[DEPTH][TILE / 4];

void finish(uint row, uint col, vec4 sum) {
  if (row >= m || col >= n) return;
  const uint at = c_at + gl_WorkGroupID.z * c_matrix + row * c_row + col;
  vec4 value = alpha * sum;
  if (accumulate != 0) {
    for (uint i = 0; i < 4; ++i) {
      if (col + i < n) value[i] += LOAD(c, at + i, OUT_TYPE);
    }
  }
  STORE_PAIR(c, at, OUT_TYPE, value.xy, col + 1 < n)
  if (col + 2 < n) {
    STORE_PAIR(c, at + 2, OUT_TYPE, value.zw, col + 3 < n)
  }
}

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint first_row = gl_WorkGroupID.y * TILE, first_col = gl_WorkGroupID.x * TILE;
  const uint a_first = a_at + gl_WorkGroupID.z * a_matrix, b_first = b_at + gl_WorkGroupID.z * b_matrix;
  // Loading: along k for A and for B^T, along n for B, four elements a thread.
  const uint line = thread / 4, quad = thread % 4 * 4;
  const uint depth = thread / 16, col_quad = thread % 16;
  const uint row4 = thread / 16, col4 = thread % 16;
  vec4 sum0 = vec4(0), sum1 = vec4(0), sum2 = vec4(0), sum3 = vec4(0);
  for (uint k0 = 0; k0 < k; k0 += DEPTH) {
    const uint a_line = first_row + line;
    for (uint i = 0; i < 4; ++i) {
      const uint kk = k0 + quad + i;
      tile_a[quad + i][line / 4][line % 4] = a_line < m && kk < k ? LOAD(a, a_first + a_line * a_row + kk, IN_TYPE) : 0;
    }
    if (TRANSPOSE_B) {
      const uint b_line = first_col + line;
      for (uint i = 0; i < 4; ++i) {
        const uint kk = k0 + quad + i;
        tile_b[quad + i][line / 4][line % 4] =
            b_line < n && kk < k ? LOAD(b, b_first + b_line * b_row + kk, IN_TYPE) : 0;
      }
    } else {
      const uint kk = k0 + depth;
      for (uint i = 0; i < 4; ++i) {
        const uint col = first_col + 4 * col_quad + i;
        tile_b[depth][col_quad][i] = col < n && kk < k ? LOAD(b, b_first + kk * b_row + col, IN_TYPE) : 0;
      }
    }
    barrier();
    for (uint kk = 0; kk < DEPTH; ++kk) {
      const vec4 left = tile_a[kk][row4], right = tile_b[kk][col4];
      sum0 += left.x * right;
      sum1 += left.y * right;
      sum2 += left.z * right;
      sum3 += left.w * right;
    }
    barrier();
  }
  const uint row = first_row + 4 * row4, col = first_col + 4 * col4;
  finish(row, col, sum0);
  finish(row + 1, col, sum1);
  finish(row + 2, col, sum2);
  finish(row + 3, col, sum3);
}
