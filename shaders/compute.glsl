// What the operations around a recurrence share: elements of any type in buffers of 32-bit words, so that no device
// feature is needed for 16-bit ones. They are written in pairs, a word at a time; a pair begins at an even index.
#include "bfloat16.glsl"

layout(local_size_x_id = 0) in;

// As the enumeration DType of the host.
const uint F32 = 0;
const uint BF16 = 1;
const uint F16 = 2;

float element(uint word, uint index, uint type) {
  if (type == F32) return uintBitsToFloat(word);
  if (type == BF16) return uintBitsToFloat((index & 1u) != 0 ? word & 0xffff0000u : word << 16);
  const vec2 both = unpackHalf2x16(word);
  return (index & 1u) != 0 ? both.y : both.x;
}
#define LOAD(buffer, index, type) element(buffer.data[(type) == F32 ? (index) : (index) >> 1], index, type)

uint packed_pair(vec2 x, uint type) {
  return type == BF16 ? bfloat16_bits(x.x) | bfloat16_bits(x.y) << 16 : packHalf2x16(x);
}
// Elements index and index + 1, the latter where `both`. In 16 bits a lone last element has its word to itself.
#define STORE_PAIR(buffer, index, type, values, both)                                       \
  if ((type) == F32) {                                                                      \
    buffer.data[index] = floatBitsToUint((values).x);                                       \
    if (both) buffer.data[(index) + 1] = floatBitsToUint((values).y);                       \
  } else {                                                                                  \
    buffer.data[(index) >> 1] = packed_pair((both) ? (values) : vec2((values).x, 0), type); \
  }
