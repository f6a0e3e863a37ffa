// Forward, token by token, with the state in registers:
//   linear, ssd   S <- e^g S + k^T v                 (linear: g = 0)
//   gla           S <- diag(e^g) S + k^T v
//   gated_delta   w = v - e^g k S;  S <- e^g S + k^T (beta w)
//   o = scale sum_j q_j S_j
// A block owns some columns of V of one head and all its subheads, a warp (or several, over V) each: v is
// staged once for all of them, and o is summed over them, in order, through shared memory. Shared memory:
// cuda_tiles::scan_bytes.
//
// Backward runs this kernel too, without outputs, to leave the state before every chunk of 16 tokens, and w.
#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

template <Kind kKind, int kPaddedKey, bool kOutputs>
__global__ void __launch_bounds__(cuda_tiles::kMaxScanWarps * 32)
    forward_scan(const __grid_constant__ ScanParameters p) {
  extern __shared__ __align__(16) float shared[];
  Scan<kKind, kPaddedKey> scan(p, shared);
  using L = Lanes<kPaddedKey>;
  const L lanes(threadIdx.x % 32);
  const Arguments& a = p.a;
  const TokenRange range = token_range(a, scan.sequence);
  const int tile_column = scan.tile * L::kTile + lanes.column();

  for (int group = 0; group < p.groups; ++group) {
    scan.first_subhead = group * p.subheads;
    const bool active = scan.active();
    float state[L::kRows][2];
    const std::int64_t own_state = scan.corner(scan.sequence, lanes);
    lanes.load(state, a.h0 && active ? a.h0 + own_state : nullptr, a.key_dim, a.value_dim);

    const auto count_at = [&](int t) { return min(p.tokens, range.length - t); };
    if (range.length > 0) scan.fetch(range.begin, count_at(0), a.v, kOutputs);
    for (int t = 0; t < range.length; t += p.tokens) {
      const int count = count_at(t);
      if (!kOutputs && active && t % cuda_tiles::kGradientChunk == 0) {
        const std::int64_t chunk = range.first_chunk + t / cuda_tiles::kGradientChunk;
        lanes.store(state, p.scratch.states + scan.corner(chunk, lanes), a.key_dim, a.value_dim);
      }
      wait_for_copies();
      __syncthreads();
      if (kOutputs && t > 0) scan.write_sums(range.begin + t - p.tokens, p.tokens, a.o);
      scan.unpack(count, kOutputs);
      __syncthreads();
      if (t + p.tokens < range.length) {
        scan.fetch(range.begin + t + p.tokens, count_at(t + p.tokens), a.v, kOutputs);
      }

      for (int c = 0; active && c < count; ++c) {
        const int row = c * p.subheads + scan.subhead;
        const float* k = scan.k + row * kPaddedKey;
        const float* q = scan.q + row * kPaddedKey;
        const float* decays = scan.decay + row * scan.kChannels;
        float2 u = *reinterpret_cast<const float2*>(scan.values + c * scan.columns + tile_column);
        const float decay = kKind == Kind::kChannelDecay ? 0.f : decays[0];

        if constexpr (kKind == Kind::kDelta) {
          float r0[2] = {}, r1[2] = {};  // two chains each: the sum over rows is this token's critical path
#pragma unroll
          for (int i = 0; i < L::kQuads; ++i) {
            const float4 k4 = *reinterpret_cast<const float4*>(k + lanes.quad_row(i));
            const float* keys = &k4.x;
#pragma unroll
            for (int x = 0; x < 4; ++x) {
              r0[x % 2] += keys[x] * state[i * 4 + x][0];
              r1[x % 2] += keys[x] * state[i * 4 + x][1];
            }
          }
          float left = r0[0] + r0[1], right = r1[0] + r1[1];
          lanes.sum(left, right);
          u.x -= decay * left;
          u.y -= decay * right;
          if (!kOutputs && lanes.key == 0) {
            float* w =
                p.scratch.w + scan.row(range.begin + t + c, scan.first_subhead + scan.subhead) * a.value_dim;
            *reinterpret_cast<float2*>(w + scan.first_column + tile_column) = u;
          }
          const float beta = scan.beta[row];
          u.x *= beta;
          u.y *= beta;
          // k is read a second time rather than held: 32 registers are worth more than 8 loads.
          asm volatile("" ::: "memory");
        }

        float o0 = 0.f, o1 = 0.f;
#pragma unroll
        for (int i = 0; i < L::kQuads; ++i) {
          const float4 k4 = *reinterpret_cast<const float4*>(k + lanes.quad_row(i));
          const float* keys = &k4.x;
          float4 d4 = make_float4(decay, decay, decay, decay);
          if constexpr (kKind == Kind::kChannelDecay)
            d4 = *reinterpret_cast<const float4*>(decays + lanes.quad_row(i));
          const float* d = &d4.x;
#pragma unroll
          for (int x = 0; x < 4; ++x) {
            float(&s)[2] = state[i * 4 + x];
            s[0] = d[x] * s[0] + keys[x] * u.x;
            s[1] = d[x] * s[1] + keys[x] * u.y;
          }
          if (kOutputs) {
            const float4 q4 = *reinterpret_cast<const float4*>(q + lanes.quad_row(i));
            const float* queries = &q4.x;
#pragma unroll
            for (int x = 0; x < 4; ++x) {
              o0 += queries[x] * state[i * 4 + x][0];
              o1 += queries[x] * state[i * 4 + x][1];
            }
          }
        }
        if (kOutputs) {
          const float o = lanes.sum_one(o0, o1);
          if (lanes.key < 2) scan.parts[row * scan.columns + tile_column + lanes.key] = o;
        }
      }
    }
    __syncthreads();
    if (kOutputs && range.length > 0) {
      const int last = (range.length - 1) / p.tokens * p.tokens;
      scan.write_sums(range.begin + last, count_at(last), a.o);
    }
    if (kOutputs && active) lanes.store(state, a.ht + own_state, a.key_dim, a.value_dim);
  }
}

}  // namespace

KernelPointer forward_scan_kernel(Kind kind, int padded_key, bool outputs) {
  return instantiation(kind, padded_key, [outputs](auto kind_constant, auto padded) {
    constexpr Kind kKind = decltype(kind_constant)::value;
    constexpr int kPaddedKey = decltype(padded)::value;
    return outputs ? reinterpret_cast<KernelPointer>(&forward_scan<kKind, kPaddedKey, true>)
                   : reinterpret_cast<KernelPointer>(&forward_scan<kKind, kPaddedKey, false>);
  });
}

}  // namespace statescope::cuda
