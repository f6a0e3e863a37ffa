// C = alpha A B (or A B^T), or C += the same, a matrix of the batch along z, from 16-bit factors on matrix units: tiles
// of 128 x 128 of C, 32 of k at a time.
//
// Eight subgroups, each 64 x 32 of C in eight cooperative matrices of float32: six loads from shared memory give eight
// products. Without [[unroll]] NVIDIA's compiler keeps the sums in memory, three times slower (H200: 31 Tflop/s, not 101).
// Shared memory: two stages of A's rows [128][32] and of B's (B^T: [128][32]; B: [32][128]), rows a pack of eight elements
// longer than they need be, so that a column of packs meets every bank: 40 KiB. The next stage is on its way while this
// one is multiplied. Tiles leave through the same memory, since C may be of any type.
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "matrices.glsl"
#include "compute.glsl"

layout(constant_id = 2) const uint OUT_TYPE = 0;
layout(constant_id = 3) const bool TRANSPOSE_B = false;
layout(constant_id = 4) const uint STAGES = 2;  // one where shared memory holds no second

layout(binding = 0) readonly buffer ABuffer { uvec4 data[]; } a;
layout(binding = 1) readonly buffer BBuffer { uvec4 data[]; } b;
layout(binding = 2) buffer CBuffer { uint data[]; } c;

layout(push_constant) uniform Sizes {
  uint m, n, k;
  uint a_at, a_row, a_matrix;
  uint b_at, b_row, b_matrix;
  uint c_at, c_row, c_matrix;
  uint accumulate;
  float alpha;
};

const uint SIDE = 128, SLAB = 32;                                   // of a workgroup's tile of C, and of k at a time
const uint A_LINE = SLAB / PACK + 1;                                 // packs a row
const uint B_LINE = TRANSPOSE_B ? A_LINE : SIDE / PACK + 1;
const uint A_PACKS = SIDE * A_LINE, STAGE = 2 * A_PACKS;             // B^T is the larger of B's two
shared uvec4 tiles[STAGES * STAGE];

const uint THREAD_PACKS = SIDE * SLAB / PACK / THREADS;  // that a thread fetches, of A and of B
const uint ROWS = 4, COLUMNS = 2;                        // tiles of 16 x 16 of a subgroup

// Rows and columns from here of C, from the subgroup's own 1 KiB: a lane takes eight columns of a row at a time.
void finish(uint tile_row, uint tile_col, uint scratch) {
  TEAM_BARRIER;
  for (uint lane = gl_SubgroupInvocationID; lane < 32; lane += TEAM_SIZE) {
    const uint row = tile_row + lane / 2;
    for (uint quad = 0; quad < 2; ++quad) {
      const uint col = tile_col + lane % 2 * 8 + quad * 4;
      vec4 value = alpha * uintBitsToFloat(tiles[scratch + lane * 2 + quad]);
      const uint at = c_at + gl_WorkGroupID.z * c_matrix + row * c_row + col;
      for (uint pair = 0; pair < 4; pair += 2) {
        if (row >= m || col + pair >= n) continue;
        const bool both = col + pair + 1 < n;
        vec2 two = vec2(value[pair], value[pair + 1]);
        if (accumulate != 0) {
          two.x += LOAD(c, at + pair, OUT_TYPE);
          if (both) two.y += LOAD(c, at + pair + 1, OUT_TYPE);
        }
        STORE_PAIR(c, at + pair, OUT_TYPE, two, both)
      }
    }
  }
  TEAM_BARRIER;
}

void main() {
  const uint thread = gl_LocalInvocationIndex, team = team_index();
  const uint first_row = gl_WorkGroupID.y * SIDE, first_col = gl_WorkGroupID.x * SIDE;
  const uint a_first = a_at + gl_WorkGroupID.z * a_matrix, b_first = b_at + gl_WorkGroupID.z * b_matrix;
  const uint my_row = team / 4 * (ROWS * TILE), my_col = team % 4 * (COLUMNS * TILE);

  Sum sums[ROWS * COLUMNS];
  UNROLLED for (uint i = 0; i < ROWS * COLUMNS; ++i) sums[i] = EMPTY;

  uvec4 from_a[THREAD_PACKS], from_b[THREAD_PACKS];
  const uint slabs = (k + SLAB - 1) / SLAB;
  for (uint slab = 0; slab <= slabs; ++slab) {
    // Fetches a slab, multiplies the one before, then stores what came.
    if (slab < slabs) {
      UNROLLED for (uint i = 0; i < THREAD_PACKS; ++i) {
        const uint at = thread + THREADS * i, line = at / (SLAB / PACK), kk = slab * SLAB + at % (SLAB / PACK) * PACK;
        const uint row = first_row + line;
        from_a[i] = row < m && kk < k ? a.data[(a_first + row * a_row + kk) / PACK] : uvec4(0);
        if (TRANSPOSE_B) {
          const uint col = first_col + line;
          from_b[i] = col < n && kk < k ? b.data[(b_first + col * b_row + kk) / PACK] : uvec4(0);
        } else {
          const uint depth = slab * SLAB + at / (SIDE / PACK), col = first_col + at % (SIDE / PACK) * PACK;
          from_b[i] = col < n && depth < k ? b.data[(b_first + depth * b_row + col) / PACK] : uvec4(0);
        }
      }
    }
    if (slab > 0) {
      const uint stage = (slab - 1) % STAGES * STAGE;
      UNROLLED for (uint kk = 0; kk < SLAB; kk += DEPTH) {
        Right right[COLUMNS];
        UNROLLED for (uint j = 0; j < COLUMNS; ++j) {
          const uint col = my_col + j * TILE;
          if (TRANSPOSE_B) {
            LOAD_RIGHT_TRANSPOSED(right[j], tiles, stage + A_PACKS + col * B_LINE + kk / PACK, B_LINE);
          } else {
            LOAD_RIGHT(right[j], tiles, stage + A_PACKS + kk * B_LINE + col / PACK, B_LINE);
          }
        }
        UNROLLED for (uint i = 0; i < ROWS; ++i) {
          Left left;
          LOAD_LEFT(left, tiles, stage + (my_row + i * TILE) * A_LINE + kk / PACK, A_LINE);
          UNROLLED for (uint j = 0; j < COLUMNS; ++j) MULTIPLY_ADD(sums[i * COLUMNS + j], left, right[j]);
        }
      }
    }
    if (STAGES == 1) barrier();
    if (slab < slabs) {
      const uint stage = slab % STAGES * STAGE;
      UNROLLED for (uint i = 0; i < THREAD_PACKS; ++i) {
        const uint at = thread + THREADS * i;
        tiles[stage + at / (SLAB / PACK) * A_LINE + at % (SLAB / PACK)] = from_a[i];
        const uint packs = TRANSPOSE_B ? SLAB / PACK : SIDE / PACK;
        tiles[stage + A_PACKS + at / packs * B_LINE + at % packs] = from_b[i];
      }
    }
    barrier();
  }

  const uint scratch = team * 64;
  UNROLLED for (uint i = 0; i < ROWS; ++i) {
    UNROLLED for (uint j = 0; j < COLUMNS; ++j) {
      STORE_FLOATS(sums[i * COLUMNS + j], tiles, scratch, 4);
      finish(first_row + my_row + i * TILE, first_col + my_col + j * TILE, scratch);
    }
  }
}
