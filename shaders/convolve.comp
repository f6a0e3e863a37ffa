// Causal depthwise convolution along time, two channels of a token an invocation; or, in a launch that follows, the
// inputs that the next call needs, two channels of a batch row an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "pointwise.glsl"

layout(constant_id = 1) const uint TYPE = 0;      // of x, history and y
layout(constant_id = 2) const uint FUNCTION = 0;  // the activation
layout(constant_id = 3) const bool BIASED = false;
layout(constant_id = 4) const bool KEEP = false;  // the launch that replaces the history
layout(constant_id = 5) const uint SIZE = 4;      // taps

layout(binding = 0) readonly buffer XBuffer { uint data[]; } x;  // rows of tokens, x_row apart
layout(binding = 1) readonly buffer WeightBuffer { float data[]; } weight;  // [C, SIZE]
layout(binding = 2) readonly buffer BiasBuffer { float data[]; } bias;      // [C]
layout(binding = 3) buffer HistoryBuffer { uint data[]; } history;          // [B, SIZE - 1, C]
layout(binding = 4) writeonly buffer YBuffer { uint data[]; } y;            // [B, T, C]

layout(push_constant) uniform Sizes {
  uint pairs, tokens, channels;
  uint x_at, x_row;
};

// Input at token `time` of a batch row, counted from the history's first.
float input_at(uint row, uint time, uint channel) {
  const uint kept = SIZE - 1;
  if (time < kept) return LOAD(history, (row * kept + time) * channels + channel, TYPE);
  return LOAD(x, x_at + (row * tokens + time - kept) * x_row + channel, TYPE);
}

float convolved(uint row, uint token, uint channel) {
  float sum = BIASED ? bias.data[channel] : 0;
  for (uint s = 0; s < SIZE; ++s) sum += weight.data[channel * SIZE + s] * input_at(row, token + s, channel);
  return pointwise(FUNCTION, sum, 0, 0, 0, 0, 0);
}

void main() {
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x, channel_pairs = (channels + 1) / 2;
  for (uint pair = gl_GlobalInvocationID.x; pair < pairs; pair += stride) {
    const uint channel = 2 * (pair % channel_pairs), place = pair / channel_pairs;
    const bool both = channel + 1 < channels;
    if (KEEP) {  // oldest first: what is overwritten has been read
      for (uint s = 0; s + 1 < SIZE; ++s) {
        const vec2 kept = vec2(input_at(place, tokens + s, channel), both ? input_at(place, tokens + s, channel + 1) : 0);
        STORE_PAIR(history, (place * (SIZE - 1) + s) * channels + channel, TYPE, kept, both)
      }
    } else {
      const uint row = place / tokens, token = place % tokens;
      const vec2 value = vec2(convolved(row, token, channel), both ? convolved(row, token, channel + 1) : 0);
      STORE_PAIR(y, place * channels + channel, TYPE, value, both)
    }
  }
}
