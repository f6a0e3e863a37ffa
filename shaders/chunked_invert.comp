// gated_delta: A = (I + L)^{-1}, L = G diag(beta), for each chunk of each subhead by itself. (beta by column:
// A (V - e^γ ∘ K S) is then what beta multiplies, and backward needs no division by it.)
//
// The 16 x 16 blocks on the diagonal first, a row an invocation, by substitution in float32; then blocks of twice the
// size from pairs of them,
//   (A11 0; L21 A22)  ->  A21 = -A22 (L21 A11)
// with L21 A11 kept above the diagonal. What such a block leaves there is not read again. Of every size there are
// C / 32 columns of tiles below the diagonal: a team takes one, and needs only its own column of L21 A11.
//
// Where matrices are cooperative, their elements here are f16 whatever those of the problem: L and A are of order one for
// keys of about unit length, and f16 keeps three bits more than the bf16 that A may be stored in.
//
// Shared memory: square Cell [C][C / PACK + 1], betas float [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"

#if STORAGE_BITS == 16
layout(constant_id = 9) const bool BFLOAT16_OUT = true;  // the type of A; the constant BFLOAT16 is false
#endif

layout(binding = 5) readonly buffer SystemBuffer { Cell data[]; } system;     // [parts, C, C], in 16 x 16 tiles with j <= i: G
layout(binding = 6) readonly buffer BetaBuffer { float data[]; } beta;        // [B, T, H, E]
layout(binding = 7) writeonly buffer InverseBuffer { Pack data[]; } inverse;  // [parts, C, C], as system

shared Cell square[CHUNK * CHUNK_STRIDE];  // L, and its inverse in the same place
shared vec4 betas[CHUNK / 4];

#if STORAGE_BITS == 16
Quad stored(vec4 x) {
  return BFLOAT16_OUT ? uvec2(bfloat16_bits(x.x) | bfloat16_bits(x.y) << 16, bfloat16_bits(x.z) | bfloat16_bits(x.w) << 16)
                      : narrow(x);
}
#else
Quad stored(vec4 x) { return x; }
#endif
Pack pack_out(Cell x) {
  const Values values = values_of(x);
#if COOPERATIVE
  return uvec4(stored(values.low), stored(values.high));
#else
  return stored(values);
#endif
}

// row -= factor * x, x being its elements from PACK * pack on.
void subtract(inout vec4 row[TILE / 4], uint pack, float factor, Cell x) {
#if COOPERATIVE
  const Values values = widen(x);
  row[2 * pack] -= factor * values.low;
  row[2 * pack + 1] -= factor * values.high;
#else
  row[pack] -= factor * x;
#endif
}

Cell cell_of(vec4 row[TILE / 4], uint pack) {
#if COOPERATIVE
  return cell(Values(row[2 * pack], row[2 * pack + 1]));
#else
  return row[pack];
#endif
}

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint first = part_of(chunk, head, subhead) * CHUNK * CHUNK_PACKS;

  Cell fetched[FETCHES(CHUNK, CHUNK_PACKS)];
  FETCH(fetched, CHUNK, CHUNK_PACKS,
        pack * PACK / TILE <= row / TILE ? system.data[first + row * CHUNK_PACKS + pack] : Cell(0))
  for (uint i = thread; i < CHUNK; i += THREADS)
    betas[i / 4][i % 4] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
  barrier();
  for (uint n = 0; n < FETCHES(CHUNK, CHUNK_PACKS); ++n) {
    const uint row = (thread + n * THREADS) / CHUNK_PACKS, pack = (thread + n * THREADS) % CHUNK_PACKS;
    if (row < CHUNK)
      square[row * CHUNK_STRIDE + pack] =
          cell(product(values_of(fetched[n]), VALUES_FROM(betas, pack * PACK / 4)));
  }
  barrier();

  // X (I + L) = I, from the last column to the first: once x_im is known, it is taken out of all before it.
  for (uint begin = 0; begin < CHUNK; begin += THREADS) {  // the workgroup may have fewer invocations than there are rows
    const uint row = begin + thread, i = thread % TILE, block = row - i;
    const bool takes_part = row < CHUNK;
    vec4 inverted[TILE / 4];
    for (uint m = 0; m < TILE / 4; ++m) inverted[m] = vec4(equal(uvec4(4 * m, 4 * m + 1, 4 * m + 2, 4 * m + 3), uvec4(i)));
    if (takes_part) {
      [[unroll]] for (uint n = 1; n < TILE; ++n) {
        const uint m = TILE - n;
        const float factor = inverted[m / 4][m % 4];
        [[unroll]] for (uint pack = 0; pack <= (m - 1) / PACK; ++pack)
          subtract(inverted, pack, factor, square[(block + m) * CHUNK_STRIDE + block / PACK + pack]);
      }
    }
    barrier();
    if (takes_part) {
      for (uint pack = 0; pack < LINE; ++pack) square[row * CHUNK_STRIDE + block / PACK + pack] = cell_of(inverted, pack);
    }
  }
  barrier();

  for (uint size = TILE; size < CHUNK; size *= 2) {
    const uint tiles = size / TILE;  // of a block's side
    for (uint item = team; item < CHUNK / (2 * TILE); item += TEAMS) {
      const uint upper = item / tiles * 2 * size, lower = upper + size, column = upper + item % tiles * TILE;
      for (uint row = 0; row < size; row += TILE) {
        Sum sum = EMPTY;
        for (uint m = column; m < lower; m += DEPTH) {
          Left left;
          Right right;
          LOAD_LEFT(left, square, (lower + row) * CHUNK_STRIDE + m / PACK, CHUNK_STRIDE);
          LOAD_RIGHT(right, square, m * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE);
          MULTIPLY_ADD(sum, left, right);
        }
        STORE_CELLS(sum, square, (upper + row) * CHUNK_STRIDE + (column + size) / PACK, CHUNK_STRIDE);
      }
    }
    barrier();
    for (uint item = team; item < CHUNK / (2 * TILE); item += TEAMS) {
      const uint upper = item / tiles * 2 * size, lower = upper + size, column = upper + item % tiles * TILE;
      for (uint row = 0; row < size; row += TILE) {
        Sum sum = EMPTY;
        for (uint m = 0; m < row + TILE; m += DEPTH) {
          Left left;
          Right right;
          LOAD_LEFT(left, square, (lower + row) * CHUNK_STRIDE + (lower + m) / PACK, CHUNK_STRIDE);
          LOAD_RIGHT(right, square, (upper + m) * CHUNK_STRIDE + (column + size) / PACK, CHUNK_STRIDE);
          MULTIPLY_ADD(sum, left, right);
        }
        sum = SCALED(sum, -1.0);
        STORE_CELLS(sum, square, (lower + row) * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE);
      }
    }
    barrier();
  }

  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE <= row / TILE) inverse.data[first + i] = pack_out(square[row * CHUNK_STRIDE + pack]);
  }
}
