// Products of 16 x 16 tiles, in two ways with one text. A team of invocations holds a tile; sums are float32.
//   COOPERATIVE 0  a team is 16 invocations, each with 4 x 4 of the tile: any device, float32 operands
//   COOPERATIVE 1  a team is a subgroup and the tile a cooperative matrix: 16-bit operands, subgroups that are whole
//
// Operands lie in memory as rows of packs, PACK elements of one row. A pack in a buffer has the type Pack, one in
// shared memory the type Cell, and a pack's elements in float32 are Values (VALUES_FROM an array of quads of float32).
// Strides and positions count packs. GLSL passes no arrays of memory by reference: what loads and stores is a macro, `memory` its array.
#include "elements.glsl"

layout(constant_id = 8) const uint TEAMS = 1;  // of a workgroup
// A GPU needs loops over an invocation's tiles unrolled, or they are not in registers; a software device has none to
// fill, and takes seconds to compile what unrolling makes of its loads and stores.
layout(constant_id = 7) const bool UNROLL = true;
// Hardware keeps an array of tiles in registers only where every loop over it is unrolled, which NVIDIA's compiler does when
// it is told to.
#if COOPERATIVE
#define UNROLLED [[unroll]]
#else
#define UNROLLED
#endif
uint steps(uint count) { return UNROLL ? count : min(count, gl_NumWorkGroups.x + 0x40000000u); }

const uint TILE = 16;

#if COOPERATIVE

const uint PACK = 8;
const uint DEPTH = 16;  // of one MULTIPLY_ADD
const uint TEAM_SIZE = 32;
#define Pack uvec4
#define Cell uvec4
struct Values {
  vec4 low, high;
};
Values widen(Pack x) { return Values(widen(x.xy), widen(x.zw)); }
Pack narrow(Values x) { return uvec4(narrow(x.low), narrow(x.high)); }
Cell cell(Values x) { return narrow(x); }
Cell cell(Pack x) { return x; }
Pack pack_of(Cell x) { return x; }
Values values_of(Cell x) { return widen(x); }
Values scaled(Values x, float factor) { return Values(x.low * factor, x.high * factor); }
Values product(Values x, Values y) { return Values(x.low * y.low, x.high * y.high); }
Values difference(Values x, Values y) { return Values(x.low - y.low, x.high - y.high); }
Values sum_of(Values x, Values y) { return Values(x.low + y.low, x.high + y.high); }
Values exponentials(Values x) { return Values(exp(x.low), exp(x.high)); }
#define VALUES_FROM(quads, at) Values(quads[at], quads[(at) + 1])
float value_of(Values x, uint i) { return i < 4 ? x.low[i] : x.high[i - 4]; }
float dot_of(Values x, Values y) { return dot(x.low, y.low) + dot(x.high, y.high); }

#define Sum coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define Narrowed coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define Left coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define Right coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
// Drivers may truncate in a conversion to bfloat16: it is given values that need no rounding.
Narrowed narrow(Sum x) {
  if (BFLOAT16)
    UNROLLED for (uint i = 0; i < x.length(); ++i) x[i] = uintBitsToFloat(bfloat16_bits(x[i]) << 16);
  return Narrowed(x);
}

#define LOAD_LEFT(left, memory, at, stride) coopMatLoad(left, memory, at, stride, gl_CooperativeMatrixLayoutRowMajor)
#define LOAD_LEFT_TRANSPOSED(left, memory, at, stride) \
  coopMatLoad(left, memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor)
#define LOAD_RIGHT(right, memory, at, stride) coopMatLoad(right, memory, at, stride, gl_CooperativeMatrixLayoutRowMajor)
#define LOAD_RIGHT_TRANSPOSED(right, memory, at, stride) \
  coopMatLoad(right, memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor)
#define MULTIPLY_ADD(sum, left, right) sum = coopMatMulAdd(left, right, sum)

// Rows that are all the same, a float for each column.
#define LOAD_FACTORS(sum, memory, at) coopMatLoad(sum, memory, at, 0, gl_CooperativeMatrixLayoutRowMajor)
// Columns that are all the same.
#define LOAD_ROW_FACTORS(sum, memory, at) coopMatLoad(sum, memory, at, 0, gl_CooperativeMatrixLayoutColumnMajor)
#define PRODUCT(x, y) ((x) * (y))  // element by element
#define LOAD_FLOATS_TRANSPOSED(sum, memory, at, stride) \
  coopMatLoad(sum, memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor)
#define STORE_FLOATS(sum, memory, at, stride) coopMatStore(sum, memory, at, stride, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_FLOATS_TRANSPOSED(sum, memory, at, stride) \
  coopMatStore(sum, memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor)
#define LOAD_CELLS(sum, memory, at, stride)                                        \
  {                                                                                \
    Narrowed narrowed;                                                             \
    coopMatLoad(narrowed, memory, at, stride, gl_CooperativeMatrixLayoutRowMajor); \
    sum = Sum(narrowed);                                                           \
  }
#define LOAD_CELLS_TRANSPOSED(sum, memory, at, stride)                                \
  {                                                                                   \
    Narrowed narrowed;                                                                \
    coopMatLoad(narrowed, memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor); \
    sum = Sum(narrowed);                                                              \
  }
#define STORE_CELLS(sum, memory, at, stride) \
  coopMatStore(narrow(sum), memory, at, stride, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_CELLS_TRANSPOSED(sum, memory, at, stride) \
  coopMatStore(narrow(sum), memory, at, stride, gl_CooperativeMatrixLayoutColumnMajor)

// Parts of the sums of a tile's rows: PARTS floats a row, rows `stride` quads apart. A cell as quads of floats.
const uint PARTS = 16;
#define STORE_ROW_PARTS(sum, memory, at, stride) STORE_FLOATS(sum, memory, at, stride)
vec4 floats_of(Cell x) { return uintBitsToFloat(x); }

#define EMPTY Sum(0.0)

// Which elements an invocation holds is the driver's secret. A matrix of the positions tells it, where one is wanted.
#ifndef NO_POSITIONS
shared vec4 position_table[64];
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> positions;
void find_positions() {
  for (uint i = gl_LocalInvocationIndex; i < 64; i += gl_WorkGroupSize.x)
    position_table[i] = vec4(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3);
  barrier();
  coopMatLoad(positions, position_table, 0, 4, gl_CooperativeMatrixLayoutRowMajor);
}
#define ELEMENTS positions.length()
#define VALUE(sum, element) sum[element]
uint row_of(uint element) { return uint(positions[element]) / 16; }
uint column_of(uint element) { return uint(positions[element]) % 16; }
#endif

uint thread_index() { return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID; }
uint team_index() { return gl_SubgroupID; }
// What a team has written to shared memory, for the same team. All teams come here.
#define TEAM_BARRIER controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease)

#else

const uint PACK = 4;
const uint DEPTH = 4;
const uint TEAM_SIZE = 16;
#define Pack Quad
#define Cell vec4
#define Values vec4
Cell cell(Values x) { return x; }
#if STORAGE_BITS == 16
vec4 widen(vec4 x) { return x; }
Cell cell(Pack x) { return widen(x); }
#endif
Pack pack_of(Cell x) { return narrow(x); }
Values values_of(Cell x) { return x; }
Values scaled(Values x, float factor) { return x * factor; }
Values product(Values x, Values y) { return x * y; }
Values difference(Values x, Values y) { return x - y; }
Values sum_of(Values x, Values y) { return x + y; }
Values exponentials(Values x) { return exp(x); }
#define VALUES_FROM(quads, at) quads[at]
float value_of(Values x, uint i) { return x[i]; }
float dot_of(Values x, Values y) { return dot(x, y); }

#define Sum mat4    // [i]: row i of the invocation's four
#define Left mat4   // [i]: row i, four of the depth
#define Right mat4  // [i]: four columns, i of the depth

uint thread_index() { return gl_LocalInvocationIndex; }
uint team_index() { return gl_LocalInvocationIndex / 16; }
#define TEAM_BARRIER barrier()
uint row4() { return gl_LocalInvocationIndex % 16 / 4; }     // which four rows of the tile,
uint column4() { return gl_LocalInvocationIndex % 4; }       // which four columns

#define FOUR_ROWS(memory, at, stride)                                                                       \
  mat4(widen(memory[at]), widen(memory[(at) + (stride)]), widen(memory[(at) + 2 * (stride)]), \
       widen(memory[(at) + 3 * (stride)]))
#define LOAD_LEFT(left, memory, at, stride) left = FOUR_ROWS(memory, (at) + 4 * row4() * (stride), stride)
#define LOAD_LEFT_TRANSPOSED(left, memory, at, stride) left = transpose(FOUR_ROWS(memory, (at) + row4(), stride))
#define LOAD_RIGHT(right, memory, at, stride) right = FOUR_ROWS(memory, (at) + column4(), stride)
#define LOAD_RIGHT_TRANSPOSED(right, memory, at, stride) \
  right = transpose(FOUR_ROWS(memory, (at) + 4 * column4() * (stride), stride))
#define MULTIPLY_ADD(sum, left, right) sum += right * left

#define LOAD_FACTORS(sum, memory, at) sum = FOUR_ROWS(memory, (at) + column4(), 0)
#define LOAD_ROW_FACTORS(sum, memory, at)                                   \
  {                                                                         \
    const vec4 factors_ = memory[(at) + row4()];                            \
    sum = mat4(factors_.xxxx, factors_.yyyy, factors_.zzzz, factors_.wwww); \
  }
#define PRODUCT(x, y) matrixCompMult(x, y)
#define LOAD_CELLS(sum, memory, at, stride) \
  sum = FOUR_ROWS(memory, (at) + 4 * row4() * (stride) + column4(), stride)
#define LOAD_CELLS_TRANSPOSED(sum, memory, at, stride) \
  sum = transpose(FOUR_ROWS(memory, (at) + 4 * column4() * (stride) + row4(), stride))
#define LOAD_FLOATS_TRANSPOSED LOAD_CELLS_TRANSPOSED
#define STORE_CELLS(sum, memory, at, stride) \
  for (uint i_ = 0; i_ < 4; ++i_) memory[(at) + (4 * row4() + i_) * (stride) + column4()] = sum[i_]
#define STORE_FLOATS STORE_CELLS
#define STORE_FLOATS_TRANSPOSED(sum, memory, at, stride) \
  for (uint i_ = 0; i_ < 4; ++i_) memory[(at) + (4 * column4() + i_) * (stride) + row4()] = transpose(sum)[i_]

#define STORE_CELLS_TRANSPOSED STORE_FLOATS_TRANSPOSED
#define STORE_PACKS(sum, memory, at, stride) \
  for (uint i_ = 0; i_ < 4; ++i_) memory[(at) + (4 * row4() + i_) * (stride) + column4()] = pack_of(sum[i_])

const uint PARTS = 4;
#define STORE_ROW_PARTS(sum, memory, at, stride) \
  for (uint i_ = 0; i_ < 4; ++i_) memory[(at) + (4 * row4() + i_) * (stride)][column4()] = dot(sum[i_], vec4(1))
vec4 floats_of(Cell x) { return x; }

void find_positions() {}
const uint ELEMENTS = 16;
#define VALUE(sum, element) sum[(element) / 4][(element) % 4]
uint row_of(uint element) { return 4 * row4() + element / 4; }
uint column_of(uint element) { return 4 * column4() + element % 4; }
#define EMPTY mat4(0)

#endif

const uint THREADS = TEAMS * TEAM_SIZE;
const uint LINE = TILE / PACK;  // packs in a row of a tile

// PACK elements: one and zero where `wanted` is true and false of 0, 1, ..
#if COOPERATIVE
#define MASK(wanted) Values(vec4(wanted(0), wanted(1), wanted(2), wanted(3)), vec4(wanted(4), wanted(5), wanted(6), wanted(7)))
#else
#define MASK(wanted) vec4(wanted(0), wanted(1), wanted(2), wanted(3))
#endif

// A matrix of [rows][packs] between memory and a tile in shared memory. Cooperative matrices are loaded and stored there
// alone: on buffers the drivers do it element by element. `source` is a Pack, or a Cell, of `row` and `pack`; FETCH and
// PLACE are the two halves of STAGE, with something else between them.
#define FETCHES(rows, packs) (((rows) * (packs) + THREADS - 1) / THREADS)
#define FETCH(fetched, rows, packs, source)                        \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(rows, packs); ++n_) {             \
    const uint row = (thread_index() + n_ * THREADS) / (packs);    \
    const uint pack = (thread_index() + n_ * THREADS) % (packs);   \
    if (row < (rows)) fetched[n_] = source;                        \
  }
#define PLACE(tile, stride, rows, packs, fetched)                          \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(rows, packs); ++n_) {                     \
    const uint row = (thread_index() + n_ * THREADS) / (packs);            \
    const uint pack = (thread_index() + n_ * THREADS) % (packs);           \
    if (row < (rows)) tile[row * (stride) + pack] = cell(fetched[n_]);     \
  }
#define STAGE(tile, stride, rows, packs, source)                       \
  UNROLLED for (uint i_ = thread_index(); i_ < (rows) * (packs); i_ += THREADS) { \
    const uint row = i_ / (packs), pack = i_ % (packs);                \
    tile[row * (stride) + pack] = cell(source);                        \
  }
