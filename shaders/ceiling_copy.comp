// A copy, for the device's own bandwidth: what `bench` calls 100 %.
#version 450

layout(local_size_x_id = 0) in;

layout(binding = 0) readonly buffer SourceBuffer { vec4 data[]; } source;
layout(binding = 1) writeonly buffer TargetBuffer { vec4 data[]; } target;

layout(push_constant) uniform Sizes { uint quads; };

void main() {
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
  for (uint i = gl_GlobalInvocationID.x; i < quads; i += stride) target.data[i] = source.data[i];
}
