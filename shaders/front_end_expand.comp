// The front end of one side, q's or k's (problem.h), from x to the subkeys that a recurrence takes:
//   y = SiLU(x) W,  z_t = SiLU(sum_i c_i y_{t - 3 + i}),  out = z, with NORM z / sqrt(|z|^2 + 1e-6)
// A workgroup walks a range of tokens of a batch row for one subkey, TOKENS at a time, and hands the last three rows of y
// on to itself; a range that does not begin its row starts a tile early for them. W stays in registers where matrices are
// cooperative. y is float32 on its way; BACKWARD leaves it for the gradients. SiLU(x) is one for all subkeys: it comes from a
// kernel of its own (front_end_silu.comp), unless ACTIVATE.
//
// A tile has two meetings of the workgroup where SiLU(x) and y lie APART, four in one place. The next tile of x is asked for
// behind the second: a barrier waits for loads that are on their way.
//
// With HISTORY the tokens before a sequence are its history's, and y of its last three tokens becomes the one after it. A
// step has both in one place: what an invocation replaces there it alone reads.
//
// Shared memory, float: ys [3 + TOKENS][K + 8] (without cooperative matrices K + 4), and behind or in the place of all but its
// first three rows W, 16 rows at a time, and SiLU(x), Cell [TOKENS][K / PACK + 1]; lengths [TOKENS][K / 4 / NEIGHBOURS
// to a multiple of 4, + 4]: parts of |z|^2; uint: begins [TOKENS]: where each token's sequence begins.
#version 450
#extension GL_GOOGLE_include_directive : require
#if COOPERATIVE
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "front_end.glsl"

layout(constant_id = 3) const uint TOKENS = 32;  // a multiple of 16
layout(constant_id = 4) const bool NORM = false;
layout(constant_id = 5) const uint NEIGHBOURS = 1;  // lanes side by side that have channels of one row, a power of two
layout(constant_id = 6) const bool ACTIVATE = false;
layout(constant_id = 9) const bool APART = false;
#if !BACKWARD
layout(constant_id = 14) const bool HISTORY = false;
#endif

layout(binding = 1) readonly buffer XBuffer { Pack data[]; } x;                  // [B, T, Hq, K], SiLU(x) unless ACTIVATE
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
#if COOPERATIVE
const uint Y_STRIDE = KEY_QUADS + 2;  // a matrix's rows are stored two to a line of the banks
#else
const uint Y_STRIDE = KEY_QUADS + 1;
#endif
const uint ROW_TILES = TOKENS / TILE;
const uint COLUMN_TILES = KEY_DIM / TILE;
const uint COLUMN_TEAMS = TEAMS < COLUMN_TILES ? TEAMS : COLUMN_TILES;
const uint COLUMNS = (COLUMN_TILES + COLUMN_TEAMS - 1) / COLUMN_TEAMS;  // of tiles, that a team makes
const uint ROW_STEP = TEAMS / COLUMN_TEAMS;                             // teams that share a column
const uint TEAM_ROWS = (ROW_TILES + ROW_STEP - 1) / ROW_STEP;
const uint GROUPS = THREADS / KEY_QUADS;                                // invocations that share four channels
const uint EACH = (TOKENS + GROUPS - 1) / GROUPS;                       // tokens of an invocation
const bool FILLED = TOKENS * KEY_QUADS == THREADS * EACH;                 // no invocation is left over
// Whether the next tile is asked for ahead, and tiles inside one sequence have a convolution of their own: registers that
// matrix units leave free.
const bool AHEAD = COOPERATIVE != 0;
const uint FOURS = (EACH + 3) / 4;
const uint LENGTH_PARTS = KEY_QUADS / NEIGHBOURS, LENGTH_QUADS = (LENGTH_PARTS + 3) / 4 + 1;

const uint ROWS = (APART ? 3 + TOKENS : 3) * Y_STRIDE;  // where SiLU(x) begins
shared Cell ys[(3 + TOKENS) * Y_STRIDE + (APART ? TOKENS * KEY_STRIDE : 0)];
shared vec4 lengths[TOKENS * LENGTH_QUADS];
shared uint begins[TOKENS];

#define Y_AT(row) floats_of(ys[(row) * Y_STRIDE + quad])
#define HAS_ROW(row) (FILLED || (takes_part && (row) < TOKENS))

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

#if COOPERATIVE
// The sums of four values over NEIGHBOURS lanes. Half of the lanes carry two of them on, a quarter one.
vec4 sum_over_neighbours(vec4 x) {
  const bool odd = (gl_SubgroupInvocationID & 1) != 0, upper = (gl_SubgroupInvocationID & 2) != 0;
  const vec2 two = (odd ? x.zw : x.xy) + subgroupShuffleXor(odd ? x.xy : x.zw, 1);
  float one = (upper ? two.y : two.x) + subgroupShuffleXor(upper ? two.x : two.y, 2);
  UNROLLED for (uint mask = 4; mask < NEIGHBOURS; mask *= 2) one += subgroupShuffleXor(one, mask);
  const float other = subgroupShuffleXor(one, 2);
  const vec2 own = upper ? vec2(other, one) : vec2(one, other), others = subgroupShuffleXor(own, 1);
  return odd ? vec4(others, own) : vec4(own, others);
}
#else
vec4 sum_over_neighbours(vec4 x) { return x; }
#endif

// What a token's tap meets before its sequence.
#if BACKWARD
#define OLDER(row)
#else
#define OLDER(row)                                                                                          \
  if (HISTORY && start + row < end) {                                                                       \
    const uint at = history_at(sequence_of(batch_row, start + row), start + group * EACH + r - begins[row], quad); \
    z[n] += by_place[r - n] * widen(history.data[at]);                                                      \
  }
#endif

// z of EACH tokens in a row: rows of y by the four taps, but those before a token's sequence (`older`).
#define CONVOLVE(older)                                                                         \
  UNROLLED for (uint r = 0; r < EACH + 3; ++r) {                                                \
    const vec4 own_y = FILLED || group * EACH + r < TOKENS + 3 ? Y_AT(group * EACH + r) : vec4(0); \
    UNROLLED for (uint n = 0; n < EACH; ++n) {                                                  \
      if (r < n || r > n + 3) continue;                                                         \
      older                                                                                     \
      z[n] += by_place[r - n] * own_y;                                                          \
    }                                                                                           \
  }

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

#if !BACKWARD
  if (HISTORY && packed == 1 && range == 0) {
    for (uint sequence = 0; sequence < sequences; ++sequence)
      if (sequence_begin(sequence) == sequence_end(sequence) && group == 0) keep_history(sequence, 0, quad);
  }
#endif
  const uint early = first > 0 && packed != EACH_TOKEN ? TOKENS : 0;
  Pack fetched[FETCHES(TOKENS, KEY_PACKS)];
  Cell carried[FETCHES(3, KEY_QUADS)];
#define FETCH_X(start) \
  FETCH(fetched, TOKENS, KEY_PACKS, (start) + row < end ? x.data[x_at + ((start) + row) * x_stride + pack] : Pack(0))
  if (AHEAD) FETCH_X(first - early)
  FETCH(carried, 3, KEY_QUADS, Cell(0))
  for (uint i = thread; i < TOKENS * LENGTH_QUADS; i += THREADS) lengths[i] = vec4(0);
  barrier();
  for (uint start = first - early; start < end; start += TOKENS) {
    if (!AHEAD) FETCH_X(start)
    if (ACTIVATE) {
      UNROLLED for (uint n = 0; n < FETCHES(TOKENS, KEY_PACKS); ++n) fetched[n] = narrow(silu(widen(fetched[n])));
    }
    PLACE_AT(ys, ROWS, KEY_STRIDE, TOKENS, KEY_PACKS, fetched)
    barrier();
    PLACE(ys, Y_STRIDE, 3, KEY_QUADS, carried)
    for (uint i = thread; i < TOKENS; i += THREADS) begins[i] = sequence_begin_of(start + i);

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
    if (!APART) barrier();
    UNROLLED for (uint n = 0; n < COLUMNS; ++n) {
      const uint column = own_column + n * COLUMN_TEAMS;
      UNROLLED for (uint m = 0; m < TEAM_ROWS; ++m) {
        const uint row = own_row + m * ROW_STEP;
        if (MAKES(column, row))
          STORE_FLOATS(sums[n * TEAM_ROWS + m], ys, (3 + row * TILE) * Y_STRIDE + column * TILE / 4, Y_STRIDE);
      }
    }
    barrier();

    if (AHEAD && start + TOKENS < end) FETCH_X(start + TOKENS)
    FETCH(carried, 3, KEY_QUADS, ys[(TOKENS + row) * Y_STRIDE + pack])  // the last rows are the next tile's first
    vec4 z[EACH];
    UNROLLED for (uint n = 0; n < EACH; ++n) z[n] = vec4(0);
    if (AHEAD && begins[0] == begins[TOKENS - 1] && start >= begins[0] + 3) {
      CONVOLVE(;)
    } else {
      CONVOLVE(
        const uint row = min(group * EACH + n, TOKENS - 1);
        if (start + group * EACH + r < begins[row] + 3) {
          OLDER(row)
          continue;
        })
    }
    if (start >= first) {
      UNROLLED for (uint n = 0; n < EACH; ++n) z[n] = silu(z[n]);
      vec4 squares[FOURS];
      if (NORM) {
        UNROLLED for (uint i = 0; i < FOURS; ++i) squares[i] = vec4(0);
        UNROLLED for (uint n = 0; n < EACH; ++n) squares[n / 4][n % 4] = dot(z[n], z[n]);
        UNROLLED for (uint i = 0; i < FOURS; ++i) squares[i] = sum_over_neighbours(squares[i]);
      }
      if (NORM && LENGTH_PARTS > 1) {
        UNROLLED for (uint n = 0; n < EACH; ++n) {
          const uint row = group * EACH + n;
          if (HAS_ROW(row) && quad % NEIGHBOURS == 0)
            lengths[row * LENGTH_QUADS + quad / NEIGHBOURS / 4][quad / NEIGHBOURS % 4] = squares[n / 4][n % 4];
        }
        barrier();
        UNROLLED for (uint n = 0; n < EACH; ++n) {
          const uint row = min(group * EACH + n, TOKENS - 1);
          float sum = 0;
          for (uint m = 0; m + 1 < LENGTH_QUADS; ++m) sum += dot(lengths[row * LENGTH_QUADS + m], vec4(1));
          squares[n / 4][n % 4] = sum;
        }
      }
      UNROLLED for (uint n = 0; n < EACH; ++n) {
        const uint row = group * EACH + n;
        if (!HAS_ROW(row) || start + row >= end) continue;
        if (NORM) z[n] *= inversesqrt(squares[n / 4][n % 4] + NORM_EPSILON);
        expanded.data[out_at + (start + row) * out_stride + quad] = narrow(z[n]);
#if BACKWARD
        y.data[out_at + (start + row) * out_stride + quad] = narrow(Y_AT(3 + row));
#else
        if (HISTORY) keep_token(sequence_of(batch_row, start + row), start + row, quad, Y_AT(3 + row));
#endif
      }
    }
    if (!APART) barrier();
  }
}
