// Mean, variance, root mean square, median and largest absolute value of a row, a workgroup a row.
//
// The median is selected: four rounds, each a histogram of the next 8 bits of the values that agree with the bits found
// so far, on keys whose order as integers is that of the floats. Shared memory: 256 counts and 128 floats, 1.5 KiB.
#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "rows.glsl"

layout(binding = 0) readonly buffer XBuffer { float data[]; } x;
layout(binding = 1) writeonly buffer YBuffer { float data[]; } y;  // [rows, 5]

layout(push_constant) uniform Sizes {
  uint rows, width;
};

shared uint counts[256];
shared uint found_digit, found_below;

uint key_of(float value) {
  const uint bits = floatBitsToUint(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
float value_of(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key); }

// The key of rank `rank`, counted from 0.
uint select(uint first, uint rank) {
  uint prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (uint i = gl_LocalInvocationIndex; i < 256; i += THREADS) counts[i] = 0;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < width; i += THREADS) {
      const uint key = key_of(x.data[first + i]);
      if (shift == 24 || key >> (shift + 8) == prefix) atomicAdd(counts[key >> shift & 255u], 1);
    }
    barrier();
    if (gl_LocalInvocationIndex == 0) {
      uint below = 0, digit = 0;
      while (digit < 255 && below + counts[digit] <= rank) below += counts[digit++];
      found_digit = digit;
      found_below = below;
    }
    barrier();
    rank -= found_below;
    prefix = prefix << 8 | found_digit;
    barrier();
  }
  return prefix;
}

void main() {
  for (uint row = gl_WorkGroupID.x; row < rows; row += gl_NumWorkGroups.x) {
    const uint first = row * width;
    float sum = 0, squares = 0, most = 0;
    for (uint i = gl_LocalInvocationIndex; i < width; i += THREADS) {
      const float value = x.data[first + i];
      sum += value;
      squares += value * value;
      most = max(most, abs(value));
    }
    const float mean = sum_over_row(sum) / width;
    squares = sum_over_row(squares);
    most = most_over_row(most);
    const float upper = value_of(select(first, width / 2));
    float spread = 0, below = LOWEST, lower_count = 0;
    for (uint i = gl_LocalInvocationIndex; i < width; i += THREADS) {
      const float value = x.data[first + i];
      spread += (value - mean) * (value - mean);
      if (value < upper) {
        below = max(below, value);
        ++lower_count;
      }
    }
    spread = sum_over_row(spread);
    below = most_over_row(below);
    lower_count = sum_over_row(lower_count);
    if (gl_LocalInvocationIndex == 0) {
      // Of an even number the two in the middle: the lower one is below `upper`, or equal to it.
      const float lower = width % 2 == 1 || uint(lower_count) < width / 2 ? upper : below;
      y.data[5 * row] = mean;
      y.data[5 * row + 1] = spread / width;
      y.data[5 * row + 2] = sqrt(squares / width);
      y.data[5 * row + 3] = (lower + upper) / 2;
      y.data[5 * row + 4] = most;
    }
  }
}
