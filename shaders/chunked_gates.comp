// γ_i = g_1 + .. + g_i within each chunk, float32: an invocation a gate (of gla, a channel).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(binding = 5) readonly buffer GBuffer { float data[]; } g;  // [B, T, H, E], gla [B, T, H, E, K]

#if RULE == GLA
#define CHANNELS KEY_DIM
#else
#define CHANNELS 1
#endif

void main() {
  const uint gate = gl_GlobalInvocationID.x;  // of a token: subhead by subhead, channel by channel
  const uint gates = heads * expansion * CHANNELS;
  if (gate >= gates) return;
  const Chunk chunk = chunk_in(gl_WorkGroupID.y);
  const uint to = (chunk.slot * heads * expansion + gate / CHANNELS) * CHUNK * CHANNELS + gate % CHANNELS;
  float sum = 0;
  for (uint i = 0; i < steps(CHUNK); ++i) {
    if (i < chunk.tokens) sum += g.data[(chunk.begin + i) * gates + gate];
    gamma.data[to + i * CHANNELS] = sum;
  }
}
