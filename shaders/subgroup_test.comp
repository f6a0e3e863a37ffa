// Start-up check that shuffles and the numbering of lanes are what recurrent.comp takes them for: each thread writes its
// place, subgroup times size plus lane, and the butterfly sum of the places of its SUM_LANES lanes.
#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUM_LANES = 1;

layout(binding = 0) writeonly buffer ResultBuffer { uvec2 data[]; } result;

void main() {
  const uint place = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  vec4 sum = vec4(place, 1, 0, 0);
  for (uint mask = 1; mask < SUM_LANES; mask *= 2) sum += subgroupShuffleXor(sum, mask);
  result.data[gl_LocalInvocationIndex] = uvec2(place, uint(sum.x) + 65536 * uint(sum.y));
}
