// γ_i = g_1 + .. + g_i within each chunk, float32: an invocation a gate (of gla, four channels). A gate below the least, such
// as a reset by -1e9, counts as the least: the decay is the same zero, and the differences of the sums behind it keep their digits.
#version 450
#extension GL_GOOGLE_include_directive : require
#define GAMMA_OF_CHANNELS 1
#include "chunked.glsl"

#if RULE == GLA
#define Gate vec4
#define GATES (KEY_DIM / 4)  // of a subhead
#else
#define Gate float
#define GATES 1
#endif

layout(binding = 5) readonly buffer GBuffer { Gate data[]; } g;  // [B, T, H, E], gla [B, T, H, E, K]

const float LEAST_GATE = -89;  // its exponential is zero in float32, denormals aside

const uint AHEAD = 16;  // of a chunk's tokens, whose gates are asked for at once: few invocations wait for each other here

void main() {
  const uint gate = gl_GlobalInvocationID.x;  // of a token: subhead by subhead, channel by channel
  const uint gates = heads * expansion * GATES;
  if (gate >= gates) return;
  const Chunk chunk = chunk_in(gl_WorkGroupID.y);
  const uint to = (chunk.slot * heads * expansion + gate / GATES) * CHUNK * GATES + gate % GATES;
  Gate sum = Gate(0);
  for (uint first = 0; first < CHUNK; first += AHEAD) {
    Gate gates_here[AHEAD];
    [[unroll]] for (uint i = 0; i < AHEAD; ++i) {
      const bool inside = first + i < chunk.tokens;
      gates_here[i] = inside ? max(g.data[(chunk.begin + first + i) * gates + gate], Gate(LEAST_GATE)) : Gate(0);
    }
    [[unroll]] for (uint i = 0; i < AHEAD; ++i) {
      sum += gates_here[i];
      gamma.data[to + (first + i) * GATES] = sum;
    }
  }
}
