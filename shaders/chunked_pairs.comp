// What tokens of a chunk do to each other's gradients: of each chunk of each subhead, with r what beta multiplies (v
// itself without correction),
//   M = scale tril(dO R^T diag(beta)) ∘ Γ,  N = -tril(dR R^T diag(beta), -1) ∘ Γ
// N of gated_delta alone; gla M = scale tril(dO V^T), the same for all subheads: its decays are channels' and come later. gla's M
// is mirrored about its diagonal.
//
// And the ways between two tokens (runtime/cpu/chunked.h), with Z_ij = scale P_ij do_i . r_j - G_ij dr_i . r_j:
//   dg_t gets sum_{j<t<=i} beta_j Z_ij,  dbeta_j gets sum_i Z_ij
//
// Shared memory, Cell: tiles, the longest of dO [C][VALUE_TILE / PACK + 1] with R^T [VALUE_TILE][C / PACK + 1] and dR as dO,
// and of Z float [C][C + 4]; where matrices are cooperative, and of gla, squares, two of [C][C / PACK + 1]: P and G, then M and N.
// float: ssd and gated_delta gammas and betas [C], sums [C / 16][C].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;  // columns of V at a time

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;                // [B, T, H, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;   // as chunked_states.comp leaves it: R^T
layout(binding = 7) writeonly buffer PairsBuffer { Pack data[]; } pairs;          // [parts, C, C], gla [slots, H, C, C]: M
#define MIRRORED (RULE == GLA)
#if RULE == SSD || RULE == GATED_DELTA
layout(binding = 8) readonly buffer ScoresBuffer { Pack data[]; } scores;         // [parts, C, C]: P
layout(binding = 9) writeonly buffer PairWaysBuffer { float data[]; } pair_ways;  // [parts, 2, C]: terms of dg, of dbeta
#define WAYS 1
#endif
#if RULE == GATED_DELTA
layout(binding = 10) readonly buffer BetaBuffer { float data[]; } beta;                // [B, T, H, E]
layout(binding = 11) readonly buffer GramBuffer { Pack data[]; } gram;                 // [parts, C, C]: G
layout(binding = 12) readonly buffer CorrectionsBuffer { Pack data[]; } corrections;   // [parts, C, V]: dR
layout(binding = 13) writeonly buffer KeyPairsBuffer { Pack data[]; } key_pairs;       // [parts, C, C]: N
#endif

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint ROW_TILES = CHUNK / TILE;
const uint LOWER_TILES = ROW_TILES * (ROW_TILES + 1) / 2;
const uint TEAM_TILES = (LOWER_TILES + TEAMS - 1) / TEAMS;
const uint WAY_STRIDE = CHUNK / 4 + 1;  // quads

const uint OUTPUTS = 0;
const uint ERRORS = CHUNK * VALUE_STRIDE;
const uint CORRECTIONS = ERRORS + VALUE_TILE * CHUNK_STRIDE;
#if RULE == GATED_DELTA
const uint STAGED = CORRECTIONS + CHUNK * VALUE_STRIDE;
#else
const uint STAGED = CORRECTIONS;
#endif
#if WAYS
const uint TILE_CELLS = STAGED > CHUNK * WAY_STRIDE ? STAGED : CHUNK * WAY_STRIDE;
#else
const uint TILE_CELLS = STAGED;
#endif

shared Cell tiles[TILE_CELLS];
#if COOPERATIVE || MIRRORED
#if RULE == GATED_DELTA
shared Cell squares[2 * CHUNK * CHUNK_STRIDE];
#else
shared Cell squares[CHUNK * CHUNK_STRIDE];
#endif
#endif
#if WAYS
shared float gammas[CHUNK];
shared float betas[CHUNK];
shared float sums[CHUNK * ROW_TILES];
#endif

// The way of Z from the token of a column to that of a row, or the sum of several.
#if COOPERATIVE
float way(uint row, uint column) { return uintBitsToFloat(tiles[row * WAY_STRIDE + column / 4][column % 4]); }
void set_way(uint row, uint column, float x) { tiles[row * WAY_STRIDE + column / 4][column % 4] = floatBitsToUint(x); }
#else
float way(uint row, uint column) { return tiles[row * WAY_STRIDE + column / 4][column % 4]; }
void set_way(uint row, uint column, float x) { tiles[row * WAY_STRIDE + column / 4][column % 4] = x; }
#endif

#if MIRRORED
float entry(uint row, uint column) {
  return value_of(values_of(squares[row * CHUNK_STRIDE + column / PACK]), column % PACK);
}
#define MIRRORED_ENTRY(i) entry(max(row, column + i), min(row, column + i))
#endif

// Row and column of a tile on or below the diagonal.
uvec2 lower_tile(uint tile) {
  uint row = 0;
  while ((row + 1) * (row + 2) / 2 <= tile) ++row;
  return uvec2(row, tile - row * (row + 1) / 2) * TILE;
}

void main() {
  const uint thread = thread_index(), team = team_index();
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
#if RULE == GLA
  const uint head = gl_WorkGroupID.y;
  const uint part = chunk.slot * heads + head;
#else
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const uint part = part_of(chunk, head, subhead);
#endif
#if RULE == GATED_DELTA
  const uint values_part = part;
#else
  const uint values_part = chunk.slot * heads + head;
#endif
  const uint value_packs = value_dim / PACK;
  find_positions();
#if WAYS
  for (uint i = thread; i < CHUNK; i += THREADS) {
    gammas[i] = gamma.data[part * CHUNK + i];
#if RULE == GATED_DELTA
    betas[i] = i < chunk.tokens ? beta.data[gate_row(chunk.begin + i, head, subhead)] : 0;
#else
    betas[i] = 1;
#endif
  }
#endif

  Pack outputs[FETCHES(CHUNK, VALUE_PACKS)];
  Pack errors[FETCHES(VALUE_TILE, CHUNK_PACKS)];
#if RULE == GATED_DELTA
  Pack corrects[FETCHES(CHUNK, VALUE_PACKS)];
#define FETCH_CORRECTIONS(first)            \
  FETCH(corrects, CHUNK, VALUE_PACKS,       \
        corrections.data[(part * CHUNK + row) * value_packs + (first) / PACK + pack])
#else
#define FETCH_CORRECTIONS(first)
#endif
#define FETCH_COLUMNS(first)                                                                                  \
  {                                                                                                           \
    FETCH(outputs, CHUNK, VALUE_PACKS,                                                                        \
          row < chunk.tokens ? d_o.data[((chunk.begin + row) * heads + head) * value_packs + (first) / PACK + pack] \
                             : Pack(0))                                                                       \
    FETCH(errors, VALUE_TILE, CHUNK_PACKS,                                                                    \
          corrected.data[(values_part * value_dim + (first) + row) * CHUNK_PACKS + pack])                     \
    FETCH_CORRECTIONS(first)                                                                                  \
  }

  const uint square_at = part * CHUNK * CHUNK_PACKS;
#if WAYS && COOPERATIVE
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE > row / TILE) continue;
    squares[row * CHUNK_STRIDE + pack] = scores.data[square_at + i];
#if RULE == GATED_DELTA
    squares[(CHUNK + row) * CHUNK_STRIDE + pack] = gram.data[square_at + i];
#endif
  }
#endif

  Sum read[TEAM_TILES];  // dO R^T
#if RULE == GATED_DELTA
  Sum recalled[TEAM_TILES];  // dR R^T
#endif
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    read[n] = EMPTY;
#if RULE == GATED_DELTA
    recalled[n] = EMPTY;
#endif
  }
  FETCH_COLUMNS(0)
  for (uint first = 0; first < value_dim;) {
    barrier();
    UNROLLED for (uint n = 0; n < FETCHES(CHUNK, VALUE_PACKS); ++n) {
      const uint row = (thread + n * THREADS) / VALUE_PACKS, pack = (thread + n * THREADS) % VALUE_PACKS;
      if (row >= CHUNK) continue;
      tiles[OUTPUTS + row * VALUE_STRIDE + pack] = cell(outputs[n]);
#if RULE == GATED_DELTA
      tiles[CORRECTIONS + row * VALUE_STRIDE + pack] = cell(corrects[n]);
#endif
    }
    UNROLLED for (uint n = 0; n < FETCHES(VALUE_TILE, CHUNK_PACKS); ++n) {
      const uint row = (thread + n * THREADS) / CHUNK_PACKS, pack = (thread + n * THREADS) % CHUNK_PACKS;
      if (row < VALUE_TILE) tiles[ERRORS + row * CHUNK_STRIDE + pack] = cell(errors[n]);
    }
    barrier();
    first += VALUE_TILE;
    if (first < value_dim) FETCH_COLUMNS(first)
    UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
      const uint tile = team + n * TEAMS;
      if (tile >= LOWER_TILES) continue;
      const uvec2 at = lower_tile(tile);
      UNROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {
        Left left;
        Right right;
        LOAD_RIGHT(right, tiles, ERRORS + d * CHUNK_STRIDE + at.y / PACK, CHUNK_STRIDE);
        LOAD_LEFT(left, tiles, OUTPUTS + at.x * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
        MULTIPLY_ADD(read[n], left, right);
#if RULE == GATED_DELTA
        LOAD_LEFT(left, tiles, CORRECTIONS + at.x * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
        MULTIPLY_ADD(recalled[n], left, right);
#endif
      }
    }
  }
  barrier();
#if WAYS
#if COOPERATIVE
#define SQUARE(tile_sum, buffer_, number, at) \
  LOAD_CELLS(tile_sum, squares, ((number) * CHUNK + at.x) * CHUNK_STRIDE + at.y / PACK, CHUNK_STRIDE)
#else
#define SQUARE(tile_sum, buffer_, number, at) \
  LOAD_CELLS(tile_sum, buffer_.data, square_at + at.x * CHUNK_PACKS + at.y / PACK, CHUNK_PACKS)
#endif
  for (uint i = thread; i < CHUNK * CHUNK; i += THREADS) {
    if (i % CHUNK / TILE > i / CHUNK / TILE) set_way(i / CHUNK, i % CHUNK, 0);
  }
  barrier();
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    if (tile >= LOWER_TILES) continue;
    const uvec2 at = lower_tile(tile);
    Sum ways;
    SQUARE(ways, scores, 0, at);
    ways = PRODUCT(ways, SCALED(read[n], scale));
#if RULE == GATED_DELTA
    Sum by_keys;
    SQUARE(by_keys, gram, 1, at);
    ways = DIFFERENCE(ways, PRODUCT(by_keys, recalled[n]));
#endif
    STORE_FLOATS(ways, tiles, at.x * WAY_STRIDE + at.y / 4, WAY_STRIDE);
  }
  barrier();
#endif
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint tile = team + n * TEAMS;
    if (tile >= LOWER_TILES) continue;
    const uvec2 at = lower_tile(tile);
    EACH_ELEMENT {
      const uint i = at.x + ROW, j = at.y + COLUMN;
#if WAYS
      const float weight = j <= i ? betas[j] * exp(gammas[i] - gammas[j]) : 0;
#else
      const float weight = j <= i ? 1 : 0;
#endif
      VALUE(read[n]) *= scale * weight;
#if RULE == GATED_DELTA
      VALUE(recalled[n]) *= j < i ? -weight : 0;
#endif
    }
#if COOPERATIVE || MIRRORED
    STORE_CELLS(read[n], squares, at.x * CHUNK_STRIDE + at.y / PACK, CHUNK_STRIDE);
#if RULE == GATED_DELTA
    STORE_CELLS(recalled[n], squares, (CHUNK + at.x) * CHUNK_STRIDE + at.y / PACK, CHUNK_STRIDE);
#endif
#else
    STORE_PACKS(read[n], pairs.data, square_at + at.x * CHUNK_PACKS + at.y / PACK, CHUNK_PACKS);
#if RULE == GATED_DELTA
    STORE_PACKS(recalled[n], key_pairs.data, square_at + at.x * CHUNK_PACKS + at.y / PACK, CHUNK_PACKS);
#endif
#endif
  }
#if WAYS
  // sum_{i>=t} Z_ij within 16 rows, in the place of Z_tj.
  for (uint i = thread; i < CHUNK * ROW_TILES; i += THREADS) {
    const uint column = i % CHUNK, first = i / CHUNK * TILE;
    float ways[TILE];
    UNROLLED for (uint t = 0; t < TILE; ++t) ways[t] = way(first + t, column);
    UNROLLED for (uint t = TILE - 1; t > 0; --t) ways[t - 1] += ways[t];
    UNROLLED for (uint t = 0; t < TILE; ++t) set_way(first + t, column, ways[t]);
  }
#endif
  barrier();
#if MIRRORED
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, column = i % CHUNK_PACKS * PACK;
    pairs.data[square_at + i] = narrow(MASK(MIRRORED_ENTRY));
  }
#elif COOPERATIVE
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE > row / TILE) continue;
    pairs.data[square_at + i] = pack_of(squares[row * CHUNK_STRIDE + pack]);
#if RULE == GATED_DELTA
    key_pairs.data[square_at + i] = pack_of(squares[(CHUNK + row) * CHUNK_STRIDE + pack]);
#endif
  }
#endif
#if WAYS
  // A token's sum over 16 columns, then over these blocks of columns.
  for (uint i = thread; i < CHUNK * ROW_TILES; i += THREADS) {
    const uint t = i % CHUNK, first = i / CHUNK * TILE;
    float sum = 0;
    if (first <= t) {
      UNROLLED for (uint j = first; j < first + TILE; j += 4) {
        vec4 ways = floats_of(tiles[t * WAY_STRIDE + j / 4]);
        for (uint row = (t / TILE + 1) * TILE; row < CHUNK; row += TILE) ways += floats_of(tiles[row * WAY_STRIDE + j / 4]);
        const vec4 strength = vec4(betas[j], betas[j + 1], betas[j + 2], betas[j + 3]);
        sum += dot(mix(vec4(0), strength * ways, lessThan(uvec4(j, j + 1, j + 2, j + 3), uvec4(t))), vec4(1));
      }
    }
    sums[i] = sum;
  }
  barrier();
  for (uint i = thread; i < 2 * CHUNK; i += THREADS) {
    float sum = 0;
    for (uint n = 0; n < ROW_TILES; ++n) sum += i < CHUNK ? sums[n * CHUNK + i] : way(n * TILE, i - CHUNK);
    pair_ways.data[part * 2 * CHUNK + i] = sum;
  }
#endif
}
