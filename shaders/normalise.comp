// Every row over a norm of it: a group of lanes a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "lanes.glsl"

layout(constant_id = 1) const uint NORM = 0;  // as the enumeration RowNorm of the host
layout(constant_id = 2) const bool WEIGHTED = false;
layout(constant_id = 3) const uint IN_TYPE = 0;
layout(constant_id = 4) const uint OUT_TYPE = 0;
layout(constant_id = 6) const uint WEIGHT_TYPE = 0;

layout(binding = 0) readonly buffer XBuffer { uint data[]; } x;
layout(binding = 1) readonly buffer WeightBuffer { uint data[]; } weight;
layout(binding = 2) buffer YBuffer { uint data[]; } y;  // may be x

layout(push_constant) uniform Sizes {
  uint rows, width;
  uint weight_row;  // 0: the same of every row
  float value;
};

float factor(float squares) {
  if (NORM == 0) return inversesqrt(squares / width + value);
  if (NORM == 1) return inversesqrt(squares + value);
  return squares <= value * value ? 1 : value * inversesqrt(squares);
}

void main() {
  const uint groups = THREADS / LANES, lane = gl_LocalInvocationIndex % LANES;
  for (uint first = gl_WorkGroupID.x * groups; first < rows; first += gl_NumWorkGroups.x * groups) {
    // Groups past the end follow the last row: barriers are met by all.
    const uint own = first + gl_LocalInvocationIndex / LANES, row = min(own, rows - 1);
    vec2 squares = vec2(0);
    for (uint i = 2 * lane; i < width; i += 2 * LANES) {
      const vec2 pair = vec2(LOAD(x, row * width + i, IN_TYPE), i + 1 < width ? LOAD(x, row * width + i + 1, IN_TYPE) : 0);
      squares += pair * pair;
    }
    const vec2 sums = sum_over_lanes(squares);
    const float scale = factor(sums.x + sums.y);
    if (own >= rows) continue;
    for (uint i = 2 * lane; i < width; i += 2 * LANES) {
      const bool both = i + 1 < width;
      vec2 pair = scale * vec2(LOAD(x, row * width + i, IN_TYPE), both ? LOAD(x, row * width + i + 1, IN_TYPE) : 0);
      if (WEIGHTED) {
        const uint at = row * weight_row + i;
        pair *= vec2(LOAD(weight, at, WEIGHT_TYPE), both ? LOAD(weight, at + 1, WEIGHT_TYPE) : 0);
      }
      STORE_PAIR(y, row * width + i, OUT_TYPE, pair, both)
    }
  }
}
