// Sums and maxima over a workgroup of 128 invocations through shared memory, the same in all of them.
const uint THREADS = 128;
shared float row_values[THREADS];

#define DEFINE_REDUCTION(name, join)                                                     \
  float name(float x) {                                                                  \
    row_values[gl_LocalInvocationIndex] = x;                                             \
    for (uint step = THREADS / 2; step > 0; step /= 2) {                                 \
      barrier();                                                                         \
      if (gl_LocalInvocationIndex < step) {                                              \
        const float left = row_values[gl_LocalInvocationIndex];                          \
        const float right = row_values[gl_LocalInvocationIndex + step];                  \
        row_values[gl_LocalInvocationIndex] = join;                                      \
      }                                                                                  \
    }                                                                                    \
    barrier();                                                                           \
    const float whole = row_values[0];                                                   \
    barrier();                                                                           \
    return whole;                                                                        \
  }
DEFINE_REDUCTION(sum_over_row, left + right)
DEFINE_REDUCTION(most_over_row, max(left, right))

const float LOWEST = -3.402823466e38;
