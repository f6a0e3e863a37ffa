// gla, four channels of four tokens that an invocation has: a mat4, [i] of token i. The products of w = e^g over the tokens
// of fours cross shared memory: from them comes the decay between any two fours, and no product is above 1.
// The kernel says QUADS, how many fours of channels its workgroup has, and TOTAL(i), the product of invocation i's w.
#if COOPERATIVE
#define Kept Quad  // what an invocation keeps of a token's channels that it has read
#define KEPT(x) x
// As narrow, in fewer operations (matrices.glsl has them too): to eight digits, beyond 2^111 NaN.
Quad narrowed(vec4 x) {
  if (!BFLOAT16) return narrow(x);
  precise const vec4 large = 65537.0 * x;
  precise const vec4 rest = large - x;
  precise const vec4 digits = large - rest;
  const uvec4 bits = floatBitsToUint(digits);
  return uvec2(bits.x >> 16 | bits.y & 0xffff0000u, bits.z >> 16 | bits.w & 0xffff0000u);
}
#else
#define Kept vec4
#define KEPT(x) widen(x)
#define narrowed narrow
#endif
const uint FOUR = 4;
const uint FOURS = CHUNK / FOUR;
const uint ALL_LEVELS = CHUNK == 64 ? 6 : CHUNK == 32 ? 5 : 4;  // halves of spans of 1, 2, 4, ..
const uint NEAR_LEVELS = 2;                                     // those within a four

struct FourKept {
  Kept a, b, c, d;
};
mat4 widen(FourKept x) { return mat4(widen(x.a), widen(x.b), widen(x.c), widen(x.d)); }

// A four's rows of a buffer, past the chunk's end its last row once more: no load stands behind a question (chunked_keys.glsl
// says why). What lies past the end is replaced where it is used, first_of.
uint row_of(Chunk chunk, uint four, uint i) { return min(four * FOUR + i, chunk.tokens - 1); }
#define ROW_OF(buffer_, at, stride, chunk, four, i) buffer_.data[(at) + row_of(chunk, four, i) * (stride)]
#define KEPT_OF(buffer_, at, stride, chunk, four)                                                                \
  FourKept(KEPT(ROW_OF(buffer_, at, stride, chunk, four, 0)), KEPT(ROW_OF(buffer_, at, stride, chunk, four, 1)), \
           KEPT(ROW_OF(buffer_, at, stride, chunk, four, 2)), KEPT(ROW_OF(buffer_, at, stride, chunk, four, 3)))
#define FLOATS_OF(buffer_, at, stride, chunk, four)                                              \
  mat4(ROW_OF(buffer_, at, stride, chunk, four, 0), ROW_OF(buffer_, at, stride, chunk, four, 1), \
       ROW_OF(buffer_, at, stride, chunk, four, 2), ROW_OF(buffer_, at, stride, chunk, four, 3))
// The first `count`, then zero.
FourKept first_of(FourKept x, uint count) {
  if (count >= FOUR) return x;
  x.d = Kept(0);
  if (count < 3) x.c = Kept(0);
  if (count < 2) x.b = Kept(0);
  if (count < 1) x.a = Kept(0);
  return x;
}
mat4 first_of(mat4 x, uint count) {
  if (count >= FOUR) return x;
  x[3] = vec4(0);
  if (count < 3) x[2] = vec4(0);
  if (count < 2) x[1] = vec4(0);
  if (count < 1) x[0] = vec4(0);
  return x;
}

mat4 exponentials(mat4 x) { return mat4(exp(x[0]), exp(x[1]), exp(x[2]), exp(x[3])); }
mat4 each_times(mat4 x, vec4 factor) { return mat4(x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor); }
vec4 sum_of(mat4 x) { return x[0] + x[1] + (x[2] + x[3]); }
mat4 from_begin(mat4 w) {
  const vec4 two = w[0] * w[1], three = two * w[2];
  return mat4(w[0], two, three, three * w[3]);
}
mat4 to_end(mat4 w) {
  const vec4 two = w[2] * w[3];
  return mat4(w[1] * two, two, w[3], vec4(1));
}

// Rows of a tile of cells in shared memory.
#if COOPERATIVE
#define SET_QUAD(memory, at, quad, value)                      \
  {                                                            \
    const uvec2 narrow_ = narrowed(value);                     \
    memory[(at) + (quad) / 2][(quad) % 2 * 2] = narrow_.x;     \
    memory[(at) + (quad) / 2][(quad) % 2 * 2 + 1] = narrow_.y; \
  }
#define QUAD_AT(memory, at, quad) \
  widen(uvec2(memory[(at) + (quad) / 2][(quad) % 2 * 2], memory[(at) + (quad) / 2][(quad) % 2 * 2 + 1]))
#else
#define SET_QUAD(memory, at, quad, value) memory[(at) + (quad)] = value;
#define QUAD_AT(memory, at, quad) memory[(at) + (quad)]
#endif
#define SET_ROWS(memory, at, stride, quad, rows)          \
  {                                                       \
    const mat4 rows_ = rows;                              \
    SET_QUAD(memory, at, quad, rows_[0])                  \
    SET_QUAD(memory, (at) + (stride), quad, rows_[1])     \
    SET_QUAD(memory, (at) + 2 * (stride), quad, rows_[2]) \
    SET_QUAD(memory, (at) + 3 * (stride), quad, rows_[3]) \
  }
#define ROWS_AT(memory, at, stride, quad)                                 \
  mat4(QUAD_AT(memory, at, quad), QUAD_AT(memory, (at) + (stride), quad), \
       QUAD_AT(memory, (at) + 2 * (stride), quad), QUAD_AT(memory, (at) + 3 * (stride), quad))

// From the fours between this one and the middle of its span to those between it and the middle of the next larger span.
#define EXTEND(level, four, thread, before, after)                                                \
  {                                                                                               \
    const uint span_ = 1 << (level) - NEAR_LEVELS, first_ = (thread) - (four) % span_ * QUADS;    \
    if ((four) / span_ % 2 == 1) {                                                                \
      UNROLLED for (uint m_ = 1; m_ <= span_; ++m_) before *= TOTAL(first_ - m_ * QUADS);         \
    } else {                                                                                      \
      UNROLLED for (uint m_ = 0; m_ < span_; ++m_) after *= TOTAL(first_ + (span_ + m_) * QUADS); \
    }                                                                                             \
  }
bool in_second_half(uint level, uint four) { return (four >> level - NEAR_LEVELS & 1) == 1; }
