// What tokens of a chunk do to each other's gradients: of each chunk of each subhead, with r what beta multiplies (v
// itself without correction),
//   M = scale tril(dO R^T diag(beta)) ∘ Γ,  N = -tril(dR R^T diag(beta), -1) ∘ Γ
// N of gated_delta alone; gla and linear M = scale tril(dO V^T), the same for all subheads: gla's decays are channels' and come later,
// and its M is mirrored about its diagonal.
//
// And the ways between two tokens (runtime/cpu/chunked.h), with Z_ij = scale P_ij do_i . r_j - G_ij dr_i . r_j:
//   dg_t gets sum_{j<t<=i} beta_j Z_ij,  dbeta_j gets sum_i Z_ij
// of which this kernel leaves the sums of columns, sum_i Z_ij, and of rows, sum_j beta_j Z_ij: what begins before t less what
// ends before t is what leads past it.
//
// Shared memory, Cell: tiles, the longest of dO [C][VALUE_TILE / PACK + 1] with R^T [VALUE_TILE][C / PACK + 1] and dR as dO,
// and of Z float [C][C + 4]; where matrices are cooperative, and of gla, squares, two of [C][C / PACK + 1]: P and G, then M and N.
// float: ssd and gated_delta gammas [C] and sums [2][C / 16][C], gated_delta betas [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#define NO_POSITIONS 1
#include "chunked.glsl"
#include "chunked_keys.glsl"

layout(constant_id = 4) const uint VALUE_TILE = 16;  // columns of V at a time
layout(constant_id = 14) const uint VALUE_DIM = 64;  // V

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;                // [B, T, H, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;   // as chunked_states.comp leaves it: R^T
layout(binding = 7) writeonly buffer PairsBuffer { Pack data[]; } pairs;          // [parts, C, C], gla and linear [slots, H, C, C]: M
#define MIRRORED (RULE == GLA)
#if RULE == SSD || RULE == GATED_DELTA
layout(binding = 8) readonly buffer ScoresBuffer { Pack data[]; } scores;         // [parts, C, C]: P
layout(binding = 9) writeonly buffer PairWaysBuffer { float data[]; } pair_ways;  // [parts, 2, C]: sums of rows, of columns
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
const uint COLUMN_STEP = TEAMS / ROW_TILES;  // teams that share a row of tiles
const uint TEAM_TILES = (ROW_TILES + COLUMN_STEP - 1) / COLUMN_STEP;
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
const uint TILE_CELLS = LARGER(STAGED, CHUNK * WAY_STRIDE);
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
shared vec4 gammas[CHUNK / 4];
#if RULE == GATED_DELTA
shared vec4 betas[CHUNK / 4];
#define STRENGTHS(quad) betas[quad]
#else
#define STRENGTHS(quad) vec4(1)
#endif
shared float sums[2 * CHUNK * ROW_TILES];
#endif

#if COOPERATIVE
float way(uint row, uint column) { return uintBitsToFloat(tiles[row * WAY_STRIDE + column / 4][column % 4]); }
#else
float way(uint row, uint column) { return tiles[row * WAY_STRIDE + column / 4][column % 4]; }
#endif

#if MIRRORED
float entry(uint row, uint column) {
  return value_of(values_of(squares[row * CHUNK_STRIDE + column / PACK]), column % PACK);
}
#define MIRRORED_ENTRY(i) entry(max(row, column + i), min(row, column + i))
#endif

#if WAYS && COOPERATIVE
// e^x; past the diagonal, where x > 0, whatever is finite.
#define TO_DECAYS(sum) \
  EACH_OF_SUM UNROLLED for (uint e_ = 0; e_ < OF_SUM(sum).length(); ++e_) OF_SUM(sum)[e_] = exp(min(OF_SUM(sum)[e_], 0.0))
#elif WAYS
#define TO_DECAYS(sum) for (uint i_ = 0; i_ < 4; ++i_) sum[i_] = exp(min(sum[i_], vec4(0)))
#endif
#if COOPERATIVE && !MIRRORED
// The first `count` of eight elements, the others 0.
uvec4 first_of(uvec4 x, int count) {
  const ivec4 wanted = ivec4(count) - ivec4(0, 2, 4, 6);
  return mix(mix(uvec4(0), x & 0xffffu, greaterThan(wanted, ivec4(0))), x, greaterThan(wanted, ivec4(1)));
}
#endif

void main() {
  const uint thread = thread_index(), team = team_index();
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
#if RULE == GLA || RULE == LINEAR
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
  const uint row = team % ROW_TILES * TILE;
#define TEAM_COLUMN(n) ((team / ROW_TILES + (n) * COLUMN_STEP) * TILE)  // of the team's n-th tile of its row

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
#define FETCH_COLUMNS(first)                                                                                           \
  {                                                                                                                    \
    FETCH(outputs, CHUNK, VALUE_PACKS,                                                                                 \
          d_o.data[((chunk.begin + min(row, chunk.tokens - 1)) * heads + head) * value_packs + (first) / PACK + pack]) \
    FETCH(errors, VALUE_TILE, CHUNK_PACKS,                                                                             \
          corrected.data[(values_part * value_dim + (first) + row) * CHUNK_PACKS + pack])                              \
    FETCH_CORRECTIONS(first)                                                                                           \
  }

  const uint square_at = part * CHUNK * CHUNK_PACKS;
#if WAYS && COOPERATIVE
#define FETCH_SQUARE(fetched, buffer_)       \
  Pack fetched[FETCHES(CHUNK, CHUNK_PACKS)]; \
  FETCH(fetched, CHUNK, CHUNK_PACKS,         \
        buffer_.data[square_at + row * CHUNK_PACKS + min(pack, row / TILE * LINE + LINE - 1)])
  FETCH_SQUARE(fetched_scores, scores)
#if RULE == GATED_DELTA
  FETCH_SQUARE(fetched_gram, gram)
#endif
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
#if WAYS
  float heres[FETCHES(CHUNK, 1)];
  FETCH_TOKENS(heres, gamma.data[part * CHUNK + row])
#if RULE == GATED_DELTA
  float strengths[FETCHES(CHUNK, 1)];
  FETCH_TOKENS(strengths, beta.data[gate_row(chunk.begin + min(row, chunk.tokens - 1), head, subhead)])
#endif
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, 1); ++n) {
    const uint i = thread + n * THREADS;
    if (i >= CHUNK) continue;
    gammas[i / 4][i % 4] = heres[n];
#if RULE == GATED_DELTA
    betas[i / 4][i % 4] = i < chunk.tokens ? strengths[n] : 0;
#endif
  }
#endif
#if WAYS && COOPERATIVE
  PLACE_AT(squares, 0, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_scores)
#if RULE == GATED_DELTA
  PLACE_AT(squares, CHUNK * CHUNK_STRIDE, CHUNK_STRIDE, CHUNK, CHUNK_PACKS, fetched_gram)
#endif
#endif
  UNROLLED for (uint first = 0; first < VALUE_DIM; first += VALUE_TILE) {
    barrier();
    PLACE_EACH(tiles, OUTPUTS, VALUE_STRIDE, CHUNK, VALUE_PACKS, row < chunk.tokens ? cell(outputs[n_]) : Cell(0))
    PLACE_AT(tiles, ERRORS, CHUNK_STRIDE, VALUE_TILE, CHUNK_PACKS, errors)
#if RULE == GATED_DELTA
    PLACE_AT(tiles, CORRECTIONS, VALUE_STRIDE, CHUNK, VALUE_PACKS, corrects)
#endif
    barrier();
    if (first + VALUE_TILE < VALUE_DIM) FETCH_COLUMNS(first + VALUE_TILE)
    UNROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {
      Left output_rows;
      LOAD_LEFT(output_rows, tiles, OUTPUTS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
#if RULE == GATED_DELTA
      Left correction_rows;
      LOAD_LEFT(correction_rows, tiles, CORRECTIONS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
#endif
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
        const uint column = TEAM_COLUMN(n);
        if (column > row) continue;
        Right right;
        LOAD_RIGHT(right, tiles, ERRORS + d * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE);
        MULTIPLY_ADD(read[n], output_rows, right);
#if RULE == GATED_DELTA
        MULTIPLY_ADD(recalled[n], correction_rows, right);
#endif
      }
    }
  }
  barrier();
#if WAYS
#if COOPERATIVE
#define SQUARE(tile_sum, buffer_, number) \
  LOAD_CELLS(tile_sum, squares, ((number) * CHUNK + row) * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE)
#else
#define SQUARE(tile_sum, buffer_, number) \
  LOAD_CELLS(tile_sum, buffer_.data, square_at + row * CHUNK_PACKS + column / PACK, CHUNK_PACKS)
#endif
  Sum ways[TEAM_TILES];
#endif
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint column = TEAM_COLUMN(n);
    if (column > row) continue;
#if WAYS
    Sum weights, factors;  // beta_j e^{gamma_i - gamma_j}
    LOAD_ROW_FACTORS(weights, gammas, row / 4);
    LOAD_FACTORS(factors, gammas, column / 4);
    weights = DIFFERENCE(weights, factors);
    TO_DECAYS(weights);
#if RULE == GATED_DELTA
    LOAD_FACTORS(factors, betas, column / 4);
    weights = PRODUCT(weights, factors);
#endif
    SQUARE(ways[n], scores, 0);
    read[n] = SCALED(read[n], scale);
    ways[n] = PRODUCT(ways[n], read[n]);
    read[n] = PRODUCT(read[n], weights);
#if RULE == GATED_DELTA
    Sum by_keys;
    SQUARE(by_keys, gram, 1);
    ways[n] = DIFFERENCE(ways[n], PRODUCT(by_keys, recalled[n]));
    recalled[n] = SCALED(PRODUCT(recalled[n], weights), -1.0);
#endif
#else
    read[n] = SCALED(read[n], scale);
#endif
  }
#if WAYS
  TEAM_BARRIER;  // of P and G a team takes what it then replaces
#endif
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    const uint column = TEAM_COLUMN(n);
    if (column > row) continue;
#if WAYS
    STORE_FLOATS(ways[n], tiles, row * WAY_STRIDE + column / 4, WAY_STRIDE);
#endif
#if COOPERATIVE || MIRRORED
    STORE_CELLS(read[n], squares, row * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE);
#if RULE == GATED_DELTA
    STORE_CELLS(recalled[n], squares, (CHUNK + row) * CHUNK_STRIDE + column / PACK, CHUNK_STRIDE);
#endif
#else
    if (column == row) {
      EACH_ELEMENT {
        if (COLUMN > ROW) VALUE(read[n]) = 0;
#if RULE == GATED_DELTA
        if (COLUMN >= ROW) VALUE(recalled[n]) = 0;
#endif
      }
    }
    STORE_PACKS(read[n], pairs.data, square_at + row * CHUNK_PACKS + column / PACK, CHUNK_PACKS);
#if RULE == GATED_DELTA
    STORE_PACKS(recalled[n], key_pairs.data, square_at + row * CHUNK_PACKS + column / PACK, CHUNK_PACKS);
#endif
#endif
  }
  barrier();
#if MIRRORED
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, column = i % CHUNK_PACKS * PACK;
    pairs.data[square_at + i] = narrow(MASK(MIRRORED_ENTRY));
  }
#elif COOPERATIVE
  UNROLLED for (uint n = 0; n < FETCHES(CHUNK, CHUNK_PACKS); ++n) {
    const uint i = thread + n * THREADS;
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (row >= CHUNK || pack * PACK / TILE > row / TILE) continue;
    const int below = int(row) - int(pack * PACK);
    pairs.data[square_at + i] = first_of(squares[row * CHUNK_STRIDE + pack], below + 1);
#if RULE == GATED_DELTA
    key_pairs.data[square_at + i] = first_of(squares[(CHUNK + row) * CHUNK_STRIDE + pack], below);
#endif
  }
#endif
#if WAYS
  // Of a token the sums over 16 columns, and over 16 rows.
  for (uint i = thread; i < CHUNK * ROW_TILES; i += THREADS) {
    const uint token = i % CHUNK, first = i / CHUNK * TILE;
    vec4 by_row = vec4(0);
    float by_column = 0;
    if (first <= token)
      UNROLLED for (uint j = first; j < first + TILE; j += 4)
        by_row += STRENGTHS(j / 4) * floats_of(tiles[token * WAY_STRIDE + j / 4]);
    if (first + TILE > token)
      UNROLLED for (uint row = first; row < first + TILE; ++row) by_column += way(row, token);
    sums[i] = dot(by_row, vec4(1));
    sums[CHUNK * ROW_TILES + i] = by_column;
  }
  barrier();
  for (uint i = thread; i < 2 * CHUNK; i += THREADS) {
    const uint at = i / CHUNK * CHUNK * ROW_TILES + i % CHUNK;
    float sum = 0;
    UNROLLED for (uint n = 0; n < ROW_TILES; ++n) sum += sums[at + n * CHUNK];
    pair_ways.data[part * 2 * CHUNK + i] = sum;
  }
#endif
}
