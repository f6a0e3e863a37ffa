// C = alpha A B (or A B^T), or C += the same, a matrix of the batch along z, from 16-bit factors on matrix units.
//
// A workgroup has SIDE_M x SIDE_N of C, its subgroups in rows of ACROSS; each holds ROWS x COLUMNS cooperative matrices of
// float32, so that 4 + 4 loads from shared memory give 16 products. The loop multiplies in every round: under a condition
// NVIDIA's compiler keeps the sums in memory, as it does without [[unroll]] (H200: 165 Tflop/s without the condition, 122 with).
//
// Shared memory: STAGES of SLAB of the depth of A [SIDE_M][SLAB] and of B ([SLAB][SIDE_N], or B^T [SIDE_N][SLAB]), rows a
// pack of eight elements longer than they need be, so that a column of packs meets every bank. A slab is on its way while
// the one before is multiplied. Tiles leave through the same memory, 1 KiB a subgroup: packs of C's own type.
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "matrices.glsl"
#include "compute.glsl"

layout(constant_id = 2) const uint OUT_TYPE = 0;
layout(constant_id = 3) const bool TRANSPOSE_B = false;
layout(constant_id = 4) const uint STAGES = 2;  // one where shared memory holds no second
layout(constant_id = 5) const uint ROWS = 4;    // tiles of 16 x 16 of a subgroup
layout(constant_id = 6) const uint COLUMNS = 4;
layout(constant_id = 9) const uint ACROSS = 2;
layout(constant_id = 14) const uint SLAB = 16;

layout(binding = 0) readonly buffer ABuffer { Pack data[]; } a;
layout(binding = 1) readonly buffer BBuffer { Pack data[]; } b;
layout(binding = 2) buffer CBuffer { uvec4 data[]; } c;

layout(push_constant) uniform Sizes {
  uint m, n, k;
  uint a_at, a_row, a_matrix;
  uint b_at, b_row, b_matrix;
  uint c_at, c_row, c_matrix;
  uint accumulate;
  float alpha;
};

const uint SIDE_M = TEAMS / ACROSS * ROWS * TILE, SIDE_N = ACROSS * COLUMNS * TILE;
const uint SLAB_PACKS = SLAB / PACK, COLUMN_PACKS = SIDE_N / PACK;
const uint A_LINE = SLAB_PACKS + 1;  // packs a row
const uint B_LINE = TRANSPOSE_B ? A_LINE : COLUMN_PACKS + 1;
const uint A_PACKS = SIDE_M * A_LINE, STAGE = A_PACKS + (TRANSPOSE_B ? SIDE_N : SLAB) * B_LINE;
const uint FLOATS = TILE * TILE / 4;  // quads of a subgroup's tile on its way out
shared uvec4 tiles[STAGES * STAGE > TEAMS * FLOATS ? STAGES * STAGE : TEAMS * FLOATS];

Pack a_pack(uint row, uint depth) {
  if (row >= m || depth >= k) return Pack(0);
  return a.data[(a_at + gl_WorkGroupID.z * a_matrix + row * a_row + depth) / PACK];
}
Pack b_pack(uint depth, uint column) {
  if (depth >= k || column >= n) return Pack(0);
  const uint at = TRANSPOSE_B ? column * b_row + depth : depth * b_row + column;
  return b.data[(b_at + gl_WorkGroupID.z * b_matrix + at) / PACK];
}

#define FETCH_SLAB(depth)                                                                \
  FETCH(from_a, SIDE_M, SLAB_PACKS, a_pack(first_row + row, (depth) + pack * PACK))      \
  if (TRANSPOSE_B) {                                                                     \
    FETCH(from_b, SIDE_N, SLAB_PACKS, b_pack((depth) + pack * PACK, first_column + row)) \
  } else {                                                                               \
    FETCH(from_b, SLAB, COLUMN_PACKS, b_pack((depth) + row, first_column + pack * PACK)) \
  }
#define PLACE_SLAB(at)                                                     \
  PLACE_AT(tiles, at, A_LINE, SIDE_M, SLAB_PACKS, from_a)                  \
  if (TRANSPOSE_B) {                                                       \
    PLACE_AT(tiles, (at) + A_PACKS, B_LINE, SIDE_N, SLAB_PACKS, from_b)    \
  } else {                                                                 \
    PLACE_AT(tiles, (at) + A_PACKS, B_LINE, SLAB, COLUMN_PACKS, from_b)    \
  }

// Rows and columns from here of C, from the subgroup's own memory: a lane takes eight columns of a row at a time.
void finish(uint tile_row, uint tile_column, uint own) {
  TEAM_BARRIER;
  for (uint lane = gl_SubgroupInvocationID; lane < TILE * LINE; lane += TEAM_SIZE) {
    const uint row = tile_row + lane / LINE, column = tile_column + lane % LINE * PACK;
    if (row >= m || column >= n) continue;
    const uint at = c_at + gl_WorkGroupID.z * c_matrix + row * c_row + column;
    Values values = Values(uintBitsToFloat(tiles[own + lane * 2]), uintBitsToFloat(tiles[own + lane * 2 + 1]));
    values = scaled(values, alpha);
    if (OUT_TYPE == F32) {
      if (accumulate != 0)
        values = sum_of(values, Values(uintBitsToFloat(c.data[at / 4]), uintBitsToFloat(c.data[at / 4 + 1])));
      c.data[at / 4] = floatBitsToUint(values.low);
      c.data[at / 4 + 1] = floatBitsToUint(values.high);
    } else {
      if (accumulate != 0) values = sum_of(values, widen(c.data[at / PACK]));
      c.data[at / PACK] = narrow(values);
    }
  }
  TEAM_BARRIER;
}

void main() {
  const uint team = team_index();
  const uint first_row = gl_WorkGroupID.y * SIDE_M, first_column = gl_WorkGroupID.x * SIDE_N;
  const uint own_row = team / ACROSS * ROWS * TILE, own_column = team % ACROSS * COLUMNS * TILE;

  Sum sums[ROWS * COLUMNS];
  UNROLLED for (uint i = 0; i < ROWS * COLUMNS; ++i) sums[i] = EMPTY;

  Pack from_a[FETCHES(SIDE_M, SLAB_PACKS)], from_b[FETCHES(SIDE_N, SLAB_PACKS)];
  FETCH_SLAB(0)
  PLACE_SLAB(0)
  barrier();
  for (uint slab = 0; slab * SLAB < k; ++slab) {
    FETCH_SLAB((slab + 1) * SLAB)  // behind the last one there are zeros
    const uint stage = slab % STAGES * STAGE;
    UNROLLED for (uint depth = 0; depth < SLAB; depth += DEPTH) {
      Right right[COLUMNS];
      UNROLLED for (uint j = 0; j < COLUMNS; ++j) {
        const uint column = own_column + j * TILE;
        if (TRANSPOSE_B) {
          LOAD_RIGHT_TRANSPOSED(right[j], tiles, stage + A_PACKS + column * B_LINE + depth / PACK, B_LINE);
        } else {
          LOAD_RIGHT(right[j], tiles, stage + A_PACKS + depth * B_LINE + column / PACK, B_LINE);
        }
      }
      UNROLLED for (uint i = 0; i < ROWS; ++i) {
        Left left;
        LOAD_LEFT(left, tiles, stage + (own_row + i * TILE) * A_LINE + depth / PACK, A_LINE);
        UNROLLED for (uint j = 0; j < COLUMNS; ++j) MULTIPLY_ADD(sums[i * COLUMNS + j], left, right[j]);
      }
    }
    if (STAGES == 1) barrier();
    PLACE_SLAB((slab + 1) % STAGES * STAGE)
    barrier();
  }

  const uint own = team * FLOATS;
  UNROLLED for (uint i = 0; i < ROWS; ++i) {
    UNROLLED for (uint j = 0; j < COLUMNS; ++j) {
      STORE_FLOATS(sums[i * COLUMNS + j], tiles, own, 4);
      finish(first_row + own_row + i * TILE, first_column + own_column + j * TILE, own);
    }
  }
}
