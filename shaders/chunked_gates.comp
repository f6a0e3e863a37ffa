// γ_i = g_1 + .. + g_i within each chunk, float32: an invocation a gate. A gate below the least, such
// as a reset by -1e9, counts as the least: the decay is the same zero, and the differences of the sums behind it keep their digits.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(binding = 5) readonly buffer GBuffer { float data[]; } g;  // [B, T, H, E]

const float LEAST_GATE = -89;  // its exponential is zero in float32, denormals aside

const uint AHEAD = 16;  // of a chunk's tokens, whose gates are asked for at once: few invocations wait for each other here

void main() {
  const uint gate = gl_GlobalInvocationID.x;  // of a token: subhead by subhead
  const uint gates = heads * expansion;
  if (gate >= gates) return;
  const Chunk chunk = chunk_in(gl_WorkGroupID.y);
  const uint to = (chunk.slot * gates + gate) * CHUNK;
  float sum = 0;
  for (uint first = 0; first < CHUNK; first += AHEAD) {
    float gates_here[AHEAD];
    [[unroll]] for (uint i = 0; i < AHEAD; ++i) {
      const bool inside = first + i < chunk.tokens;
      gates_here[i] = inside ? max(g.data[(chunk.begin + first + i) * gates + gate], LEAST_GATE) : 0;
    }
    [[unroll]] for (uint i = 0; i < AHEAD; ++i) {
      sum += gates_here[i];
      gamma.data[to + first + i] = sum;
    }
  }
}
