// The sum of `parts` rows of `quads` quads of float32, in their order.
#version 450

layout(local_size_x_id = 0) in;

layout(binding = 0) readonly buffer PartsBuffer { vec4 data[]; } parts;  // [parts, quads]
layout(binding = 1) writeonly buffer SumBuffer { vec4 data[]; } sum;     // [quads]

layout(push_constant) uniform Sizes {
  uint part_count;
  uint quads;
};

void main() {
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
  for (uint i = gl_GlobalInvocationID.x; i < quads; i += stride) {
    vec4 value = vec4(0);
    for (uint n = 0; n < part_count; ++n) value += parts.data[n * quads + i];
    sum.data[i] = value;
  }
}
