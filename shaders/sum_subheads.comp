// o = scale times the sum over a head's subheads, in their order: what the comparison kernels leave to a second pass.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elements.glsl"

layout(local_size_x_id = 0) in;

layout(binding = 0) readonly buffer SubheadOBuffer { vec4 data[]; } subhead_o;  // [rows, E, V]
layout(binding = 1) writeonly buffer OBuffer { Quad data[]; } o;                // [rows, V]

layout(push_constant) uniform Sizes {
  uint quads;  // of o
  uint expansion;
  uint value_dim;
  float scale;
};

void main() {
  const uint value_quads = value_dim / 4;
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
  for (uint i = gl_GlobalInvocationID.x; i < quads; i += stride) {
    const uint first = i / value_quads * expansion * value_quads + i % value_quads;
    vec4 sum = vec4(0);
    for (uint j = 0; j < expansion; ++j) sum += subhead_o.data[first + j * value_quads];
    o.data[i] = narrow(scale * sum);
  }
}
