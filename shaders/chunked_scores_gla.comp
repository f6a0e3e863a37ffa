// gla: P, j <= i: what a token reads of those before it in its chunk; Q ∘ e^γ, K ∘ e^{γ_C - γ} and e^{γ_C} for the kernels
// that follow. A chunk of a subhead by itself, from g: γ is never formed.
//
// The decay sits inside the sum over the channels. For a pivot between j and i it splits into two factors that are both
// <= 1, products of w = e^g over the tokens after j up to the pivot and over those after the pivot up to i. The pairs whose
// pivot is the end of the first half of a span of 2 h tokens are those of the span's second half with its first: one tile
// of rows, the first halves k and the second halves q, scaled, multiplied with itself, has them all. h = C / 2, .., 2, 1
// covers every pair i > j, and i = j has no decay. So an element has one role a level, its factor is one product more than
// its neighbour's, and the only exponentials are the w themselves.
//
// An invocation has four channels of eight tokens in registers. Whole eights count by the products of all their w, which
// it finds in shared memory. PANEL channels at a time, as many as the workgroup holds.
//
// Shared memory, Cell: mixed, the larger of BUFFERS tiles [C][PANEL / PACK + 1] and P [C][C / PACK + 1]; float: totals
// [C / 8][PANEL], own, one an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#define QK Quad
#include "chunked.glsl"

layout(constant_id = 5) const uint BUFFERS = 1;  // tiles of rows; with two a level's tile is made beside the one in use

layout(binding = 4) readonly buffer GBuffer { vec4 data[]; } g;                  // [B, T, H, E, K]
layout(binding = 5) writeonly buffer ScoresBuffer { Pack data[]; } scores;       // [parts, C, C], in 16 x 16 tiles with j <= i
layout(binding = 6) writeonly buffer DecayedQBuffer { Quad data[]; } decayed_q;  // [parts, C, K]: Q ∘ e^γ
layout(binding = 7) writeonly buffer DecayedKBuffer { Quad data[]; } decayed_k;  // [parts, C, K]: K ∘ e^{γ_C - γ}
layout(binding = 8) writeonly buffer WholeBuffer { vec4 data[]; } whole;         // [parts, K]: e^{γ_C}

const uint EIGHT = 8;
const uint EIGHTS = CHUNK / EIGHT;
const uint ROW_TILES = CHUNK / TILE;
const uint KEY_QUADS = KEY_DIM / 4;
const uint PANEL_QUADS = KEY_QUADS < THREADS / EIGHTS ? KEY_QUADS : THREADS / EIGHTS;
const uint PANEL_PACKS = PANEL_QUADS * 4 / PACK;
const uint PANELS = (KEY_QUADS + PANEL_QUADS - 1) / PANEL_QUADS;
const uint MIXED_STRIDE = PANEL_PACKS + 1;
const uint MIXED_CELLS = CHUNK * MIXED_STRIDE;
const uint SHARERS = THREADS / CHUNK;  // invocations that share a row

shared Cell mixed[BUFFERS * MIXED_CELLS > CHUNK * CHUNK_STRIDE ? BUFFERS * MIXED_CELLS : CHUNK * CHUNK_STRIDE];
shared vec4 totals[EIGHTS * PANEL_QUADS];
shared float own[CHUNK * SHARERS];  // parts of q_i . k_i

#if COOPERATIVE
#define SET_QUAD(at, quad, value)                             \
  {                                                           \
    const uvec2 narrow_ = narrow(value);                      \
    mixed[(at) + (quad) / 2][(quad) % 2 * 2] = narrow_.x;     \
    mixed[(at) + (quad) / 2][(quad) % 2 * 2 + 1] = narrow_.y; \
  }
#define SET_FLOAT(at, i, value) mixed[(at) + (i) / 4][(i) % 4] = floatBitsToUint(value)
#define FLOATS_AT(at) uintBitsToFloat(mixed[at])
#else
#define SET_QUAD(at, quad, value) mixed[(at) + (quad)] = value
#define SET_FLOAT(at, i, value) mixed[(at) + (i) / 4][(i) % 4] = value
#define FLOATS_AT(at) mixed[at]
#endif

// The product of two 16-row blocks of a tile.
Sum mixed_product(uint tile_at, uint row, uint column) {
  Sum products = EMPTY;
  UNROLLED for (uint d = 0; d < steps(4 * PANEL_QUADS); d += DEPTH) {
    Left left;
    Right right;
    LOAD_LEFT(left, mixed, tile_at + row * MIXED_STRIDE + d / PACK, MIXED_STRIDE);
    LOAD_RIGHT_TRANSPOSED(right, mixed, tile_at + column * MIXED_STRIDE + d / PACK, MIXED_STRIDE);
    MULTIPLY_ADD(products, left, right);
  }
  return products;
}

// Of the pairs whose blocks are 16 h apart or more, this team's tile.
uint apart_row(uint team, uint blocks) { return (team / (blocks * blocks) * 2 * blocks + blocks + team / blocks % blocks) * TILE; }
uint apart_column(uint team, uint blocks) { return (team / (blocks * blocks) * 2 * blocks + team % blocks) * TILE; }

void main() {
  const uint thread = thread_index(), team = team_index();
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = part_of(chunk, head, subhead);
  const uint qk_first = qk_row(chunk.begin, head, subhead) * KEY_QUADS, qk_stride = qk_heads * expansion * KEY_QUADS;
  const uint g_first = gate_row(chunk.begin, head, subhead) * KEY_QUADS, g_stride = heads * expansion * KEY_QUADS;
  const uint eight = thread / PANEL_QUADS, quad = thread % PANEL_QUADS;
  const bool takes_part = eight < EIGHTS;
  find_positions();

  Sum diagonal = EMPTY, near = EMPTY, far = EMPTY;  // this team's tiles: on the diagonal, of h = 16, of h = 32
  float own_part = 0;
  uint tile_at = 0;

// What is written next may still be read where it would go.
#define TURN_TILE                            \
  if (BUFFERS == 1) barrier();               \
  tile_at = MIXED_CELLS * BUFFERS - MIXED_CELLS - tile_at;

  for (uint panel = 0; panel < PANELS; ++panel) {
    const uint channels = panel * PANEL_QUADS + quad;
    const bool inside = takes_part && channels < KEY_QUADS;
    Quad queries[EIGHT], keys[EIGHT];
    vec4 w[EIGHT];
    UNROLLED for (uint i = 0; i < EIGHT; ++i) {
      const uint row = eight * EIGHT + i;
      const bool there = inside && row < chunk.tokens;
      queries[i] = keys[i] = Quad(0);
      w[i] = vec4(0);
      if (there) {
        queries[i] = q.data[qk_first + row * qk_stride + channels];
        keys[i] = k.data[qk_first + row * qk_stride + channels];
        w[i] = g.data[g_first + row * g_stride + channels];
      }
    }
    TURN_TILE
    vec4 total = vec4(1);
    UNROLLED for (uint i = 0; i < EIGHT; ++i) {
      w[i] = exp(w[i]);
      total *= w[i];
      if (takes_part)
        SET_FLOAT(tile_at + (eight * EIGHT + i) * MIXED_STRIDE, quad, dot(widen(queries[i]), widen(keys[i])));
    }
    if (takes_part) totals[thread] = total;
    barrier();
    if (thread < CHUNK * SHARERS) {
      for (uint i = thread % SHARERS; i < PANEL_QUADS / 4; i += SHARERS)
        own_part += dot(FLOATS_AT(tile_at + thread / SHARERS * MIXED_STRIDE + i), vec4(1));
    }

    // Products over whole eights before and after this one, within spans that double.
    vec4 before = vec4(1), after = vec4(1);
    UNROLLED for (uint half_span = 1; half_span < CHUNK; half_span *= 2) {
      TURN_TILE
      if (takes_part) {
        if (half_span < EIGHT) {
          vec4 factor = vec4(1);
          UNROLLED for (uint i = 0; i < EIGHT; ++i) {
            if (i % (2 * half_span) < half_span) continue;
            factor = i % half_span == 0 ? w[i] : factor * w[i];
            SET_QUAD(tile_at + (eight * EIGHT + i) * MIXED_STRIDE, quad, widen(queries[i]) * factor);
          }
          UNROLLED for (uint n = 0; n < EIGHT; ++n) {
            const uint i = EIGHT - 1 - n;
            if (i % (2 * half_span) >= half_span) continue;
            if (i % half_span == half_span - 1) factor = vec4(1);
            SET_QUAD(tile_at + (eight * EIGHT + i) * MIXED_STRIDE, quad, widen(keys[i]) * factor);
            factor *= w[i];
          }
        } else {
          const uint span = half_span / EIGHT;  // in eights
          if (eight / span % 2 == 1) {
            vec4 factor = before;
            UNROLLED for (uint i = 0; i < EIGHT; ++i) {
              factor *= w[i];
              SET_QUAD(tile_at + (eight * EIGHT + i) * MIXED_STRIDE, quad, widen(queries[i]) * factor);
            }
            for (uint m = 0; m < span; ++m) before *= totals[(eight / span * span - 1 - m) * PANEL_QUADS + quad];
          } else {
            vec4 factor = after;
            UNROLLED for (uint n = 0; n < EIGHT; ++n) {
              const uint i = EIGHT - 1 - n;
              SET_QUAD(tile_at + (eight * EIGHT + i) * MIXED_STRIDE, quad, widen(keys[i]) * factor);
              factor *= w[i];
            }
            for (uint m = 0; m < span; ++m) after *= totals[(eight / span * span + span + m) * PANEL_QUADS + quad];
          }
        }
      }
      barrier();
      if (half_span >= TILE) {
        const uint blocks = half_span / TILE;  // in half a span
        if (team < ROW_TILES * blocks / 2) {
          const Sum products = mixed_product(tile_at, apart_row(team, blocks), apart_column(team, blocks));
          if (blocks == 1) {
            near = SUM_OF(near, products);
          } else {
            far = SUM_OF(far, products);
          }
        }
      } else if (team < ROW_TILES) {
        const Sum products = mixed_product(tile_at, team * TILE, team * TILE);
        EACH_ELEMENT {
          const uint i = ROW / half_span, j = COLUMN / half_span;
          if (i % 2 == 1 && j == i - 1) VALUE(diagonal) += VALUE(products);
        }
      }
    }

    if (inside) {
      const uint to = (part * CHUNK + eight * EIGHT) * KEY_QUADS + channels;
      UNROLLED for (uint i = 0; i < EIGHT; ++i) {
        before *= w[i];
        decayed_q.data[to + i * KEY_QUADS] = narrow(widen(queries[i]) * before);
      }
      if (eight == EIGHTS - 1) whole.data[part * KEY_QUADS + channels] = before;
      UNROLLED for (uint n = 0; n < EIGHT; ++n) {
        const uint i = EIGHT - 1 - n;
        decayed_k.data[to + i * KEY_QUADS] = narrow(widen(keys[i]) * after);
        after *= w[i];
      }
    }
  }

  if (thread < CHUNK * SHARERS) own[thread] = own_part;
  barrier();
  if (team < ROW_TILES / 2) STORE_CELLS(near, mixed, apart_row(team, 1) * CHUNK_STRIDE + apart_column(team, 1) / PACK, CHUNK_STRIDE);
  if (team < ROW_TILES && ROW_TILES > 2)
    STORE_CELLS(far, mixed, apart_row(team, 2) * CHUNK_STRIDE + apart_column(team, 2) / PACK, CHUNK_STRIDE);
  if (team < ROW_TILES) {
    EACH_ELEMENT {
      if (ROW != COLUMN) continue;
      for (uint i = 0; i < SHARERS; ++i) VALUE(diagonal) += own[(team * TILE + ROW) * SHARERS + i];
    }
    STORE_CELLS(diagonal, mixed, team * TILE * CHUNK_STRIDE + team * TILE / PACK, CHUNK_STRIDE);
  }
  barrier();
  for (uint i = thread; i < CHUNK * CHUNK_PACKS; i += THREADS) {
    const uint row = i / CHUNK_PACKS, pack = i % CHUNK_PACKS;
    if (pack * PACK / TILE <= row / TILE)
      scores.data[part * CHUNK * CHUNK_PACKS + i] = pack_of(mixed[row * CHUNK_STRIDE + pack]);
  }
}
