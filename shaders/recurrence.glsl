// What the recurrent kernels share: the tensors that all of them read, the sizes, and the sequence that a workgroup runs.
// Bindings, constants and push constants are matched with the host by name, read from the SPIR-V.
#include "elements.glsl"
#include "rules.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint KEY_DIM = 64;  // K

layout(binding = 0) readonly buffer QBuffer { Quad data[]; } q;   // [B, T, Hq, E, K]
layout(binding = 1) readonly buffer KBuffer { Quad data[]; } k;   // [B, T, Hq, E, K]
#if RULE == GLA
layout(binding = 3) readonly buffer GBuffer { vec4 data[]; } g;   // [B, T, H, E, K]
#elif RULE != LINEAR
layout(binding = 3) readonly buffer GBuffer { float data[]; } g;  // [B, T, H, E]
#endif
#if RULE == GATED_DELTA
layout(binding = 4) readonly buffer BetaBuffer { float data[]; } beta;  // [B, T, H, E]
#endif
layout(binding = 6) readonly buffer CuSeqlensBuffer { int data[]; } cu_seqlens;  // [N + 1]

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
#if BACKWARD
  uint sequences;      // N
  uint initial_slot;   // `initial` and `ht` may hold the states at several times: which of them
  uint final_slot;
  uint chunk_slots;    // chunks of 16 tokens that a sequence has in this launch, at most; 0: none are kept
#endif
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

// The quad of columns [4 column4, 4 column4 + 4) of row 0 of a state; rows are value_dim / 4 quads apart. `block`: the
// sequence, or the chunk.
uint state_quad(uint block, uint head, uint subhead, uint column4) {
  return ((block * heads + head) * expansion + subhead) * KEY_DIM * (value_dim / 4) + column4;
}

#if BACKWARD
bool keeps_chunks() { return chunk_slots > 0; }

// Backward looks at the tokens of a launch in chunks, which are numbered without a table: sequence n has at most
// chunk_slots of them, and begins at token begin / 16 + n of a packed row at the latest; the smaller of the two keeps
// sequences apart and wastes neither many short ones nor few long ones.
const uint CHUNK = 16;

uint first_chunk(uint sequence) {
  const uint slots = sequence * chunk_slots;
  return packed != 0 ? min(slots, uint(cu_seqlens.data[sequence]) / CHUNK + sequence) : slots;
}
#endif
