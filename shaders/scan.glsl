// What the kernels that run a sequence from one end to the other share beside recurrence.glsl: the states at both ends.
#include "recurrence.glsl"

layout(binding = 5) readonly buffer InitialBuffer { vec4 data[]; } initial;  // [N, H, E, K, V]: h0; ht itself in a
// step, which is in place, and in every launch but the first of sequences that are cut up in time
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;                     // [N, H, E, K, V]
