// From the gradient of a subkey to that of y, and the convolution's own, for one side; sums_t = sum_i c_i y_{t - 3 + i}:
//   with NORM   dz = r (dout - out <out, dout>), r = (|z|^2 + 1e-6)^{-1/2}, out = r z, z = SiLU(sums)
//   dsums = dz SiLU'(sums),  dy_t = sum_i c_i dsums_{t + 3 - i},  dc_i = sum_t y_{t - 3 + i} dsums_t
// A workgroup walks a range of tokens of a batch row for one subkey, TOKENS at a time. dy is three tokens behind, so a range
// ends three tokens into the next one. An invocation keeps to its four channels; their dc is a part, one a range.
//
// Shared memory, float: dsums [3 + TOKENS][K], and in its place at the end the parts of dc; lengths [TOKENS][K / 4][2];
// uint: begins [3 + TOKENS].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "front_end.glsl"

layout(constant_id = 3) const uint TOKENS = 16;
layout(constant_id = 4) const bool NORM = false;

layout(binding = 1) readonly buffer TapsBuffer { Quad data[]; } taps;           // [Hq, E, K, 4]
layout(binding = 2) readonly buffer YBuffer { Quad data[]; } y;                 // [B, T, Hq, E, K]
layout(binding = 3) readonly buffer GradientBuffer { Quad data[]; } d_expanded; // likewise
layout(binding = 4) writeonly buffer DyBuffer { Quad data[]; } dy;              // likewise
layout(binding = 5) writeonly buffer PartsBuffer { vec4 data[]; } parts;        // [ranges, Hq, E, K, 4]

const uint GROUPS = THREADS / KEY_QUADS;  // tokens side by side
const uint ITEMS = (TOKENS + GROUPS - 1) / GROUPS;
const uint LAST = GROUPS * KEY_DIM;       // parts of dc
const uint DSUMS = (3 + TOKENS) * KEY_QUADS;

shared vec4 dsums[DSUMS > LAST ? DSUMS : LAST];
shared vec2 lengths[TOKENS * KEY_QUADS];  // parts of |z|^2 and of <z, dout>
shared uint begins[3 + TOKENS];

void main() {
  const uint thread = thread_index();
  const uint range = first_range + gl_WorkGroupID.y, batch_row = range / ranges_per_row;
  const uint first = range % ranges_per_row * range_tokens, end = min(first + range_tokens, seq_len);
  const uint quad = thread % KEY_QUADS, group = thread / KEY_QUADS;
  const bool takes_part = group < GROUPS;
  const uint at = (batch_row * seq_len * qk_heads * expansion + gl_WorkGroupID.x) * KEY_QUADS + quad;
  const uint stride = qk_heads * expansion * KEY_QUADS;

  mat4 tap = mat4(0), d_tap = mat4(0);  // [channel]: of the four places
  if (takes_part) {
    [[unroll]] for (uint c = 0; c < 4; ++c) tap[c] = widen(taps.data[gl_WorkGroupID.x * KEY_DIM + 4 * quad + c]);
  }
  const mat4 by_place = transpose(tap);  // [place]: of the four channels
  for (uint i = thread; i < 3 * KEY_QUADS; i += THREADS) dsums[i] = vec4(0);

  for (uint start = first; start < min(end + 3, seq_len + 3); start += TOKENS) {
    for (uint i = thread; i < 3 + TOKENS; i += THREADS) begins[i] = start + i >= 3 ? sequence_begin_of(start + i - 3) : 0;
    barrier();
    vec4 z[ITEMS], slope[ITEMS], gradient[ITEMS];
    [[unroll]] for (uint n = 0; n < ITEMS; ++n) {
      const uint row = group + n * GROUPS, token = start + row;
      z[n] = slope[n] = gradient[n] = vec4(0);
      if (!takes_part || row >= TOKENS) continue;
      if (token < seq_len) {
        vec4 sum = vec4(0);
        [[unroll]] for (uint s = 0; s < 4; ++s) {
          if (token + s >= begins[3 + row] + 3) sum += by_place[s] * widen(y.data[at + (token + s - 3) * stride]);
        }
        z[n] = silu(sum);
        slope[n] = silu_slope(sum);
        gradient[n] = widen(d_expanded.data[at + token * stride]);
      }
      if (NORM) lengths[row * KEY_QUADS + quad] = vec2(dot(z[n], z[n]), dot(z[n], gradient[n]));
    }
    if (NORM) barrier();
    [[unroll]] for (uint n = 0; n < ITEMS; ++n) {
      const uint row = group + n * GROUPS, token = start + row;
      if (!takes_part || row >= TOKENS) continue;
      if (NORM) {
        vec2 length = vec2(NORM_EPSILON, 0);
        for (uint m = 0; m < KEY_QUADS; ++m) length += lengths[row * KEY_QUADS + m];
        gradient[n] = inversesqrt(length.x) * (gradient[n] - z[n] * (length.y / length.x));
      }
      gradient[n] *= slope[n];
      dsums[(3 + row) * KEY_QUADS + quad] = gradient[n];
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        if (token >= end || token + s < begins[3 + row] + 3) continue;
        // Read again: held since above, it would take the registers of another workgroup.
        const vec4 product = gradient[n] * widen(y.data[at + (token + s - 3) * stride]);
        [[unroll]] for (uint c = 0; c < 4; ++c) d_tap[c][s] += product[c];
      }
    }
    barrier();
    [[unroll]] for (uint n = 0; n < ITEMS; ++n) {
      const uint row = group + n * GROUPS;
      if (!takes_part || row >= TOKENS || start + row < first + 3 || start + row >= end + 3) continue;
      const uint token = start + row - 3;
      vec4 sum = vec4(0);
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        const uint later = row + 3 - s;  // row of dsums of token + 3 - s
        if (begins[later] <= token) sum += by_place[s] * dsums[later * KEY_QUADS + quad];
      }
      dy.data[at + token * stride] = narrow(sum);
    }
    barrier();
    for (uint i = thread; i < 3 * KEY_QUADS; i += THREADS) dsums[i] = dsums[TOKENS * KEY_QUADS + i];
  }

  barrier();
  if (takes_part) {
    [[unroll]] for (uint c = 0; c < 4; ++c) dsums[group * KEY_DIM + 4 * quad + c] = d_tap[c];
  }
  barrier();
  for (uint i = thread; i < KEY_DIM; i += THREADS) {
    vec4 sum = vec4(0);
    for (uint g = 0; g < GROUPS; ++g) sum += dsums[g * KEY_DIM + i];
    parts.data[(range * qk_heads * expansion + gl_WorkGroupID.x) * KEY_DIM + i] = sum;
  }
}
