// The front end of one side, q's or k's (problem.h), from x to the subkeys that a recurrence takes:
//   y = SiLU(x) W,  z_t = SiLU(sum_i c_i y_{t - 3 + i}),  out = z, with NORM z / sqrt(|z|^2 + 1e-6)
// A workgroup walks a range of tokens of a batch row for one subkey, TOKENS at a time, and hands the last three rows of y
// on to itself; a range that does not begin its row starts a tile early for them. W stays in registers where matrices are
// cooperative. y is float32 on its way; BACKWARD leaves it for the gradients.
//
// With HISTORY the tokens before a sequence are its history's, and y of its last three tokens becomes the one after it. A
// step has both in one place: what an invocation replaces there it alone reads.
//
// Shared memory, float: ys [3 + TOKENS][K + 4], and in its place before them W, 16 rows at a time, and SiLU(x), Cell
// [TOKENS][K / PACK + 1]; lengths [TOKENS][K / 4 + 4]: parts of |z|^2; uint: begins [TOKENS]: where each
// token's sequence begins.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "front_end.glsl"

layout(constant_id = 3) const uint TOKENS = 32;  // a multiple of 16
layout(constant_id = 4) const bool NORM = false;
#if !BACKWARD
layout(constant_id = 5) const bool HISTORY = false;
#endif

layout(binding = 1) readonly buffer XBuffer { Pack data[]; } x;                  // [B, T, Hq, K]
layout(binding = 2) readonly buffer WeightBuffer { Pack data[]; } weight;        // [Hq, K, E, K]
layout(binding = 3) readonly buffer TapsBuffer { Quad data[]; } taps;            // [Hq, E, K, 4]
layout(binding = 4) writeonly buffer OutBuffer { Quad data[]; } expanded;        // [B, T, Hq, E, K]
#if BACKWARD
layout(binding = 5) writeonly buffer YBuffer { Quad data[]; } y;                 // likewise
#else
layout(binding = 5) buffer HistoryBuffer { Quad data[]; } history;               // [N, 3, Hq, E, K]
layout(binding = 6) buffer HistoryAfterBuffer { Quad data[]; } history_after;    // likewise
#endif

const uint KEY_STRIDE = KEY_PACKS + 1;
const uint Y_STRIDE = KEY_QUADS + 1;
const uint ROW_TILES = TOKENS / TILE;
const uint COLUMN_TILES = KEY_DIM / TILE;
const uint COLUMN_TEAMS = TEAMS < COLUMN_TILES ? TEAMS : COLUMN_TILES;
const uint COLUMNS = (COLUMN_TILES + COLUMN_TEAMS - 1) / COLUMN_TEAMS;  // of tiles, that a team makes
const uint ROW_STEP = TEAMS / COLUMN_TEAMS;                             // teams that share a column
const uint TEAM_ROWS = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;
const uint PARTS_QUADS = (KEY_QUADS + 3) / 4 + 1;                       // a row of lengths
const uint GROUPS = THREADS / KEY_QUADS;                                // invocations that share four channels
const uint EACH = (TOKENS + GROUPS - 1) / GROUPS;                       // tokens of an invocation

shared Cell ys[(3 + TOKENS) * Y_STRIDE];
const uint ROWS = 3 * Y_STRIDE;           // where SiLU(x) begins
shared vec4 lengths[TOKENS * PARTS_QUADS];
shared uint begins[TOKENS];

#define Y_AT(at) floats_of(ys[at])

// Whether a team whose turn it is has this tile; teams may be left over.
#define MAKES(column, row) ((column) < COLUMN_TILES && own_row < ROW_STEP && (row) < ROW_TILES)

#if !BACKWARD
// The quad of history token i, 0 the oldest.
uint history_at(uint sequence, uint i, uint quad) {
  return ((sequence * 3 + i) * qk_heads * expansion + gl_WorkGroupID.x) * KEY_QUADS + quad;
}

// What stays of a history behind a sequence of fewer than three tokens.
void keep_history(uint sequence, uint tokens, uint quad) {
  for (uint i = 0; i + tokens < 3; ++i)
    history_after.data[history_at(sequence, i, quad)] = history.data[history_at(sequence, i + tokens, quad)];
}

// The part of a token in the history after its sequence; with the first token goes what stays of the one before.
void keep_token(uint sequence, uint token, uint quad, vec4 y) {
  const uint begin = sequence_begin(sequence), end = sequence_end(sequence);
  if (token == begin) keep_history(sequence, end - begin, quad);
  if (token + 3 >= end) history_after.data[history_at(sequence, token + 3 - end, quad)] = narrow(y);
}
#endif

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.x / expansion, subkey = gl_WorkGroupID.x % expansion;
  const uint range = first_range + gl_WorkGroupID.y;
  const uint batch_row = range / ranges_per_row;
  const uint first = range % ranges_per_row * range_tokens, end = min(first + range_tokens, seq_len);
  const uint own_column = team % COLUMN_TEAMS, own_row = team / COLUMN_TEAMS;
  const uint weight_at = (head * KEY_DIM * expansion + subkey) * KEY_PACKS, weight_stride = expansion * KEY_PACKS;
  const uint x_at = (batch_row * seq_len * qk_heads + head) * KEY_PACKS, x_stride = qk_heads * KEY_PACKS;
  const uint out_at = (batch_row * seq_len * qk_heads * expansion + gl_WorkGroupID.x) * KEY_QUADS;
  const uint out_stride = qk_heads * expansion * KEY_QUADS;

  const uint quad = thread % KEY_QUADS, group = thread / KEY_QUADS;
  const bool takes_part = group * EACH < TOKENS;
  mat4 tap = mat4(0);  // [channel]: of the four places
  for (uint c = 0; c < 4; ++c) tap[c] = widen(taps.data[gl_WorkGroupID.x * KEY_DIM + 4 * quad + c]);
  const mat4 by_place = transpose(tap);  // [place]: of the four channels
#if COOPERATIVE
  Right held[COLUMNS * COLUMN_TILES];
  UNROLLED for (uint depth = 0; depth < COLUMN_TILES; ++depth) {
    barrier();
    STAGE(ys, KEY_STRIDE, TILE, KEY_PACKS, weight.data[weight_at + (depth * TILE + row) * weight_stride + pack])
    barrier();
    UNROLLED for (uint n = 0; n < COLUMNS; ++n) {
      const uint column = own_column + n * COLUMN_TEAMS;
      if (column < COLUMN_TILES) LOAD_RIGHT(held[n * COLUMN_TILES + depth], ys, column * LINE, KEY_STRIDE);
    }
  }
#endif
  barrier();
  for (uint i = thread; i < 3 * KEY_QUADS; i += THREADS) ys[i / KEY_QUADS * Y_STRIDE + i % KEY_QUADS] = Cell(0);

#if !BACKWARD
  if (HISTORY && packed == 1 && range == 0) {
    for (uint sequence = 0; sequence < sequences; ++sequence)
      if (sequence_begin(sequence) == sequence_end(sequence) && group == 0) keep_history(sequence, 0, quad);
  }
#endif
  const uint early = first > 0 && packed != EACH_TOKEN ? TOKENS : 0;
  for (uint start = first - early; start < end; start += TOKENS) {
    UNROLLED for (uint n = 0; n < FETCHES(TOKENS, KEY_PACKS); ++n) {
      const uint i = thread + n * THREADS, row = i / KEY_PACKS, pack = i % KEY_PACKS;
      if (row >= TOKENS) continue;
      ys[ROWS + row * KEY_STRIDE + pack] = Cell(0);
      if (start + row < end)
        ys[ROWS + row * KEY_STRIDE + pack] = cell(silu(widen(x.data[x_at + (start + row) * x_stride + pack])));
    }
    for (uint i = thread; i < TOKENS; i += THREADS) begins[i] = sequence_begin_of(start + i);
    barrier();

    Sum sums[COLUMNS * TEAM_ROWS];
    UNROLLED for (uint n = 0; n < COLUMNS; ++n) {
      const uint column = own_column + n * COLUMN_TEAMS;
      UNROLLED for (uint m = 0; m < TEAM_ROWS; ++m) {
        const uint row = own_row + m * ROW_STEP;
        if (!MAKES(column, row)) continue;
        Sum sum = EMPTY;
        UNROLLED for (uint d = 0; d < steps(KEY_DIM); d += DEPTH) {
          Left left;
          LOAD_LEFT(left, ys, ROWS + row * TILE * KEY_STRIDE + d / PACK, KEY_STRIDE);
#if COOPERATIVE
          MULTIPLY_ADD(sum, left, held[n * COLUMN_TILES + d / TILE]);
#else
          Right right;
          LOAD_RIGHT(right, weight.data, weight_at + d * weight_stride + column * LINE, weight_stride);
          MULTIPLY_ADD(sum, left, right);
#endif
        }
        sums[n * TEAM_ROWS + m] = sum;
      }
    }
    barrier();
    UNROLLED for (uint n = 0; n < COLUMNS; ++n) {
      const uint column = own_column + n * COLUMN_TEAMS;
      UNROLLED for (uint m = 0; m < TEAM_ROWS; ++m) {
        const uint row = own_row + m * ROW_STEP;
        if (MAKES(column, row))
          STORE_FLOATS(sums[n * TEAM_ROWS + m], ys, (3 + row * TILE) * Y_STRIDE + column * TILE / 4, Y_STRIDE);
      }
    }
    barrier();

    // Consecutive rows an invocation: z, and its part of the length.
    vec4 z[EACH], window[4];
    for (uint s = 0; s < 3; ++s) window[s] = takes_part ? Y_AT((group * EACH + s) * Y_STRIDE + quad) : vec4(0);
    UNROLLED for (uint n = 0; n < EACH; ++n) {
      const uint row = group * EACH + n;
      if (!takes_part || row >= TOKENS) continue;
      window[(n + 3) % 4] = Y_AT((row + 3) * Y_STRIDE + quad);
      vec4 sum = vec4(0);
      for (uint s = 0; s < 4; ++s) {
        if (start + row + s >= begins[row] + 3) sum += by_place[s] * window[(n + s) % 4];
#if !BACKWARD
        else if (HISTORY && start + row < end) {
          const uint at = history_at(sequence_of(batch_row, start + row), start + row + s - begins[row], quad);
          sum += by_place[s] * widen(history.data[at]);
        }
#endif
      }
      z[n] = silu(sum);
      if (NORM) lengths[row * PARTS_QUADS + quad / 4][quad % 4] = dot(z[n], z[n]);
    }
    barrier();

    if (start >= first) {
      UNROLLED for (uint n = 0; n < EACH; ++n) {
        const uint row = group * EACH + n;
        if (!takes_part || row >= TOKENS || start + row >= end) continue;
        if (NORM) {
          float length = 0;
          for (uint m = 0; m < KEY_QUADS / 4; ++m) length += dot(lengths[row * PARTS_QUADS + m], vec4(1));
          z[n] *= inversesqrt(length + NORM_EPSILON);
        }
        expanded.data[out_at + (start + row) * out_stride + quad] = narrow(z[n]);
        const vec4 own_y = Y_AT((3 + row) * Y_STRIDE + quad);
#if BACKWARD
        y.data[out_at + (start + row) * out_stride + quad] = narrow(own_y);
#else
        if (HISTORY) keep_token(sequence_of(batch_row, start + row), start + row, quad, own_y);
#endif
      }
    }
    // The last rows are the next tile's first.
    for (uint i = thread; i < 3 * KEY_QUADS; i += THREADS) {
      const uint at = i / KEY_QUADS * Y_STRIDE + i % KEY_QUADS;
      ys[at] = ys[TOKENS * Y_STRIDE + at];
    }
    barrier();
  }
}
