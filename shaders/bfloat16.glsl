#ifndef BFLOAT16_GLSL
#define BFLOAT16_GLSL
// The upper half of a float32, rounded to nearest even; NaN stays NaN.
uint bfloat16_bits(float x) {
  const uint bits = floatBitsToUint(x);
  return isnan(x) ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
#endif
