// Four consecutive elements of q, k, v or o. 16-bit elements are packed two to a word, so that no device feature
// is needed to read them: every row is a multiple of 16 elements long, so a quad never straddles a row.
#ifndef STORAGE_BITS
#error "STORAGE_BITS: 32 (float32) or 16 (bfloat16 or float16)"
#endif

#if STORAGE_BITS == 32

#define Quad vec4
vec4 widen(Quad x) { return x; }
Quad narrow(vec4 x) { return x; }

#else

#include "bfloat16.glsl"

layout(constant_id = 1) const bool BFLOAT16 = true;

#define Quad uvec2

vec4 widen(Quad x) {
  return BFLOAT16 ? uintBitsToFloat(uvec4(x.x << 16, x.x & 0xffff0000u, x.y << 16, x.y & 0xffff0000u))
                  : vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
}

Quad narrow(vec4 x) {
  return BFLOAT16 ? uvec2(bfloat16_bits(x.x) | bfloat16_bits(x.y) << 16,
                          bfloat16_bits(x.z) | bfloat16_bits(x.w) << 16)
                  : uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
}

#endif
