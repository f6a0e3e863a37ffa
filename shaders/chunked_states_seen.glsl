// What the tokens of a chunk see of the state before it and of the gradient of the state after it, for KEY_TILE channels:
//   before = dO S^T,  after = R D^T,  recalled = dR S^T (gated_delta)
// Teams share rows of tiles; a team's tiles of a row are COLUMN_STEP apart.
//
// Shared memory, Cell, in `pool`: dO [C][VALUE_TILE / PACK + 1], R^T [VALUE_TILE][C / PACK + 1], S^T and D^T
// [VALUE_TILE][KEY_TILE / PACK + 1], dR as dO: SEEN_CELLS.
layout(constant_id = 4) const uint VALUE_TILE = 16;  // columns of V at a time
layout(constant_id = 5) const uint KEY_TILE = 16;    // channels of K of a workgroup

layout(binding = 5) readonly buffer DoBuffer { Pack data[]; } d_o;               // [B, T, H, V]
layout(binding = 6) readonly buffer CorrectedBuffer { Pack data[]; } corrected;  // as chunked_states.comp leaves it: R^T
layout(binding = 7) readonly buffer StatesBuffer { Pack data[]; } states;        // [parts, V, K]: S^T
layout(binding = 8) readonly buffer GradientsBuffer { Pack data[]; } gradients;  // [parts, V, K]: D^T
#if RULE == GATED_DELTA
layout(binding = 9) readonly buffer CorrectionsBuffer { Pack data[]; } corrections;  // [parts, C, V]: dR
#endif

const uint VALUE_PACKS = VALUE_TILE / PACK;
const uint VALUE_STRIDE = VALUE_PACKS + 1;
const uint TILE_PACKS = KEY_TILE / PACK;
const uint TILE_STRIDE = TILE_PACKS + 1;
const uint ROW_TILES = CHUNK / TILE;
const uint COLUMN_TILES = KEY_TILE / TILE;
const uint COLUMN_STEP = TEAMS / ROW_TILES;  // teams that share a row of tiles
const uint TEAM_TILES = (COLUMN_TILES + COLUMN_STEP - 1) / COLUMN_STEP;

const uint OUTPUTS = 0;
const uint ERRORS = OUTPUTS + CHUNK * VALUE_STRIDE;
const uint STATES = ERRORS + VALUE_TILE * CHUNK_STRIDE;
const uint GRADIENTS = STATES + VALUE_TILE * TILE_STRIDE;
const uint CORRECTIONS = GRADIENTS + VALUE_TILE * TILE_STRIDE;
#if RULE == GATED_DELTA
const uint SEEN_CELLS = CORRECTIONS + CHUNK * VALUE_STRIDE;
#else
const uint SEEN_CELLS = CORRECTIONS;
#endif

// OTHER_CELLS: what the kernel wants of the pool at other times.
shared Cell pool[SEEN_CELLS > OTHER_CELLS ? SEEN_CELLS : OTHER_CELLS];

// <S, D> is an invocation's part.
#if RULE == GATED_DELTA
#define SEEN out Sum before[TEAM_TILES], out Sum after[TEAM_TILES], out Sum recalled[TEAM_TILES], out float inner
#else
#define SEEN out Sum before[TEAM_TILES], out Sum after[TEAM_TILES], out float inner
#endif

uint team_row() { return team_index() % ROW_TILES * TILE; }
// Of the team's n-th tile; KEY_TILE or more: there is none.
uint team_column(uint n) { return (team_index() / ROW_TILES + n * COLUMN_STEP) * TILE; }

// Ends with reads of the pool.
void see_states(Chunk chunk, uint head, uint subhead, uint first_channel, SEEN) {
  const uint part = part_of(chunk, head, subhead);
#if RULE == GATED_DELTA
  const uint values_part = part;
#else
  const uint values_part = chunk.slot * heads + head;
#endif
  const uint value_packs = value_dim / PACK, row = team_row();
  UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
    before[n] = after[n] = EMPTY;
#if RULE == GATED_DELTA
    recalled[n] = EMPTY;
#endif
  }
  inner = 0;

  for (uint first = 0; first < value_dim; first += VALUE_TILE) {
    barrier();
    for (uint i = thread_index(); i < CHUNK * VALUE_PACKS; i += THREADS) {
      const uint token = i / VALUE_PACKS, pack = first / PACK + i % VALUE_PACKS;
      const uint to = token * VALUE_STRIDE + i % VALUE_PACKS;
      pool[OUTPUTS + to] =
          token < chunk.tokens ? cell(d_o.data[((chunk.begin + token) * heads + head) * value_packs + pack]) : Cell(0);
#if RULE == GATED_DELTA
      pool[CORRECTIONS + to] = cell(corrections.data[(part * CHUNK + token) * value_packs + pack]);
#endif
    }
    for (uint i = thread_index(); i < VALUE_TILE * CHUNK_PACKS; i += THREADS)
      pool[ERRORS + i / CHUNK_PACKS * CHUNK_STRIDE + i % CHUNK_PACKS] =
          cell(corrected.data[(values_part * value_dim + first) * CHUNK_PACKS + i]);
    for (uint i = thread_index(); i < VALUE_TILE * TILE_PACKS; i += THREADS) {
      const uint column = i / TILE_PACKS, pack = i % TILE_PACKS, to = column * TILE_STRIDE + pack;
      const uint at = (part * value_dim + first + column) * KEY_PACKS + first_channel / PACK + pack;
      const Pack state = states.data[at], gradient = gradients.data[at];
#if RULE != LINEAR
      inner += dot_of(widen(state), widen(gradient));
#endif
      pool[STATES + to] = cell(state);
      pool[GRADIENTS + to] = cell(gradient);
    }
    barrier();
    UNROLLED for (uint d = 0; d < steps(VALUE_TILE); d += DEPTH) {
      Left output_rows, error_rows;
      LOAD_LEFT(output_rows, pool, OUTPUTS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
      LOAD_LEFT_TRANSPOSED(error_rows, pool, ERRORS + d * CHUNK_STRIDE + row / PACK, CHUNK_STRIDE);
#if RULE == GATED_DELTA
      Left correction_rows;
      LOAD_LEFT(correction_rows, pool, CORRECTIONS + row * VALUE_STRIDE + d / PACK, VALUE_STRIDE);
#endif
      UNROLLED for (uint n = 0; n < TEAM_TILES; ++n) {
        const uint column = team_column(n);
        if (column >= KEY_TILE) continue;
        Right right;
        LOAD_RIGHT(right, pool, STATES + d * TILE_STRIDE + column / PACK, TILE_STRIDE);
        MULTIPLY_ADD(before[n], output_rows, right);
#if RULE == GATED_DELTA
        MULTIPLY_ADD(recalled[n], correction_rows, right);
#endif
        LOAD_RIGHT(right, pool, GRADIENTS + d * TILE_STRIDE + column / PACK, TILE_STRIDE);
        MULTIPLY_ADD(after[n], error_rows, right);
      }
    }
  }
}
