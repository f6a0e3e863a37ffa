// Softmax of causal scores, a workgroup a row: row i of a matrix sees columns from max(0, past + i + 1 - window) up to
// past + i.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "rows.glsl"

layout(constant_id = 1) const uint OUT_TYPE = 0;

layout(binding = 0) readonly buffer ScoreBuffer { float data[]; } scores;
layout(binding = 1) writeonly buffer YBuffer { uint data[]; } y;

layout(push_constant) uniform Sizes {
  uint all_rows, rows, width, past, window;
};

void main() {
  for (uint row = gl_WorkGroupID.x; row < all_rows; row += gl_NumWorkGroups.x) {
    const uint last = past + row % rows + 1, first = last > window ? last - window : 0;
    float most = LOWEST;
    for (uint i = first + gl_LocalInvocationIndex; i < last; i += THREADS) most = max(most, scores.data[row * width + i]);
    most = most_over_row(most);
    float sum = 0;
    for (uint i = first + gl_LocalInvocationIndex; i < last; i += THREADS) sum += exp(scores.data[row * width + i] - most);
    sum = sum_over_row(sum);
    for (uint i = 2 * gl_LocalInvocationIndex; i < width; i += 2 * THREADS) {
      vec2 value = vec2(0);
      for (uint e = 0; e < 2; ++e) {
        if (i + e >= first && i + e < last) value[e] = exp(scores.data[row * width + i + e] - most) / sum;
      }
      STORE_PAIR(y, row * width + i, OUT_TYPE, value, i + 1 < width)
    }
  }
}
