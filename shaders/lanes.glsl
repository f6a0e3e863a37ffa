// Sums over neighbouring invocations through shared memory, so that no subgroup feature is needed. The workgroup has
// 128 invocations: groups of LANES of them.
const uint THREADS = 128;
layout(constant_id = 5) const uint LANES = 32;  // a power of two, at most THREADS
shared vec2 lane_values[THREADS];

vec2 sum_over_lanes(vec2 x) {
  lane_values[gl_LocalInvocationIndex] = x;
  for (uint step = LANES / 2; step > 0; step /= 2) {
    barrier();
    if (gl_LocalInvocationIndex % LANES < step)
      lane_values[gl_LocalInvocationIndex] += lane_values[gl_LocalInvocationIndex + step];
  }
  barrier();
  const vec2 sum = lane_values[gl_LocalInvocationIndex / LANES * LANES];
  barrier();
  return sum;
}
