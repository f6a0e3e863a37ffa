// Products of 16 x 16 tiles, in three ways with one text. A team of invocations holds a tile; sums are float32.
//   COOPERATIVE 0  a team is 16 invocations, each with 4 x 4 of the tile: any device, float32 operands
//   COOPERATIVE 1  a team is a subgroup and the tile a cooperative matrix: 16-bit operands, subgroups that are whole
//   COOPERATIVE 2  the same, the tile made of the smaller matrices that a device has: M x N of a sum, K of the depth
//
// Operands lie in memory as rows of packs, PACK elements of one row. A pack in a buffer has the type Pack, one in
// shared memory the type Cell, and a pack's elements in float32 are Values (VALUES_FROM an array of quads of float32).
// Strides and positions count packs. GLSL passes no arrays of memory by reference: what loads and stores is a macro, `memory` its array.
#extension GL_EXT_control_flow_attributes : require
#if COOPERATIVE
#pragma use_vulkan_memory_model  // cooperative matrices ask for it
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#include "elements.glsl"

layout(constant_id = 8) const uint TEAMS = 1;  // of a workgroup
// A GPU needs loops over an invocation's tiles unrolled, or they are not in registers; a software device has none to
// fill, and takes seconds to compile what unrolling makes of its loads and stores.
layout(constant_id = 7) const bool UNROLL = true;
// Hardware keeps an array of tiles in registers only where every loop over it is unrolled, which NVIDIA's compiler does when
// it is told to. Mesa's do so by themselves, and llvmpipe, whose matrices are small, must not be told.
#if COOPERATIVE == 1
#define UNROLLED [[unroll]]
#define ROLLED [[dont_unroll]]  // over the depth, where asking for all factors at once would take too many registers
#else
#define UNROLLED
#define ROLLED
#endif
uint steps(uint count) { return UNROLL ? count : min(count, gl_NumWorkGroups.x + 0x40000000u); }

const uint TILE = 16;

#if COOPERATIVE

const uint PACK = 8;
const uint DEPTH = 16;  // of one MULTIPLY_ADD
layout(constant_id = 10) const uint TEAM_SIZE = 32;
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
Values sum_of(Values x, Values y) { return Values(x.low + y.low, x.high + y.high); }
#define VALUES_FROM(quads, at) Values(quads[at], quads[(at) + 1])
float value_of(Values x, uint i) { return i < 4 ? x.low[i] : x.high[i - 4]; }
float dot_of(Values x, Values y) { return dot(x.low, y.low) + dot(x.high, y.high); }

#if COOPERATIVE == 2
layout(constant_id = 11) const uint MATRIX_M = 8;
layout(constant_id = 12) const uint MATRIX_N = 8;
layout(constant_id = 13) const uint MATRIX_K = 8;
#else
const uint MATRIX_M = TILE, MATRIX_N = TILE, MATRIX_K = TILE;
#endif
#define SumMatrix coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define NarrowMatrix coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LeftMatrix coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RightMatrix coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>

// The matrices of a tile. What a macro does with each of them follows EACH_OF_..; they stand in row i_ and column j_.
#if COOPERATIVE == 2
const uint ROW_MATRICES = TILE / MATRIX_M, COLUMN_MATRICES = TILE / MATRIX_N, DEPTH_MATRICES = TILE / MATRIX_K;
const uint MOST_MATRICES = 4;  // of 8 x 8; an array whose length is a specialisation constant cannot be copied
struct Sum {
  SumMatrix at[MOST_MATRICES];
};
struct Left {
  LeftMatrix at[MOST_MATRICES];
};
struct Right {
  RightMatrix at[MOST_MATRICES];
};
#define EACH_MATRIX(rows, columns) \
  for (uint i_ = 0; i_ < steps(rows); ++i_) for (uint j_ = 0; j_ < steps(columns); ++j_)
#define EACH_OF_SUM EACH_MATRIX(ROW_MATRICES, COLUMN_MATRICES)
#define EACH_OF_LEFT EACH_MATRIX(ROW_MATRICES, DEPTH_MATRICES)
#define EACH_OF_RIGHT EACH_MATRIX(DEPTH_MATRICES, COLUMN_MATRICES)
#define OF_SUM(x) (x).at[i_ * COLUMN_MATRICES + j_]
#define OF_LEFT(x) (x).at[i_ * DEPTH_MATRICES + j_]
#define OF_RIGHT(x) (x).at[i_ * COLUMN_MATRICES + j_]
#define MULTIPLY_ADD(sum, left, right)                             \
  for (uint k_ = 0; k_ < steps(DEPTH_MATRICES); ++k_) EACH_OF_SUM \
    OF_SUM(sum) = coopMatMulAdd((left).at[i_ * DEPTH_MATRICES + k_], (right).at[k_ * COLUMN_MATRICES + j_], OF_SUM(sum))

#define DEFINE_FOR_EACH(heading, value) \
  Sum heading {                         \
    Sum result;                         \
    EACH_OF_SUM OF_SUM(result) = value; \
    return result;                      \
  }
DEFINE_FOR_EACH(empty_sum(), SumMatrix(0.0))
DEFINE_FOR_EACH(PRODUCT(Sum x, Sum y), OF_SUM(x) * OF_SUM(y))  // element by element
DEFINE_FOR_EACH(SUM_OF(Sum x, Sum y), OF_SUM(x) + OF_SUM(y))
DEFINE_FOR_EACH(DIFFERENCE(Sum x, Sum y), OF_SUM(x) - OF_SUM(y))
DEFINE_FOR_EACH(SCALED(Sum x, float factor), OF_SUM(x) * factor)
#define EMPTY empty_sum()
#else
#define Sum SumMatrix
#define Left LeftMatrix
#define Right RightMatrix
#define EACH_OF_SUM
#define EACH_OF_LEFT
#define EACH_OF_RIGHT
#define OF_SUM(x) x
#define OF_LEFT(x) x
#define OF_RIGHT(x) x
const uint i_ = 0, j_ = 0;
#define MULTIPLY_ADD(sum, left, right) sum = coopMatMulAdd(left, right, sum)
#define PRODUCT(x, y) ((x) * (y))  // element by element
#define SUM_OF(x, y) ((x) + (y))
#define DIFFERENCE(x, y) ((x) - (y))
#define SCALED(x, factor) ((x) * (factor))
#define EMPTY Sum(0.0)
#endif

// A sum's 16-bit elements on their way to and from memory. Devices have sums of f16, and none of bf16: an element of f16 carries
// the bits of the bf16, in the same place as that of the float32.
NarrowMatrix narrow(SumMatrix x) {
  if (!BFLOAT16) return NarrowMatrix(x);
  NarrowMatrix narrowed;
  UNROLLED for (uint i = 0; i < x.length(); ++i) {
    // To eight digits, to nearest: of 2^16 x + x and 2^16 x the difference has them. Beyond 2^111 it is NaN.
    precise const float large = 65537.0 * x[i];
    precise const float rest = large - x[i];
    precise const float rounded = large - rest;
    narrowed[i] = unpackFloat2x16(floatBitsToUint(rounded) >> 16).x;
  }
  return narrowed;
}
SumMatrix widen(NarrowMatrix x) {
  if (!BFLOAT16) return SumMatrix(x);
  SumMatrix widened;
  UNROLLED for (uint i = 0; i < x.length(); ++i)
    widened[i] = uintBitsToFloat(packFloat2x16(f16vec2(x[i], float16_t(0))) << 16);
  return widened;
}

// Where a matrix of a tile begins, in memory by rows or by columns: `lines` lines and `cells` of a line on.
#define PLACE_OF(at, stride, lines, cells) (at) + (lines) * (stride) + (cells)
#define BY_ROWS gl_CooperativeMatrixLayoutRowMajor
#define BY_COLUMNS gl_CooperativeMatrixLayoutColumnMajor
#define LOAD_LEFT(left, memory, at, stride) \
  EACH_OF_LEFT coopMatLoad(OF_LEFT(left), memory, PLACE_OF(at, stride, i_ * MATRIX_M, j_ * (MATRIX_K / PACK)), stride, BY_ROWS)
#define LOAD_LEFT_TRANSPOSED(left, memory, at, stride) \
  EACH_OF_LEFT coopMatLoad(OF_LEFT(left), memory, PLACE_OF(at, stride, j_ * MATRIX_K, i_ * (MATRIX_M / PACK)), stride, BY_COLUMNS)
#define LOAD_RIGHT(right, memory, at, stride) \
  EACH_OF_RIGHT coopMatLoad(OF_RIGHT(right), memory, PLACE_OF(at, stride, i_ * MATRIX_K, j_ * (MATRIX_N / PACK)), stride, BY_ROWS)
#define LOAD_RIGHT_TRANSPOSED(right, memory, at, stride) \
  EACH_OF_RIGHT coopMatLoad(OF_RIGHT(right), memory, PLACE_OF(at, stride, j_ * MATRIX_N, i_ * (MATRIX_K / PACK)), stride, BY_COLUMNS)

// Rows that are all the same, a float for each column.
#define LOAD_FACTORS(sum, memory, at) EACH_OF_SUM coopMatLoad(OF_SUM(sum), memory, (at) + j_ * (MATRIX_N / 4), 0, BY_ROWS)
// Columns that are all the same.
#define LOAD_ROW_FACTORS(sum, memory, at) \
  EACH_OF_SUM coopMatLoad(OF_SUM(sum), memory, (at) + i_ * (MATRIX_M / 4), 0, BY_COLUMNS)
#define LOAD_FLOATS(sum, memory, at, stride) \
  EACH_OF_SUM coopMatLoad(OF_SUM(sum), memory, PLACE_OF(at, stride, i_ * MATRIX_M, j_ * (MATRIX_N / 4)), stride, BY_ROWS)
#define LOAD_FLOATS_TRANSPOSED(sum, memory, at, stride) \
  EACH_OF_SUM coopMatLoad(OF_SUM(sum), memory, PLACE_OF(at, stride, j_ * MATRIX_N, i_ * (MATRIX_M / 4)), stride, BY_COLUMNS)
#define STORE_FLOATS(sum, memory, at, stride) \
  EACH_OF_SUM coopMatStore(OF_SUM(sum), memory, PLACE_OF(at, stride, i_ * MATRIX_M, j_ * (MATRIX_N / 4)), stride, BY_ROWS)
#define STORE_FLOATS_TRANSPOSED(sum, memory, at, stride) \
  EACH_OF_SUM coopMatStore(OF_SUM(sum), memory, PLACE_OF(at, stride, j_ * MATRIX_N, i_ * (MATRIX_M / 4)), stride, BY_COLUMNS)
#define LOAD_CELLS(sum, memory, at, stride)                                                                                  \
  EACH_OF_SUM {                                                                                                              \
    NarrowMatrix narrowed_;                                                                                                  \
    coopMatLoad(narrowed_, memory, PLACE_OF(at, stride, i_ * MATRIX_M, j_ * (MATRIX_N / PACK)), stride, BY_ROWS);            \
    OF_SUM(sum) = widen(narrowed_);                                                                                      \
  }
#define LOAD_CELLS_TRANSPOSED(sum, memory, at, stride)                                                                       \
  EACH_OF_SUM {                                                                                                              \
    NarrowMatrix narrowed_;                                                                                                  \
    coopMatLoad(narrowed_, memory, PLACE_OF(at, stride, j_ * MATRIX_N, i_ * (MATRIX_M / PACK)), stride, BY_COLUMNS);         \
    OF_SUM(sum) = widen(narrowed_);                                                                                      \
  }
#define STORE_CELLS(sum, memory, at, stride) \
  EACH_OF_SUM coopMatStore(narrow(OF_SUM(sum)), memory, PLACE_OF(at, stride, i_ * MATRIX_M, j_ * (MATRIX_N / PACK)), stride, BY_ROWS)
#define STORE_CELLS_TRANSPOSED(sum, memory, at, stride) \
  EACH_OF_SUM coopMatStore(narrow(OF_SUM(sum)), memory, PLACE_OF(at, stride, j_ * MATRIX_N, i_ * (MATRIX_M / PACK)), stride, BY_COLUMNS)

// Parts of the sums of a tile's rows: PARTS floats a row, rows `stride` quads apart. A cell as quads of floats.
const uint PARTS = 16;
#define STORE_ROW_PARTS(sum, memory, at, stride) STORE_FLOATS(sum, memory, at, stride)
vec4 floats_of(Cell x) { return uintBitsToFloat(x); }

// Which elements an invocation holds is the driver's secret. A matrix of the positions tells it, where one is wanted:
// EACH_ELEMENT goes over an invocation's, VALUE is a tile's element there, ROW and COLUMN where it stands.
#ifndef NO_POSITIONS
shared vec4 position_table[64];
Sum positions;
void find_positions() {
  for (uint i = gl_LocalInvocationIndex; i < 64; i += gl_WorkGroupSize.x)
    position_table[i] = vec4(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3);
  barrier();
  EACH_OF_SUM coopMatLoad(OF_SUM(positions), position_table, PLACE_OF(0, 4, i_ * MATRIX_M, j_ * (MATRIX_N / 4)), 4, BY_ROWS);
}
#define EACH_ELEMENT EACH_OF_SUM UNROLLED for (uint e_ = 0; e_ < OF_SUM(positions).length(); ++e_)
#define VALUE(sum) OF_SUM(sum)[e_]
#define ROW (uint(VALUE(positions)) / 16)
#define COLUMN (uint(VALUE(positions)) % 16)
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
Values sum_of(Values x, Values y) { return x + y; }
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
#define SUM_OF(x, y) ((x) + (y))
#define DIFFERENCE(x, y) ((x) - (y))
#define SCALED(x, factor) ((x) * (factor))
#define LOAD_CELLS(sum, memory, at, stride) \
  sum = FOUR_ROWS(memory, (at) + 4 * row4() * (stride) + column4(), stride)
#define LOAD_CELLS_TRANSPOSED(sum, memory, at, stride) \
  sum = transpose(FOUR_ROWS(memory, (at) + 4 * column4() * (stride) + row4(), stride))
#define LOAD_FLOATS LOAD_CELLS
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
#define EACH_ELEMENT for (uint e_ = 0; e_ < 16; ++e_)
#define VALUE(sum) sum[e_ / 4][e_ % 4]
#define ROW (4 * row4() + e_ / 4)
#define COLUMN (4 * column4() + e_ % 4)
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
// PLACE are the two halves of STAGE, with something else between them; of PLACE_EACH it is a Cell, and of `n_` as well; `there`
// asks whether the invocation has such a pack.
#define FETCHES(rows, packs) (((rows) * (packs) + THREADS - 1) / THREADS)
#define FETCH_WHERE(there, fetched, rows, packs, source)         \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(rows, packs); ++n_) {  \
    const uint row = (thread_index() + n_ * THREADS) / (packs);  \
    const uint pack = (thread_index() + n_ * THREADS) % (packs); \
    if (there) fetched[n_] = source;                             \
  }
#define PLACE_WHERE(there, tile, at, stride, rows, packs, source) \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(rows, packs); ++n_) {   \
    const uint row = (thread_index() + n_ * THREADS) / (packs);   \
    const uint pack = (thread_index() + n_ * THREADS) % (packs);  \
    if (there) tile[(at) + row * (stride) + pack] = source;       \
  }
#define FETCH(fetched, rows, packs, source) FETCH_WHERE(row < (rows), fetched, rows, packs, source)
#define PLACE_EACH(tile, at, stride, rows, packs, source) PLACE_WHERE(row < (rows), tile, at, stride, rows, packs, source)
#define PLACE_AT(tile, at, stride, rows, packs, fetched) PLACE_EACH(tile, at, stride, rows, packs, cell(fetched[n_]))
#define PLACE(tile, stride, rows, packs, fetched) PLACE_AT(tile, 0, stride, rows, packs, fetched)
#define STAGE(tile, stride, rows, packs, source)                       \
  UNROLLED for (uint i_ = thread_index(); i_ < (rows) * (packs); i_ += THREADS) { \
    const uint row = i_ / (packs), pack = i_ % (packs);                \
    tile[row * (stride) + pack] = cell(source);                        \
  }
