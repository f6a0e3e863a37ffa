// The elementwise functions that every backend compiles from one table.
float sigmoid(float x) { return 1 / (1 + exp(-x)); }

// log(1 + e^x). With y = e^-|x| <= 1, log(1 + y) = 2 artanh(s), s = y / (2 + y) <= 1/3: its series is exact to float32,
// where the logarithm of a number near 1 need not be.
float softplus(float x) {
  const float y = exp(-abs(x));
  const float s = y / (2 + y);
  const float z = s * s;
  const float series = 1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z / 13)))));
  return max(x, 0) + 2 * s * series;
}

float pointwise(uint f, float a, float b, float c, float d, float p, float r) {
  switch (f) {
#define STATESCOPE_POINTWISE(number, name, value, da, db, dc, dd) \
  case number:                                                    \
    return value;
#include "../runtime/include/statescope/pointwise.inc"
#undef STATESCOPE_POINTWISE
  }
  return 0;
}
