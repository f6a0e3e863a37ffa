// o of VALUE_TILE columns of a head, each chunk by itself, summed over the subheads in their order:
//   O = scale sum_e [ (Q ∘ e^γ) S + P U ] = scale sum_e [ Q ∘ e^γ  P ] [ S; U ]
// as one sum over slabs of at most 64 of the depth: a subhead's K by 64 and then its chunk. A slab is fetched while the one
// before it is multiplied. (A second place for it, and a barrier less, was slower on an H200: fewer workgroups fit.)
//
// Shared memory, Cell: lefts, the larger of a slab [C][64 / PACK + 1] and O [C][VALUE_TILE / PACK + 1]; where matrices are
// cooperative rights, a slab [VALUE_TILE][64 / PACK + 1] of S^T or U^T.
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
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
#define QUERIES decayed_q
#else
#define QUERIES q
#endif

const uint SLAB = 64;
const uint SLAB_PACKS = SLAB / PACK;
const uint SLAB_STRIDE = SLAB_PACKS + 1;
const uint KEY_SLABS = (KEY_DIM + SLAB - 1) / SLAB;
const uint SLABS = KEY_SLABS + 1;  // of a subhead
const bool WHOLE_SLABS = KEY_DIM % SLAB == 0 && CHUNK == SLAB;

const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint ROW_STEP = TEAMS / COLUMN_TILES;  // teams that share a column of tiles
const uint O_TILES = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;
const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;

shared Cell lefts[CHUNK * LARGER(SLAB_STRIDE, VALUE_STRIDE)];
#if COOPERATIVE
shared Cell rights[VALUE_TILE * SLAB_STRIDE];
#endif

#if RULE == GATED_DELTA
#define VALUES_PART(part) (part)
#else
#define VALUES_PART(part) (chunk.slot * heads + head)
#endif
#define VALUES_AT(part) ((VALUES_PART(part) * value_dim + first_column) * CHUNK_PACKS)

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
  UNROLLED for (uint n = 0; n < O_TILES; ++n) sums[n] = EMPTY;

  // Of the slab under way.
  Pack fetched_lefts[FETCHES(CHUNK, SLAB_PACKS)];
#if COOPERATIVE
  Pack fetched_rights[FETCHES(VALUE_TILE, SLAB_PACKS)];
#define FETCH_RIGHTS(source) FETCH(fetched_rights, VALUE_TILE, SLAB_PACKS, source)
#else
#define FETCH_RIGHTS(source)
#endif
#if RULE == SSD || RULE == GATED_DELTA
  float fetched_gammas[FETCHES(CHUNK, SLAB_PACKS)];
#define FETCH_GAMMAS FETCH(fetched_gammas, CHUNK, SLAB_PACKS, gamma.data[part * CHUNK + row])
#else
#define FETCH_GAMMAS
#endif
#if RULE == GLA
#define QUERY_ROWS part_rows(part)
#else
#define QUERY_ROWS qk_rows(chunk, head, subhead)
#endif
#define FETCH_SLAB(slab)                                                                                          \
  {                                                                                                               \
    const uint subhead = (slab) / SLABS, first_pack = (slab) % SLABS * SLAB_PACKS;                                \
    const uint part = part_of(chunk, head, subhead);                                                              \
    if ((slab) % SLABS < KEY_SLABS) {                                                                             \
      const Rows rows = QUERY_ROWS;                                                                               \
      FETCH(fetched_lefts, CHUNK, SLAB_PACKS,                                                                     \
            row < rows.count && (WHOLE_SLABS || first_pack + pack < KEY_PACKS)                                    \
                ? QUERIES.data[rows.first + row * rows.stride + first_pack + pack]                                \
                : Pack(0))                                                                                        \
      FETCH_GAMMAS                                                                                                \
      FETCH_RIGHTS(WHOLE_SLABS || first_pack + pack < KEY_PACKS                                                   \
                       ? states.data[(part * value_dim + first_column + row) * KEY_PACKS + first_pack + pack]     \
                       : Pack(0))                                                                                 \
    } else {                                                                                                      \
      FETCH(fetched_lefts, CHUNK, SLAB_PACKS,                                                                     \
            pack * PACK / TILE <= row / TILE && (WHOLE_SLABS || pack < CHUNK_PACKS)                               \
                ? scores.data[(part * CHUNK + row) * CHUNK_PACKS + pack]                                          \
                : Pack(0))                                                                                        \
      FETCH_RIGHTS(WHOLE_SLABS || pack < CHUNK_PACKS ? corrected.data[VALUES_AT(part) + row * CHUNK_PACKS + pack] \
                                                     : Pack(0))                                                   \
    }                                                                                                             \
  }

  FETCH_SLAB(0)
  for (uint slab = 0; slab < expansion * SLABS; ++slab) {
    const bool of_chunk = slab % SLABS == KEY_SLABS;  // P and U, not Q and S
    barrier();
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, SLAB_PACKS); ++n) {
      const uint row = (thread + n * THREADS) / SLAB_PACKS, pack = (thread + n * THREADS) % SLAB_PACKS;
      if (row >= CHUNK) continue;
#if RULE == SSD || RULE == GATED_DELTA
      if (!of_chunk) {
        lefts[row * SLAB_STRIDE + pack] = cell(scaled(widen(fetched_lefts[n]), exp(fetched_gammas[n])));
        continue;
      }
#endif
      lefts[row * SLAB_STRIDE + pack] = cell(fetched_lefts[n]);
    }
#if COOPERATIVE
    PLACE(rights, SLAB_STRIDE, VALUE_TILE, SLAB_PACKS, fetched_rights)
#endif
    barrier();
    if (slab + 1 < expansion * SLABS) FETCH_SLAB(slab + 1)

    const uint depth = of_chunk ? CHUNK : min(KEY_DIM - slab % SLABS * SLAB, SLAB);
#if !COOPERATIVE
    const uint part = part_of(chunk, head, slab / SLABS);
    const uint states_at = (part * value_dim + first_column + column) * KEY_PACKS + slab % SLABS * SLAB_PACKS;
#endif
    UNROLLED for (uint d = 0; d < steps(SLAB); d += DEPTH) {
      if (!WHOLE_SLABS && d >= depth) break;
      Right right;
#if COOPERATIVE
      LOAD_RIGHT_TRANSPOSED(right, rights, column * SLAB_STRIDE + d / PACK, SLAB_STRIDE);
#else
      if (of_chunk) {
        LOAD_RIGHT_TRANSPOSED(right, corrected.data, VALUES_AT(part) + column * CHUNK_PACKS + d / PACK, CHUNK_PACKS);
      } else {
        LOAD_RIGHT_TRANSPOSED(right, states.data, states_at + d / PACK, KEY_PACKS);
      }
#endif
      UNROLLED for (uint n = 0; n < O_TILES; ++n) {
        const uint row = first_row + n * ROW_STEP * TILE;
        if (row >= CHUNK || (of_chunk && d >= row + TILE)) continue;
        Left left;
        LOAD_LEFT(left, lefts, row * SLAB_STRIDE + d / PACK, SLAB_STRIDE);
        MULTIPLY_ADD(sums[n], left, right);
      }
    }
  }

  barrier();
  UNROLLED for (uint n = 0; n < O_TILES; ++n) {
    const uint row = first_row + n * ROW_STEP * TILE;
    if (row >= CHUNK) continue;
    sums[n] = SCALED(sums[n], scale);
    STORE_CELLS(sums[n], lefts, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
  }
  barrier();
  for (uint i = thread; i < chunk.tokens * VALUE_PACKS; i += THREADS) {
    const uint row = i / VALUE_PACKS, pack = i % VALUE_PACKS;
    o.data[((chunk.begin + row) * heads + head) * value_packs + first_column / PACK + pack] =
        pack_of(lefts[row * VALUE_STRIDE + pack]);
  }
}
