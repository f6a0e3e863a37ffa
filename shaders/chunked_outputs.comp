// o of VALUE_TILE columns of a head, each chunk by itself, summed over the subheads in their order:
//   O = scale sum_e [ (Q ∘ e^γ) S + P U ]
//
// Shared memory, Cell: lefts, the longest of Q ∘ e^γ [C][K / PACK + 1], P [C][C / PACK + 1] and O
// [C][VALUE_TILE / PACK + 1]; where matrices are cooperative rights, the longer of S^T [VALUE_TILE][K / PACK + 1] and U^T
// [VALUE_TILE][C / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer ScoresBuffer { Pack data[]; } scores;        // [parts, C, C]: P
layout(binding = 6) readonly buffer StatesBuffer { Pack data[]; } states;        // [parts, V, K]: S^T
// gated_delta [parts, V, C]; else [slots, H, V, C]: U^T
layout(binding = 7) readonly buffer CorrectedBuffer { Pack data[]; } corrected;
layout(binding = 8) writeonly buffer OBuffer { Pack data[]; } o;                 // [B, T, H, V]
#if RULE == GLA
layout(binding = 9) readonly buffer DecayedQBuffer { Pack data[]; } decayed_q;   // [parts, C, K]: Q ∘ e^γ
#endif

const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint ROW_STEP = TEAMS / COLUMN_TILES;  // teams that share a column of tiles
const uint O_TILES = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;
const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint LONGER_STRIDE = KEY_STRIDE > CHUNK_STRIDE ? KEY_STRIDE : CHUNK_STRIDE;

shared Cell lefts[CHUNK * (LONGER_STRIDE > VALUE_STRIDE ? LONGER_STRIDE : VALUE_STRIDE)];
#if COOPERATIVE
shared Cell rights[VALUE_TILE * LONGER_STRIDE];
#endif

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y;
  const uint value_packs = value_dim / PACK;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint first_column = gl_WorkGroupID.z * VALUE_TILE;
  const uint column = team % COLUMN_TILES * TILE;  // of this team's tiles, which are ROW_STEP tiles apart
  const uint first_row = team / COLUMN_TILES * TILE;

  Sum sums[O_TILES];
  for (uint n = 0; n < O_TILES; ++n) sums[n] = EMPTY;

// What a team adds up: rows of `lefts` times columns that lie in `memory` from `at` on.
#define ADD_PRODUCTS(depth, left_stride, memory, at, right_stride, wanted)                       \
  for (uint d = 0; d < steps(depth); d += DEPTH) {                                               \
    Right right;                                                                                 \
    LOAD_RIGHT_TRANSPOSED(right, memory, (at) + column * (right_stride) + d / PACK, right_stride); \
    for (uint n = 0; n < O_TILES; ++n) {                                                         \
      const uint row = first_row + n * ROW_STEP * TILE;                                          \
      if (row >= CHUNK || !(wanted)) continue;                                                   \
      Left left;                                                                                 \
      LOAD_LEFT(left, lefts, row * (left_stride) + d / PACK, left_stride);                       \
      MULTIPLY_ADD(sums[n], left, right);                                                        \
    }                                                                                            \
  }

  for (uint subhead = 0; subhead < expansion; ++subhead) {
    const uint part = part_of(chunk, head, subhead);
#if RULE == GLA
    const Rows rows = part_rows(part);
#else
    const Rows rows = qk_rows(chunk, head, subhead);
#endif
#if RULE == GATED_DELTA
    const uint values_part = part;
#else
    const uint values_part = chunk.slot * heads + head;
#endif
    const uint states_at = (part * value_dim + first_column) * KEY_PACKS;
    const uint values_at = (values_part * value_dim + first_column) * CHUNK_PACKS;
    const uint scores_at = part * CHUNK * CHUNK_PACKS;

    barrier();
    for (uint i = thread; i < CHUNK * KEY_PACKS; i += THREADS) {
      const uint row = i / KEY_PACKS, pack = i % KEY_PACKS;
      Cell x = Cell(0);
      if (row < rows.count) {
        const uint at = rows.first + row * rows.stride + pack;
#if RULE == LINEAR
        x = cell(q.data[at]);
#elif RULE == GLA
        x = cell(decayed_q.data[at]);
#else
        x = cell(scaled(widen(q.data[at]), exp(gamma.data[part * CHUNK + row])));
#endif
      }
      lefts[row * KEY_STRIDE + pack] = x;
    }
#if COOPERATIVE
    STAGE(rights, KEY_STRIDE, VALUE_TILE, KEY_PACKS, states.data[states_at + row * KEY_PACKS + pack])
    Pack values[FETCHES(VALUE_TILE, CHUNK_PACKS)];
    FETCH(values, VALUE_TILE, CHUNK_PACKS, corrected.data[values_at + row * CHUNK_PACKS + pack])
#endif
    Pack reads[FETCHES(CHUNK, CHUNK_PACKS)];
    FETCH(reads, CHUNK, CHUNK_PACKS,
          pack * PACK / TILE <= row / TILE ? scores.data[scores_at + row * CHUNK_PACKS + pack] : Pack(0))
    barrier();
#if COOPERATIVE
    ADD_PRODUCTS(KEY_DIM, KEY_STRIDE, rights, 0, KEY_STRIDE, true)
#else
    ADD_PRODUCTS(KEY_DIM, KEY_STRIDE, states.data, states_at, KEY_PACKS, true)
#endif
    barrier();
    PLACE(lefts, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, reads)
#if COOPERATIVE
    PLACE(rights, CHUNK_STRIDE, VALUE_TILE, CHUNK_PACKS, values)
    barrier();
    ADD_PRODUCTS(CHUNK, CHUNK_STRIDE, rights, 0, CHUNK_STRIDE, d < row + TILE)
#else
    barrier();
    ADD_PRODUCTS(CHUNK, CHUNK_STRIDE, corrected.data, values_at, CHUNK_PACKS, d < row + TILE)
#endif
  }

  barrier();
  for (uint n = 0; n < O_TILES; ++n) {
    const uint row = first_row + n * ROW_STEP * TILE;
    if (row >= CHUNK) continue;
    sums[n] *= scale;
    STORE_CELLS(sums[n], lefts, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
  }
  barrier();
  for (uint i = thread; i < chunk.tokens * VALUE_PACKS; i += THREADS) {
    const uint row = i / VALUE_PACKS, pack = i % VALUE_PACKS;
    o.data[((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack] =
        pack_of(lefts[row * VALUE_STRIDE + pack]);
  }
}
