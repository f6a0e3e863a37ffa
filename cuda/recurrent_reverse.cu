// Backward, first half: the gradient of the state, from the last token to the first. u is what a token adds
// to the state, S_t = e^g S_{t-1} + k_t^T u_t; C_t is the gradient of S_t that comes from later tokens
// (C_T = dht) and G_t the whole of it:
//   G_t = C_t + scale q_t^T do_t
//   du_t = k_t G_t
//   linear, ssd, gla   u = v:       dv_t = sum_j du_tj        C_{t-1} = e^g G_t
//   gated_delta        u = beta w:  dv_t = sum_j beta du_tj   C_{t-1} = e^g (G_t - beta k_t^T du_t)
//   dh0 = C_0
// Blocks, warps and lanes as in recurrent_forward.cu: do is staged once for all subheads, dv is summed over
// them in order and never stored E times. Leaves C at the end of every chunk of 16 tokens, and du
// (gated_delta).
#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

template <Kind kKind, int kPaddedKey>
__global__ void __launch_bounds__(cuda_tiles::kMaxScanWarps * 32)
    reverse_scan(const __grid_constant__ ScanParameters p) {
  extern __shared__ __align__(16) float shared[];
  Scan<kKind, kPaddedKey> scan(p, shared);
  using L = Lanes<kPaddedKey>;
  const L lanes(threadIdx.x % 32);
  const Arguments& a = p.a;
  const TokenRange range = token_range(a, scan.sequence);
  const int tile_column = scan.tile * L::kTile + lanes.column();
  const int last_block = (range.length + p.tokens - 1) / p.tokens - 1;

  for (int group = 0; group < p.groups; ++group) {
    scan.first_subhead = group * p.subheads;
    const bool active = scan.active();
    float carry[L::kRows][2];
    const std::int64_t own_state = scan.corner(scan.sequence, lanes);
    lanes.load(carry, a.dht && active ? a.dht + own_state : nullptr, a.key_dim, a.value_dim);

    const auto count_of = [&](int block) { return min(p.tokens, range.length - block * p.tokens); };
    if (last_block >= 0) scan.fetch(range.begin + last_block * p.tokens, count_of(last_block), a.d_o, true);
    for (int block = last_block; block >= 0; --block) {
      const int t = block * p.tokens, count = count_of(block);
      const bool ends_chunk = block == last_block || (t + p.tokens) % cuda_tiles::kGradientChunk == 0;
      if (active && ends_chunk) {
        const std::int64_t chunk = range.first_chunk + t / cuda_tiles::kGradientChunk;
        lanes.store(carry, p.scratch.gradients + scan.corner(chunk, lanes), a.key_dim, a.value_dim);
      }
      wait_for_copies();
      __syncthreads();
      if (block < last_block) scan.write_sums(range.begin + t + p.tokens, count_of(block + 1), a.dv);
      scan.unpack(count, true);
      __syncthreads();
      if (block > 0) scan.fetch(range.begin + t - p.tokens, p.tokens, a.d_o, true);

      for (int c = count - 1; active && c >= 0; --c) {
        const int row = c * p.subheads + scan.subhead;
        const float* k = scan.k + row * kPaddedKey;
        const float* q = scan.q + row * kPaddedKey;
        const float* decays = scan.decay + row * scan.kChannels;
        const float2 out = *reinterpret_cast<const float2*>(scan.values + c * scan.columns + tile_column);
        const float decay = kKind == Kind::kChannelDecay ? 0.f : decays[0];

        float u0[2] = {}, u1[2] = {};
#pragma unroll
        for (int i = 0; i < L::kQuads; ++i) {
          const float4 k4 = *reinterpret_cast<const float4*>(k + lanes.quad_row(i));
          const float4 q4 = *reinterpret_cast<const float4*>(q + lanes.quad_row(i));
          const float *keys = &k4.x, *queries = &q4.x;
          float4 d4 = make_float4(decay, decay, decay, decay);
          if constexpr (kKind == Kind::kChannelDecay)
            d4 = *reinterpret_cast<const float4*>(decays + lanes.quad_row(i));
          const float* d = &d4.x;
#pragma unroll
          for (int x = 0; x < 4; ++x) {
            float(&g)[2] = carry[i * 4 + x];
            g[0] += queries[x] * out.x;
            g[1] += queries[x] * out.y;
            u0[x % 2] += keys[x] * g[0];
            u1[x % 2] += keys[x] * g[1];
            if constexpr (kKind != Kind::kDelta) {  // the delta rule must know du first
              g[0] *= d[x];
              g[1] *= d[x];
            }
          }
        }
        float du0 = u0[0] + u0[1], du1 = u1[0] + u1[1];
        float* part = scan.parts + row * scan.columns + tile_column;
        if constexpr (kKind == Kind::kDelta) {
          lanes.sum(du0, du1);
          const float beta = scan.beta[row];
          if (lanes.key == 0) {
            float* du =
                p.scratch.du + scan.row(range.begin + t + c, scan.first_subhead + scan.subhead) * a.value_dim;
            *reinterpret_cast<float2*>(du + scan.first_column + tile_column) = make_float2(du0, du1);
            *reinterpret_cast<float2*>(part) = make_float2(beta * du0, beta * du1);
          }
          du0 *= beta;
          du1 *= beta;
          asm volatile("" ::: "memory");  // read k again, as in the forward scan
#pragma unroll
          for (int i = 0; i < L::kQuads; ++i) {
            const float4 k4 = *reinterpret_cast<const float4*>(k + lanes.quad_row(i));
            const float* keys = &k4.x;
#pragma unroll
            for (int x = 0; x < 4; ++x) {
              float(&g)[2] = carry[i * 4 + x];
              g[0] = decay * (g[0] - keys[x] * du0);
              g[1] = decay * (g[1] - keys[x] * du1);
            }
          }
        } else {
          const float du = lanes.sum_one(du0, du1);
          if (lanes.key < 2) part[lanes.key] = du;
        }
      }
    }
    __syncthreads();
    if (last_block >= 0) scan.write_sums(range.begin, count_of(0), a.dv);
    if (a.dh0 && active) lanes.store(carry, a.dh0 + own_state, a.key_dim, a.value_dim);
  }
}

}  // namespace

KernelPointer reverse_scan_kernel(Kind kind, int padded_key) {
  return instantiation(kind, padded_key, [](auto kind_constant, auto padded) {
    return reinterpret_cast<KernelPointer>(
        &reverse_scan<decltype(kind_constant)::value, decltype(padded)::value>);
  });
}

}  // namespace statescope::cuda
