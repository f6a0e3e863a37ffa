// dv of VALUE_TILE columns of a head, each chunk by itself, of the rules without correction:
//   dV = sum_e [ (K ∘ e^{γ_C - γ}) D ] + scale (sum_e P)^T dO
//
// Shared memory, Cell: lefts, the longest of K ∘ e^{γ_C - γ} [C][K / PACK + 1], the sum of P [C][C / PACK + 1] and dV
// [C][VALUE_TILE / PACK + 1]; where matrices are cooperative rights, the longer of D^T [VALUE_TILE][K / PACK + 1] and dO
// [C][VALUE_TILE / PACK + 1].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;

layout(binding = 5) readonly buffer ScoresBuffer { Pack data[]; } scores;        // [parts, C, C]: P
layout(binding = 6) readonly buffer GradientsBuffer { Pack data[]; } gradients;  // [parts, V, K]: D^T
layout(binding = 7) readonly buffer DoBuffer { Pack data[]; } d_o;               // [B, T, H, V]
layout(binding = 8) writeonly buffer DvBuffer { Pack data[]; } dv;               // [B, T, H, V]
#if RULE == GLA
layout(binding = 9) readonly buffer DecayedKBuffer { Pack data[]; } decayed_k;   // [parts, C, K]: K ∘ e^{γ_C - γ}
#endif

const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = VALUE_TILE / TILE;
const uint ROW_STEP = TEAMS / COLUMN_TILES;  // teams that share a column of tiles
const uint TEAM_TILES = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;
const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint LONGER_STRIDE = LARGER(KEY_STRIDE, CHUNK_STRIDE);
const uint SCORE_PACKS = FETCHES(CHUNK, CHUNK_PACKS);  // an invocation's

shared Cell lefts[CHUNK * LARGER(LONGER_STRIDE, VALUE_STRIDE)];
#if COOPERATIVE
shared Cell rights[LARGER(VALUE_TILE * KEY_STRIDE, CHUNK * VALUE_STRIDE)];
#endif
#if RULE == SSD
shared vec4 decays[CHUNK / 4];  // e^{γ_C - γ}
#endif

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y;
  const uint value_packs = value_dim / PACK;
  const Chunk chunk = chunk_in(gl_WorkGroupID.z);
  if (chunk.tokens == 0) return;
  const uint first_column = gl_WorkGroupID.x * VALUE_TILE;
  const uint column = team % COLUMN_TILES * TILE;  // of this team's tiles, which are ROW_STEP tiles apart
  const uint first_row = team / COLUMN_TILES * TILE;
  const Rows outputs = Rows((chunk.begin * heads + head) * value_packs + first_column / PACK, heads * value_packs, chunk.tokens);

  Sum sums[TEAM_TILES];
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) sums[n] = EMPTY;
  Values score_sums[SCORE_PACKS];
  UNROLLED for (uint n = 0; n < SCORE_PACKS; ++n) score_sums[n] = widen(Pack(0));

  // A subhead's tiles are on their way while those of the one before it are multiplied; without cooperative matrices there are
  // no registers for them to come to.
  Pack keys[FETCHES(CHUNK, KEY_PACKS)], scored[SCORE_PACKS];
#if COOPERATIVE
  Pack fetched[FETCHES(VALUE_TILE, KEY_PACKS)];
#define FETCH_GRADIENTS FETCH(fetched, VALUE_TILE, KEY_PACKS, gradients.data[gradients_at + row * KEY_PACKS + pack])
#define PLACE_GRADIENTS PLACE(rights, KEY_STRIDE, VALUE_TILE, KEY_PACKS, fetched)
#else
#define FETCH_GRADIENTS
#define PLACE_GRADIENTS
#endif
#if RULE == SSD
  float heres[FETCHES(CHUNK, 1)], last;
#define FETCH_DECAYS                                             \
  FETCH_TOKENS(heres, gamma.data[part * CHUNK + row])            \
  last = gamma.data[part * CHUNK + CHUNK - 1];
#define PLACE_DECAYS                                             \
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, 1); ++n) {        \
    const uint i = thread + n * THREADS;                         \
    if (i < CHUNK) decays[i / 4][i % 4] = exp(last - heres[n]);  \
  }
#else
#define FETCH_DECAYS
#define PLACE_DECAYS
#endif
#if RULE == GLA
#define KEY_ROWS(subhead) part_rows(part)
#define KEY_ROW(at) decayed_k.data[at]
#else
#define KEY_ROWS(subhead) qk_rows(chunk, head, subhead)
#define KEY_ROW(at) k.data[at]
#endif
  uint gradients_at;
#define FETCH_SUBHEAD(subhead)                                                                                              \
  {                                                                                                                         \
    const uint part = part_of(chunk, head, subhead);                                                                        \
    const Rows rows = KEY_ROWS(subhead);                                                                                    \
    gradients_at = (part * value_dim + first_column) * KEY_PACKS;                                                           \
    FETCH(keys, CHUNK, KEY_PACKS, KEY_ROW(rows.first + min(row, chunk.tokens - 1) * rows.stride + pack))                    \
    FETCH_DECAYS                                                                                                            \
    FETCH_GRADIENTS                                                                                                         \
    FETCH(scored, CHUNK, CHUNK_PACKS,                                                                                       \
          scores.data[(part * CHUNK + min(row, chunk.tokens - 1)) * CHUNK_PACKS + min(pack, row / TILE * LINE + LINE - 1)]) \
  }
#define PLACE_SUBHEAD                                                                                        \
  {                                                                                                          \
    barrier();                                                                                               \
    PLACE(lefts, KEY_STRIDE, CHUNK, KEY_PACKS, keys)                                                         \
    PLACE_GRADIENTS                                                                                          \
    PLACE_DECAYS                                                                                             \
    UNROLLED for (uint n = 0; n < SCORE_PACKS; ++n) score_sums[n] = sum_of(score_sums[n], widen(scored[n])); \
    barrier();                                                                                               \
  }
#if COOPERATIVE
#define GRADIENTS_RIGHT(right, channel) \
  LOAD_RIGHT_TRANSPOSED(right, rights, column * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)
#else
#define GRADIENTS_RIGHT(right, channel) \
  LOAD_RIGHT_TRANSPOSED(right, gradients.data, gradients_at + column * KEY_PACKS + (channel) / PACK, KEY_PACKS)
#endif
#if RULE == SSD
  Sum parts_[TEAM_TILES];
#define OF_SUBHEAD parts_
#define BEGIN_SUBHEAD UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) parts_[n] = EMPTY;
#define END_SUBHEAD                                           \
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {            \
    const uint row = first_row + n * ROW_STEP * TILE;         \
    if (row >= CHUNK) continue;                               \
    Sum decay;                                                \
    LOAD_ROW_FACTORS(decay, decays, row / 4);                 \
    sums[n] = SUM_OF(sums[n], PRODUCT(decay, parts_[n]));     \
  }
#else
#define OF_SUBHEAD sums
#define BEGIN_SUBHEAD
#define END_SUBHEAD
#endif
#define MULTIPLY_SUBHEAD                                                             \
  {                                                                                  \
    BEGIN_SUBHEAD                                                                    \
    UNROLLED for (uint channel = 0; channel < steps(KEY_DIM); channel += DEPTH) {    \
      Right right;                                                                   \
      GRADIENTS_RIGHT(right, channel);                                               \
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {                               \
        const uint row = first_row + n * ROW_STEP * TILE;                            \
        if (row >= CHUNK) continue;                                                  \
        Left left;                                                                   \
        LOAD_LEFT(left, lefts, row * KEY_STRIDE + channel / PACK, KEY_STRIDE);       \
        MULTIPLY_ADD(OF_SUBHEAD[n], left, right);                                    \
      }                                                                              \
    }                                                                                \
    END_SUBHEAD                                                                      \
  }

#if COOPERATIVE
  Pack fetched_outputs[FETCHES(CHUNK, VALUE_PACKS)];
  FETCH_SUBHEAD(0)
  for (uint subhead = 1; subhead < expansion; ++subhead) {
    PLACE_SUBHEAD
    FETCH_SUBHEAD(subhead)
    MULTIPLY_SUBHEAD
  }
  PLACE_SUBHEAD
  FETCH(fetched_outputs, CHUNK, VALUE_PACKS, d_o.data[outputs.first + min(row, chunk.tokens - 1) * outputs.stride + pack])
  MULTIPLY_SUBHEAD
#else
  for (uint subhead = 0; subhead < expansion; ++subhead) {
    FETCH_SUBHEAD(subhead)
    PLACE_SUBHEAD
    MULTIPLY_SUBHEAD
  }
#endif

  barrier();
  UNROLLED for (uint n = 0; n < SCORE_PACKS; ++n) {
    const uint row = (thread + n * THREADS) / CHUNK_PACKS, pack = (thread + n * THREADS) % CHUNK_PACKS;
    if (row < CHUNK) lefts[row * CHUNK_STRIDE + pack] = row < chunk.tokens ? cell(scaled(score_sums[n], scale)) : Cell(0);
  }
#if COOPERATIVE
  PLACE(rights, VALUE_STRIDE, CHUNK, VALUE_PACKS, fetched_outputs)
#endif
  barrier();
  UNROLLED for (uint token = 0; token < steps(CHUNK); token += DEPTH) {
    Right right;
#if COOPERATIVE
    LOAD_RIGHT(right, rights, token * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
#else
    ROWS_RIGHT(right, d_o.data, outputs, token, column);
#endif
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint row = first_row + n * ROW_STEP * TILE;
      if (row >= CHUNK || token < row) continue;
      Left left;
      LOAD_LEFT_TRANSPOSED(left, lefts, token * CHUNK_STRIDE + row / PACK, CHUNK_STRIDE);
      MULTIPLY_ADD(sums[n], left, right);
    }
  }

  barrier();
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint row = first_row + n * ROW_STEP * TILE;
    if (row < CHUNK) STORE_CELLS(sums[n], lefts, row * VALUE_STRIDE + column / PACK, VALUE_STRIDE);
  }
  barrier();
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, VALUE_PACKS); ++n) {
    const uint row = (thread + n * THREADS) / VALUE_PACKS, pack = (thread + n * THREADS) % VALUE_PACKS;
    if (row < chunk.tokens) dv.data[outputs.first + row * outputs.stride + pack] = pack_of(lefts[row * VALUE_STRIDE + pack]);
  }
}
