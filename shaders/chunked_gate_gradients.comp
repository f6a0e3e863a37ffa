// dg and dbeta from their terms by the ways that these take through a chunk (runtime/cpu/chunked.h):
//   dg_t = through + sum_{i>=t} from_state_i + sum_{j<t} beta_j to_state_j + pairs_t,  dbeta_j = to_state_j + pairs_j
// A workgroup a chunk of a subhead, an invocation a token.
//
// Shared memory, float: from_state and to_state [C].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "chunked.glsl"

layout(constant_id = 5) const uint KEY_TILE = 16;

layout(binding = 5) readonly buffer StateWaysBuffer { float data[]; } state_ways;  // as chunked_gradients.comp leaves them
layout(binding = 6) readonly buffer PairWaysBuffer { float data[]; } pair_ways;    // [parts, 2, C]: terms of dg, of dbeta
layout(binding = 7) writeonly buffer DgBuffer { float data[]; } dg;                // [B, T, H, E]
#if RULE == GATED_DELTA
layout(binding = 8) readonly buffer BetaBuffer { float data[]; } beta;             // [B, T, H, E]
layout(binding = 9) writeonly buffer DbetaBuffer { float data[]; } dbeta;          // [B, T, H, E]
#endif

const uint KEY_PARTS = KEY_DIM / KEY_TILE;
const uint THROUGHS = 16;

shared float from_state[CHUNK];
shared float to_state[CHUNK];

void main() {
  const uint token = gl_LocalInvocationIndex;
  const uint head = gl_WorkGroupID.y / expansion, subhead = gl_WorkGroupID.y % expansion;
  const Chunk chunk = chunk_in(gl_WorkGroupID.x);
  if (chunk.tokens == 0) return;
  const uint part = part_of(chunk, head, subhead), gate = gate_row(chunk.begin + token, head, subhead);
  const bool there = token < chunk.tokens;

  float from = 0, to = 0, through = 0;
  for (uint n = 0; n < KEY_PARTS; ++n) {
    const uint at = (part * KEY_PARTS + n) * (2 * CHUNK + THROUGHS);
    from += state_ways.data[at + token];
    to += state_ways.data[at + CHUNK + token];
    for (uint i = 0; i < THROUGHS; ++i) through += state_ways.data[at + 2 * CHUNK + i];
  }
#if RULE == GATED_DELTA
  if (there) dbeta.data[gate] = to + pair_ways.data[(part * 2 + 1) * CHUNK + token];
  to *= there ? beta.data[gate] : 0;
  from -= to;  // which k_i . dK_i has in it
#endif
  from_state[token] = from;
  to_state[token] = to;
  barrier();
  float sum = exp(gamma.data[part * CHUNK + CHUNK - 1]) * through + pair_ways.data[part * 2 * CHUNK + token];
  for (uint i = 0; i < CHUNK; ++i) sum += i < token ? to_state[i] : from_state[i];
  if (there) dg.data[gate] = sum;
}
