// Fused multiply-adds on eight independent quads a thread, for the device's own float32 rate. Eight hide the latency
// of the unit (4 to 8 cycles everywhere); the sum is written so that nothing can be left out.
#version 450

layout(local_size_x_id = 0) in;

layout(binding = 0) writeonly buffer TargetBuffer { vec4 data[]; } target;

layout(push_constant) uniform Sizes {
  uint rounds;  // 64 multiply-adds a thread each: 8 quads, twice
  float factor;
};

void main() {
  const vec4 a = vec4(factor);
  const vec4 b = vec4(gl_GlobalInvocationID.x) * 1e-6;
  vec4 x0 = b, x1 = b + 1, x2 = b + 2, x3 = b + 3, x4 = b + 4, x5 = b + 5, x6 = b + 6, x7 = b + 7;
  for (uint i = 0; i < rounds; ++i) {
    x0 = fma(x0, a, b), x1 = fma(x1, a, b), x2 = fma(x2, a, b), x3 = fma(x3, a, b);
    x4 = fma(x4, a, b), x5 = fma(x5, a, b), x6 = fma(x6, a, b), x7 = fma(x7, a, b);
    x0 = fma(x0, a, b), x1 = fma(x1, a, b), x2 = fma(x2, a, b), x3 = fma(x3, a, b);
    x4 = fma(x4, a, b), x5 = fma(x5, a, b), x6 = fma(x6, a, b), x7 = fma(x7, a, b);
  }
  target.data[gl_GlobalInvocationID.x] = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7;
}
