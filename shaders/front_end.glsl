// What the front end's kernels share (equations: problem.h): sizes, and which tokens precede one in its sequence. They are
// launched for q's side and for k's side by themselves.
#define NO_POSITIONS 1
#include "matrices.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint KEY_DIM = 64;  // K

layout(push_constant) uniform Sizes {
  uint seq_len;         // T
  uint sequences;       // N
  uint qk_heads;        // Hq
  uint expansion;       // E
  uint packed;          // cu_seqlens takes part; EACH_TOKEN: a step, whose rows lie as the tokens of one row do
  uint range_tokens;    // tokens of a workgroup
  uint ranges_per_row;  // of a batch row
  uint first_range;     // of this launch
};

const float NORM_EPSILON = 1e-6;

vec4 sigmoid(vec4 x) { return 1 / (1 + exp(-x)); }
vec4 silu(vec4 x) { return x * sigmoid(x); }
vec4 silu_slope(vec4 x) {
  const vec4 s = sigmoid(x);
  return s * (1 + x * (1 - s));
}
#if COOPERATIVE
Values silu(Values x) { return Values(silu(x.low), silu(x.high)); }
#endif

const uint KEY_QUADS = KEY_DIM / 4;
const uint KEY_PACKS = KEY_DIM / PACK;

layout(binding = 0) readonly buffer CuSeqlensBuffer { int data[]; } cu_seqlens;  // [N + 1]

const uint EACH_TOKEN = 2;  // is a sequence

// The sequence that has this token of a batch row, its first token and the end of it.
uint sequence_of(uint batch_row, uint token) {
  if (packed == 0) return batch_row;
  if (packed == EACH_TOKEN) return token;
  uint low = 0, high = sequences - 1;
  while (low < high) {
    const uint middle = (low + high + 1) / 2;
    if (uint(cu_seqlens.data[middle]) <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}
uint sequence_begin(uint sequence) {
  return packed == 0 ? 0 : packed == EACH_TOKEN ? sequence : uint(cu_seqlens.data[sequence]);
}
uint sequence_end(uint sequence) {
  return packed == 0 ? seq_len : packed == EACH_TOKEN ? sequence + 1 : uint(cu_seqlens.data[sequence + 1]);
}
uint sequence_begin_of(uint token) { return sequence_begin(sequence_of(0, token)); }
