// Where each row is largest, the first of equals; a workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "rows.glsl"

layout(binding = 0) readonly buffer XBuffer { float data[]; } x;
layout(binding = 1) writeonly buffer YBuffer { uint data[]; } y;

layout(push_constant) uniform Sizes {
  uint rows, width;
};

shared uint place;

void main() {
  for (uint row = gl_WorkGroupID.x; row < rows; row += gl_NumWorkGroups.x) {
    if (gl_LocalInvocationIndex == 0) place = width - 1;
    float most = LOWEST;
    uint own = width;
    for (uint i = gl_LocalInvocationIndex; i < width; i += THREADS) {
      const float value = x.data[row * width + i];
      if (value > most || own == width) {
        most = value;
        own = i;
      }
    }
    if (most == most_over_row(most)) atomicMin(place, own);
    barrier();
    if (gl_LocalInvocationIndex == 0) y.data[row] = place;
    barrier();
  }
}
