// SiLU(x) of one side, once for all the subkeys that front_end_expand.comp makes of it.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "front_end.glsl"

layout(binding = 1) readonly buffer XBuffer { Quad data[]; } x;                   // [B, T, Hq, K]
layout(binding = 2) writeonly buffer ActivatedBuffer { Quad data[]; } activated;  // likewise

void main() {
  const uint batch = ranges_per_row;  // there are no ranges here, and the batch has their place
  const uint quads = batch * seq_len * qk_heads * KEY_QUADS, step = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
  for (uint i = gl_GlobalInvocationID.x; i < quads; i += step) activated.data[i] = narrow(silu(widen(x.data[i])));
}
