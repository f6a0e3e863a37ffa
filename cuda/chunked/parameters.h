// What a launch of the chunked kernels takes, and where the kernels are to be had (host and device).
#pragma once

#include <cstdint>

#include <cuda.h>
#include <vector_types.h>

#include "runtime/cuda_chunked.h"

namespace statescope::cuda::chunked {

/// Layouts of DESIGN section 1. A cluster of E blocks takes the subheads first_subhead to first_subhead + E -
/// 1 of a head, one a block.
struct Parameters {
  CUtensorMap query, key, value;
  CUtensorMap gate;   ///< gla
  const float* g;     ///< a number a token, or null
  const float* beta;  ///< gated_delta
  const float* h0;    ///< or null
  float* ht;
  void* o;
  const float4*
      sum_in;       ///< sums over the subheads of the launches before, or null; o's order is the kernel's own
  float4* sum_out;  ///< where to leave the sum instead of o, or null
  float4* handoff;  ///< [workers][E][2][16][128] states of chains that two workers share
  int* handoff_ready;              ///< [workers][E][2]
  const std::int32_t* cu_seqlens;  ///< or null
  int seq_len, heads, qk_heads, expansion, sequences;
  int first_subhead;
  float scale;
};

/// The kernel for clusters of 2^log_cluster blocks.
const void* forward_kernel_bf16(bool gated_delta, int log_cluster);
const void* forward_kernel_f16(bool gated_delta, int log_cluster);
const void* gla_kernel_bf16(int log_cluster);
const void* gla_kernel_f16(int log_cluster);

}  // namespace statescope::cuda::chunked
