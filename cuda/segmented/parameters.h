// What the kernels that cut a sequence into segments and join them take (host and device).
//
// Segment s of sequence n is sequence n S + s of a packed row: the forward's own kernels run over them, each
// from the state before it.
#pragma once

#include <cstdint>

#include "cuda/multipass/hopper.h"
#include "runtime/cuda_segments.h"

namespace statescope::cuda::segmented {

/// Where the segments' sequences begin and end.
struct CutParameters {
  const std::int32_t* cu_seqlens;  ///< of the sequences, or null
  std::int32_t* cuts;              ///< [N S + 1]
  int sequences, seq_len, segments;
};

/// What a segment does to the state, h -> M h + N. Index of a segment of a subhead: ((n S + s) H + h) E + e.
struct Effects {
  float* ends;  ///< [K][V] N
  /// gated_delta: [K][K] M transposed. gla: [K] its diagonal. Others: a number. The first segment of
  /// gated_delta has none: its N begins with h0.
  float* transitions;
};

struct TransitionParameters {
  multipass::SerialParameters serial;  ///< of the segments: key, value, inverse
  Effects effects;
  const float* h0;  ///< of the sequences, or null
};

/// gla, whose N the serial pass itself makes.
struct DecayParameters {
  Arguments a;          ///< of the segments
  const float* decays;  ///< of chunks of subheads: multipass::GlaScratch
  float* transitions;
};

struct JoinParameters {
  Effects effects;
  const float* h0;  ///< of the sequences, or null
  float* starts;    ///< the state before each segment, as `ends`
  float* ht;        ///< or null
  int segments, key_dim, value_dim;
};

/// transitions.cuh; K 64, 128 or 256, V any multiple of 64.
const void* transitions_bf16(bool delta, int key_dim);
const void* transitions_f16(bool delta, int key_dim);

/// join.cu
const void* cut_kernel();
const void* decays_kernel();
const void* join_matrices_kernel(int key_dim);
const void* join_decays_kernel(bool per_channel);

}  // namespace statescope::cuda::segmented
