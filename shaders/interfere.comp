// Of a Gram matrix: row j's sum of squares without the diagonal, and the histogram over [-1, 1] of its entries left of
// the diagonal; a workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "rows.glsl"

const uint BINS = 41;

layout(binding = 0) readonly buffer GramBuffer { float data[]; } gram;
layout(binding = 1) writeonly buffer SumBuffer { float data[]; } interference;
layout(binding = 2) writeonly buffer CountBuffer { uint data[]; } counts;  // [n, BINS]

layout(push_constant) uniform Sizes {
  uint n;
};

shared uint bins[BINS];

void main() {
  for (uint j = gl_WorkGroupID.x; j < n; j += gl_NumWorkGroups.x) {
    if (gl_LocalInvocationIndex < BINS) bins[gl_LocalInvocationIndex] = 0;
    barrier();
    float sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < n; i += THREADS) {
      if (i == j) continue;
      const float value = gram.data[j * n + i];
      sum += value * value;
      if (i < j) atomicAdd(bins[clamp(int((value + 1) / 2 * BINS), 0, int(BINS) - 1)], 1);
    }
    sum = sum_over_row(sum);
    if (gl_LocalInvocationIndex == 0) interference.data[j] = sum;
    if (gl_LocalInvocationIndex < BINS) counts.data[j * BINS + gl_LocalInvocationIndex] = bins[gl_LocalInvocationIndex];
    barrier();
  }
}
