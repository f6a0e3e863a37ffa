// dg and dbeta from their terms by the ways that these take through a chunk (runtime/cpu/chunked.h):
//   dg_t = through + sum_{i>=t} from_state_i + sum_{j<t} (beta_j (to_state_j + columns_j) - rows_j)
//   dbeta_j = to_state_j + columns_j
// with the sums of rows and of columns that chunked_pairs.comp leaves. A workgroup a chunk of SUBHEADS subheads, an invocation a
// token of one of them; g and beta, which lie subhead by subhead in memory, cross shared memory, or each would be a sector of its own.
//
// Shared memory, float, of each subhead: up_to and past [C], what of a token counts for those up to it and for those past it;
// crossing [C], twice; throughs [16].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(constant_id = 5) const uint KEY_TILE = 16;
layout(constant_id = 6) const uint SUBHEADS = 1;

layout(binding = 5) readonly buffer StateWaysBuffer { float data[]; } state_ways;  // as chunked_gradients.comp leaves them
layout(binding = 6) readonly buffer PairWaysBuffer { float data[]; } pair_ways;    // [parts, 2, C]: sums of rows, of columns
layout(binding = 7) writeonly buffer DgBuffer { float data[]; } dg;                // [B, T, H, E]
#if RULE == GATED_DELTA
layout(binding = 8) readonly buffer BetaBuffer { float data[]; } beta;             // [B, T, H, E]
layout(binding = 9) writeonly buffer DbetaBuffer { float data[]; } dbeta;          // [B, T, H, E]
#endif

const uint KEY_PARTS = KEY_DIM / KEY_TILE;
const uint THROUGHS = 16;

shared vec4 up_to[SUBHEADS * CHUNK / 4];
shared vec4 past[SUBHEADS * CHUNK / 4];
shared vec4 throughs[SUBHEADS * THROUGHS / 4];
shared float crossing[2 * SUBHEADS * CHUNK];

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint number = thread / CHUNK, token = thread % CHUNK;
  const uint parts = heads * expansion, first = gl_WorkGroupID.y * SUBHEADS;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = chunk.slot * parts + first + number;
  // The gate that this invocation reads and writes is of another token and subhead.
  const uint gate_token = thread / SUBHEADS, gate_number = thread % SUBHEADS;
  const uint gate = (chunk.begin + min(gate_token, chunk.tokens - 1)) * parts + first + gate_number;
  const uint crossed = gate_number * CHUNK + gate_token;
  const bool there = gate_token < chunk.tokens;

  const float row = pair_ways.data[part * 2 * CHUNK + token], column = pair_ways.data[(part * 2 + 1) * CHUNK + token];
  const float last = gamma.data[part * CHUNK + CHUNK - 1];
#if RULE == GATED_DELTA
  const float strength = beta.data[gate];
#endif
  float from = 0, to = 0, through = 0;
  for (uint n = 0; n < KEY_PARTS; ++n) {
    const uint at = (part * KEY_PARTS + n) * (2 * CHUNK + THROUGHS);
    from += state_ways.data[at + token];
    to += state_ways.data[at + CHUNK + token];
    through += state_ways.data[at + 2 * CHUNK + token % THROUGHS];
  }
#if RULE == GATED_DELTA
  crossing[crossed] = there ? strength : 0;
  crossing[SUBHEADS * CHUNK + thread] = to + column;
  barrier();
  const float weight = crossing[thread];
  from -= weight * to;  // which k_i . dK_i has in it
  if (there) dbeta.data[gate] = crossing[SUBHEADS * CHUNK + crossed];
#else
  const float weight = 1;
#endif
  up_to[thread / 4][thread % 4] = from;
  past[thread / 4][thread % 4] = weight * (to + column) - row;
  if (token < THROUGHS) throughs[(number * THROUGHS + token) / 4][token % 4] = through;
  barrier();
  vec4 sum = vec4(0), all = vec4(0);
  for (uint i = 0; i < CHUNK / 4; ++i)
    sum += mix(up_to[number * CHUNK / 4 + i], past[number * CHUNK / 4 + i], lessThan(4 * i + uvec4(0, 1, 2, 3), uvec4(token)));
  for (uint i = 0; i < THROUGHS / 4; ++i) all += throughs[number * THROUGHS / 4 + i];
  crossing[thread] = dot(exp(last) * all + sum, vec4(1));
  barrier();
  if (there) dg.data[gate] = crossing[crossed];
}
