// γ_i = g_1 + .. + g_i within each chunk, float32. A chunk has few gates, and what takes time is loads that wait for each
// other: STRETCHES invocations share the tokens of a gate. A gate below the least, such as a reset by -1e9, counts as the
// least: the decay is the same zero, and the differences of the sums behind it keep their digits.
//
// Shared memory, float: the stretches' sums [STRETCHES][GATES].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(binding = 5) readonly buffer GBuffer { float data[]; } g;  // [B, T, H, E]

const float LEAST_GATE = -89;  // its exponential is zero in float32, denormals aside

layout(constant_id = 9) const uint GATES = 8;  // of a workgroup, side by side in memory
layout(constant_id = 14) const uint STRETCHES = 16;
const uint STRETCH = CHUNK / STRETCHES;
shared float sums[STRETCHES * GATES];

void main() {
  const uint gates = heads * expansion;
  const uint gate = gl_WorkGroupID.x * GATES + gl_LocalInvocationIndex % GATES;
  const uint stretch = gl_LocalInvocationIndex / GATES;
  const Chunk chunk = chunk_in(gl_WorkGroupID.y);
  float up_to[STRETCH];
  [[unroll]] for (uint i = 0; i < STRETCH; ++i) {
    const uint token = stretch * STRETCH + i;
    const bool inside = gate < gates && token < chunk.tokens;
    const float here = g.data[inside ? (chunk.begin + token) * gates + gate : 0];
    up_to[i] = inside ? max(here, LEAST_GATE) : 0;
  }
  [[unroll]] for (uint i = 1; i < STRETCH; ++i) up_to[i] += up_to[i - 1];
  sums[gl_LocalInvocationIndex] = up_to[STRETCH - 1];
  barrier();
  float before = 0;
  [[unroll]] for (uint s = 0; s + 1 < STRETCHES; ++s)
    before += s < stretch ? sums[s * GATES + gl_LocalInvocationIndex % GATES] : 0;
  if (gate >= gates) return;
  const uint to = (chunk.slot * gates + gate) * CHUNK + stretch * STRETCH;
  [[unroll]] for (uint i = 0; i < STRETCH; ++i) gamma.data[to + i] = before + up_to[i];
}
