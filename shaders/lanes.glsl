// Sums over 32 neighbouring invocations through shared memory, so that no subgroup feature is needed. The workgroup
// has 128 invocations: four groups of 32 lanes.
const uint THREADS = 128;
const uint LANES = 32;
shared float lane_values[THREADS];

float sum_over_lanes(float x) {
  lane_values[gl_LocalInvocationIndex] = x;
  for (uint step = LANES / 2; step > 0; step /= 2) {
    barrier();
    if (gl_LocalInvocationIndex % LANES < step)
      lane_values[gl_LocalInvocationIndex] += lane_values[gl_LocalInvocationIndex + step];
  }
  barrier();
  const float sum = lane_values[gl_LocalInvocationIndex / LANES * LANES];
  barrier();
  return sum;
}
