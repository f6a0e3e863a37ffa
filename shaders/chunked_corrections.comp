// dv of gated_delta: the sum of the subheads' parts in their order. An invocation a quad of dv.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(binding = 5) readonly buffer CorrectionsBuffer { Pack data[]; } corrections;  // [parts, C, V]: dR
layout(binding = 6) writeonly buffer DvBuffer { Pack data[]; } dv;                   // [B, T, H, V]

void main() {
  const uint packs = value_dim / PACK;
  const uint i = gl_GlobalInvocationID.x, head = gl_WorkGroupID.z;
  const Chunk chunk = chunk_in(gl_WorkGroupID.y);
  if (i >= chunk.tokens * packs) return;
  Values sum = widen(Pack(0));
  for (uint subhead = 0; subhead < expansion; ++subhead)
    sum = sum_of(sum, widen(corrections.data[part_of(chunk, head, subhead) * CHUNK * packs + i]));
  dv.data[((chunk.begin + i / packs) * heads + head) * packs + i % packs] = narrow(sum);
}
