// What the chunked kernels share: tensors and sizes, and where the chunks are. runtime/cpu/chunked.h has the equations
// and the symbols.
//
// A chunk's slot numbers its place in the buffers that the kernels leave for each other. Packed sequences begin
// anywhere: sequence n, from token b, has the slots from b / CHUNK + n, which is more than its predecessors fill; what
// is left over stays empty. A launch covers the slots [slot_begin, slot_end).
#include "matrices.glsl"
#include "rules.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint KEY_DIM = 64;  // K
layout(constant_id = 3) const uint CHUNK = 64;    // C, tokens

#ifndef QK
#define QK Pack  // what q and k are read by
#endif
layout(binding = 0) readonly buffer QBuffer { QK data[]; } q;             // [B, T, Hq, E, K]
layout(binding = 1) readonly buffer KBuffer { QK data[]; } k;             // [B, T, Hq, E, K]
layout(binding = 2) readonly buffer VBuffer { Pack data[]; } v;           // [B, T, H, V]
layout(binding = 3) readonly buffer CuSeqlensBuffer { int data[]; } cu_seqlens;  // [N + 1]

layout(push_constant) uniform Sizes {
  uint seq_len;      // T
  uint sequences;    // N
  uint heads;        // H
  uint qk_heads;     // Hq
  uint expansion;    // E
  uint value_dim;    // V
  uint packed;       // cu_seqlens takes part
  uint has_initial;  // h0 takes part
  uint slot_begin;
  uint slot_end;
  float scale;
#if BACKWARD
  uint has_final;    // dht takes part
  uint stretch;      // of backward's launches, which keep the states between them
#endif
};

uint sequence_begin(uint sequence) { return packed != 0 ? uint(cu_seqlens.data[sequence]) : sequence * seq_len; }
uint sequence_end(uint sequence) { return packed != 0 ? uint(cu_seqlens.data[sequence + 1]) : (sequence + 1) * seq_len; }
uint chunks_of(uint sequence) { return (sequence_end(sequence) - sequence_begin(sequence) + CHUNK - 1) / CHUNK; }

// Chunk by chunk over all sequences where they are equally long; sequence by sequence where they are packed.
uint slot_of(uint sequence, uint index) {
  return packed != 0 ? sequence_begin(sequence) / CHUNK + sequence + index : index * sequences + sequence;
}

// Rows of q, k, v, g, beta and o are numbered batch row times T plus token.
struct Chunk {
  uint slot;    // within the launch
  uint begin;   // first row
  uint tokens;  // 0: an empty slot
};

Chunk chunk_of(uint sequence, uint index) {
  const uint begin = sequence_begin(sequence) + index * CHUNK, end = sequence_end(sequence);
  return Chunk(slot_of(sequence, index) - slot_begin, begin, begin < end ? min(CHUNK, end - begin) : 0);
}

Chunk chunk_in(uint slot) {
  const uint wanted = slot_begin + slot;
  if (packed == 0) return chunk_of(wanted % sequences, wanted / sequences);
  uint low = 0, high = sequences - 1;
  while (low < high) {
    const uint middle = (low + high + 1) / 2;
    if (slot_of(middle, 0) <= wanted) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return chunk_of(low, wanted - slot_of(low, 0));
}

uint qk_row(uint token, uint head, uint subhead) {
  return (token * qk_heads + head * qk_heads / heads) * expansion + subhead;
}
uint gate_row(uint token, uint head, uint subhead) { return (token * heads + head) * expansion + subhead; }

// The number of a subhead's chunk among all of the launch.
uint part_of(Chunk chunk, uint head, uint subhead) { return (chunk.slot * heads + head) * expansion + subhead; }

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
const uint KEY_PACKS = KEY_DIM / PACK;
// One pack more than a row: rows then begin in different banks.
const uint KEY_STRIDE = KEY_PACKS + 1;
const uint CHUNK_PACKS = CHUNK / PACK;
const uint CHUNK_STRIDE = CHUNK_PACKS + 1;

// Where the gates of ssd and gated_delta go: γ of every token, cumulated within its chunk, and past a chunk's end γ of its last.
#if RULE == SSD || RULE == GATED_DELTA
layout(binding = 4) buffer GammaBuffer { float data[]; } gamma;  // [parts, C]
#endif
