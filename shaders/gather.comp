// Rows of a table by their numbers, two elements an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"

layout(constant_id = 1) const uint IN_TYPE = 0;
layout(constant_id = 2) const uint OUT_TYPE = 0;

layout(binding = 0) readonly buffer TableBuffer { uint data[]; } table;
layout(binding = 1) readonly buffer IdsBuffer { uint data[]; } ids;
layout(binding = 2) writeonly buffer YBuffer { uint data[]; } y;

layout(push_constant) uniform Sizes {
  uint rows, width;
};

void main() {
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x, row_pairs = (width + 1) / 2;
  for (uint pair = gl_GlobalInvocationID.x; pair < rows * row_pairs; pair += stride) {
    const uint row = pair / row_pairs, i = 2 * (pair % row_pairs);
    const uint from = ids.data[row] * width + i;
    const bool both = i + 1 < width;
    const vec2 value = vec2(LOAD(table, from, IN_TYPE), both ? LOAD(table, from + 1, IN_TYPE) : 0);
    STORE_PAIR(y, row * width + i, OUT_TYPE, value, both)
  }
}
