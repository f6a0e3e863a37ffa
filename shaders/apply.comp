// out = f(a, b, c, d) over four dimensions of strided views, two elements of the last one an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "compute.glsl"
#include "pointwise.glsl"

layout(constant_id = 1) const uint FUNCTION = 0;
layout(constant_id = 2) const uint OPERANDS = 0;
layout(constant_id = 3) const uint OUT_TYPE = 0;
layout(constant_id = 4) const uint A_TYPE = 0;
layout(constant_id = 5) const uint B_TYPE = 0;
layout(constant_id = 6) const uint C_TYPE = 0;
layout(constant_id = 7) const uint D_TYPE = 0;

layout(binding = 0) buffer OutBuffer { uint data[]; } result;  // operands may be the same array
layout(binding = 1) readonly buffer ABuffer { uint data[]; } a;
layout(binding = 2) readonly buffer BBuffer { uint data[]; } b;
layout(binding = 3) readonly buffer CBuffer { uint data[]; } c;
layout(binding = 4) readonly buffer DBuffer { uint data[]; } d;

// Strides and offsets count elements; the first dimension's extent follows from the number of pairs.
layout(push_constant) uniform Sizes {
  uint pairs;
  int n1, n2, n3;
  int out_at, out_0, out_1, out_2;
  int a_at, a_0, a_1, a_2, a_3;
  int b_at, b_0, b_1, b_2, b_3;
  int c_at, c_0, c_1, c_2, c_3;
  int d_at, d_0, d_1, d_2, d_3;
  float p, r;
};

void main() {
  const uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
  const int row_pairs = (n3 + 1) / 2;
  for (uint pair = gl_GlobalInvocationID.x; pair < pairs; pair += stride) {
    const int l = 2 * (int(pair) % row_pairs);
    int row = int(pair) / row_pairs;
    const int k = row % n2;
    row /= n2;
    const int j = row % n1;
    const int i = row / n1;
    const bool both = l + 1 < n3;
    vec2 value;
    for (int e = 0; e < 2; ++e) {
      const int last = both ? l + e : l;
      const uint ia = uint(a_at + i * a_0 + j * a_1 + k * a_2 + last * a_3);
      const uint ib = uint(b_at + i * b_0 + j * b_1 + k * b_2 + last * b_3);
      const uint ic = uint(c_at + i * c_0 + j * c_1 + k * c_2 + last * c_3);
      const uint id = uint(d_at + i * d_0 + j * d_1 + k * d_2 + last * d_3);
      value[e] = pointwise(FUNCTION, OPERANDS > 0 ? LOAD(a, ia, A_TYPE) : 0, OPERANDS > 1 ? LOAD(b, ib, B_TYPE) : 0,
                           OPERANDS > 2 ? LOAD(c, ic, C_TYPE) : 0, OPERANDS > 3 ? LOAD(d, id, D_TYPE) : 0, p, r);
    }
    const uint at = uint(out_at + i * out_0 + j * out_1 + k * out_2 + l);
    STORE_PAIR(result, at, OUT_TYPE, value, both)
  }
}
