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
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#include "compute.glsl"

layout(constant_id = 1) const uint OUT_TYPE = 0;
layout(constant_id = 2) const bool TRANSPOSE_B = false;

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

const uint PACK = 8, TILE = 128, DEPTH = 32, UNIT = 16;
const uint A_LINE = DEPTH / PACK + 1;                                // packs a row
const uint B_LINE = TRANSPOSE_B ? A_LINE : TILE / PACK + 1;
const uint A_PACKS = TILE * A_LINE, STAGE = 2 * A_PACKS;             // B^T is the larger of B's two
shared uvec4 tiles[2 * STAGE];

const uint FETCHES = TILE * DEPTH / PACK / 256;  // packs a thread, of A and of B
const uint ROWS = 4, COLUMNS = 2;                // cooperative matrices of a subgroup

#define Sum coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define Left coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define Right coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>

// Rows and columns from here of C, from the subgroup's own 1 KiB: a lane takes eight columns of a row.
void finish(uint tile_row, uint tile_col, uint scratch) {
  const uint lane = gl_SubgroupInvocationID;
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
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
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint first_row = gl_WorkGroupID.y * TILE, first_col = gl_WorkGroupID.x * TILE;
  const uint a_first = a_at + gl_WorkGroupID.z * a_matrix, b_first = b_at + gl_WorkGroupID.z * b_matrix;
  const uint my_row = gl_SubgroupID / 4 * (ROWS * UNIT), my_col = gl_SubgroupID % 4 * (COLUMNS * UNIT);

  Sum sums[ROWS * COLUMNS];
  [[unroll]] for (uint i = 0; i < ROWS * COLUMNS; ++i) sums[i] = Sum(0);

  uvec4 from_a[FETCHES], from_b[FETCHES];
  const uint steps = (k + DEPTH - 1) / DEPTH;
  for (uint step = 0; step <= steps; ++step) {
    // Fetches stage `step`, multiplies the one before, then stores what came.
    if (step < steps) {
      [[unroll]] for (uint i = 0; i < FETCHES; ++i) {
        const uint at = thread + 256 * i, line = at / (DEPTH / PACK), kk = step * DEPTH + at % (DEPTH / PACK) * PACK;
        const uint row = first_row + line;
        from_a[i] = row < m && kk < k ? a.data[(a_first + row * a_row + kk) / PACK] : uvec4(0);
        if (TRANSPOSE_B) {
          const uint col = first_col + line;
          from_b[i] = col < n && kk < k ? b.data[(b_first + col * b_row + kk) / PACK] : uvec4(0);
        } else {
          const uint depth = step * DEPTH + at / (TILE / PACK), col = first_col + at % (TILE / PACK) * PACK;
          from_b[i] = col < n && depth < k ? b.data[(b_first + depth * b_row + col) / PACK] : uvec4(0);
        }
      }
    }
    if (step > 0) {
      const uint stage = (step - 1) % 2 * STAGE;
      [[unroll]] for (uint kk = 0; kk < DEPTH; kk += UNIT) {
        Right right[COLUMNS];
        [[unroll]] for (uint j = 0; j < COLUMNS; ++j) {
          const uint col = my_col + j * UNIT;
          if (TRANSPOSE_B)
            coopMatLoad(right[j], tiles, stage + A_PACKS + col * B_LINE + kk / PACK, B_LINE,
                        gl_CooperativeMatrixLayoutColumnMajor);
          else
            coopMatLoad(right[j], tiles, stage + A_PACKS + kk * B_LINE + col / PACK, B_LINE,
                        gl_CooperativeMatrixLayoutRowMajor);
        }
        [[unroll]] for (uint i = 0; i < ROWS; ++i) {
          Left left;
          coopMatLoad(left, tiles, stage + (my_row + i * UNIT) * A_LINE + kk / PACK, A_LINE,
                      gl_CooperativeMatrixLayoutRowMajor);
          [[unroll]] for (uint j = 0; j < COLUMNS; ++j)
            sums[i * COLUMNS + j] = coopMatMulAdd(left, right[j], sums[i * COLUMNS + j]);
        }
      }
    }
    if (step < steps) {
      const uint stage = step % 2 * STAGE;
      [[unroll]] for (uint i = 0; i < FETCHES; ++i) {
        const uint at = thread + 256 * i;
        tiles[stage + at / (DEPTH / PACK) * A_LINE + at % (DEPTH / PACK)] = from_a[i];
        const uint packs = TRANSPOSE_B ? DEPTH / PACK : TILE / PACK;
        tiles[stage + A_PACKS + at / packs * B_LINE + at % packs] = from_b[i];
      }
    }
    barrier();
  }

  const uint scratch = gl_SubgroupID * 64;
  [[unroll]] for (uint i = 0; i < ROWS; ++i) {
    [[unroll]] for (uint j = 0; j < COLUMNS; ++j) {
      coopMatStore(sums[i * COLUMNS + j], tiles, scratch, 4, gl_CooperativeMatrixLayoutRowMajor);
      finish(first_row + my_row + i * UNIT, first_col + my_col + j * UNIT, scratch);
    }
  }
}
