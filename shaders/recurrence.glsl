// What the recurrent kernels share: the tensors of a layer, its sizes, and the sequence that a workgroup runs.
// Bindings, constants and push constants are matched with the host by name, read from the SPIR-V.
#include "elements.glsl"

// Rules, as the enumeration Rule of the host.
#define LINEAR 0
#define SSD 1
#define GLA 2
#define GATED_DELTA 3
#ifndef RULE
#error "RULE: one of the rules above"
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint KEY_DIM = 64;  // K

layout(binding = 0) readonly buffer QBuffer { Quad data[]; } q;   // [B, T, Hq, E, K]
layout(binding = 1) readonly buffer KBuffer { Quad data[]; } k;   // [B, T, Hq, E, K]
layout(binding = 2) readonly buffer VBuffer { Quad data[]; } v;   // [B, T, H, V]
#if RULE == GLA
layout(binding = 3) readonly buffer GBuffer { vec4 data[]; } g;   // [B, T, H, E, K]
#elif RULE != LINEAR
layout(binding = 3) readonly buffer GBuffer { float data[]; } g;  // [B, T, H, E]
#endif
#if RULE == GATED_DELTA
layout(binding = 4) readonly buffer BetaBuffer { float data[]; } beta;  // [B, T, H, E]
#endif
layout(binding = 5) readonly buffer InitialBuffer { vec4 data[]; } initial;  // [N, H, E, K, V]: h0; ht itself in a
// step, which is in place, and in every launch but the first of sequences that are cut up in time
layout(binding = 6) readonly buffer CuSeqlensBuffer { int data[]; } cu_seqlens;  // [N + 1]
layout(binding = 7) writeonly buffer OBuffer { Quad data[]; } o;        // [B, T, H, V]
layout(binding = 8) buffer HtBuffer { vec4 data[]; } ht;                // [N, H, E, K, V]

layout(push_constant) uniform Sizes {
  uint seq_len;        // T
  uint heads;          // H
  uint qk_heads;       // Hq
  uint expansion;      // E
  uint value_dim;      // V
  uint packed;         // cu_seqlens takes part
  uint has_initial;    // else the state starts from zero
  uint token_begin;    // this launch runs tokens [token_begin, token_end) of each sequence
  uint token_end;
  uint subhead_begin;  // and subheads [subhead_begin, subhead_begin + those that fit a workgroup)
  float scale;
};

// Rows of q, k, g, beta, v and o are numbered batch row times T plus token.
struct Tokens {
  uint begin, end;
};

Tokens tokens_of(uint sequence) {
  uint begin = packed != 0 ? uint(cu_seqlens.data[sequence]) : sequence * seq_len;
  uint end = packed != 0 ? uint(cu_seqlens.data[sequence + 1]) : begin + seq_len;
  return Tokens(min(begin + token_begin, end), min(begin + token_end, end));
}

uint qk_row(uint token, uint head, uint subhead) {
  return (token * qk_heads + head * qk_heads / heads) * expansion + subhead;
}

uint gate_row(uint token, uint head, uint subhead) { return (token * heads + head) * expansion + subhead; }

// The quad of columns [4 column4, 4 column4 + 4) of row 0 of a state; rows are value_dim / 4 quads apart.
uint state_quad(uint sequence, uint head, uint subhead, uint column4) {
  return ((sequence * heads + head) * expansion + subhead) * KEY_DIM * (value_dim / 4) + column4;
}
