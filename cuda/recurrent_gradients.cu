// Backward, second half: dq, dk, dg and dbeta of 16 tokens, every chunk of every subhead at once.
//
// The scans left S_0, the state before the chunk, and C_n, the gradient of the state after it. Inside the
// chunk (tokens t = 0 .. n-1, decay a_t = e^{g_t}, u_t = beta_t w_t, or v_t where there is no beta) every
// state is S_0 decayed plus rank-one terms k_s^T u_s. So S and C are seen only through their products with
// S_0, C_n and a few vectors, and none of the 16 pairs of states is ever formed.
//
// Three products K x V a token, and scalars; q is scaled, rows are channels of K:
//   P1_t = S_0 do_t       P2_t = C_n u_t       P3_t = S_0 du_t       D = sum_v C_n S_0
//   M_ts = do_t . u_s     N_ts = du_t . u_s
// Going back in time, y_s = C u_s (from P2_s) and x = sum_v C S_0 (from D) follow C itself:
//   G_t u_t  = y_t + q_t M_tt
//   y_s     <- a_t (y_s + q_t M_ts - beta_t k_t N_ts)     for s < t
//   x       <- a_t (x + q_t P1_t - beta_t k_t P3_t)       and now C = C_{t-1}
// Reading them off ("decayed" from 0 or s to t or t - 1; dg is summed over K unless gla):
//   dg_t  = sum_v C_{t-1} S_{t-1} = decayed x + sum_{s<t} decayed k_s y_s
//   dq_t  = scale S_t do_t,  S_t do_t = decayed P1_t + sum_{s<=t} decayed k_s M_ts
//   dk_t  = G_t u_t - beta_t a_t S_{t-1} du_t,  S_{t-1} du_t = decayed P3_t + sum_{s<t} decayed k_s N_ts
//   dbeta_t = du_t . w_t
// Terms with N, P3 and beta: gated_delta alone. Decays are products of a, by Horner's rule: no differences of
// cumulated gates, no division, so gates down to e^-20 lose nothing.
//
// One thread a channel of K; heads that share q and k (Hq < H) are walked in order inside the block.
// Shared memory: cuda_tiles::gradient_floats.
#include "cuda/recurrence.cuh"

namespace statescope::cuda {
namespace {

constexpr int kChunk = cuda_tiles::kGradientChunk;
constexpr int kColumns = cuda_tiles::kGradientColumns;

/// row . column of 16 tokens: sums[t] += x * values[t].
__device__ inline void accumulate(float (&sums)[kChunk], float x, const float* values) {
#pragma unroll
  for (int t = 0; t < kChunk; t += 4) {
    const float4 v = *reinterpret_cast<const float4*>(values + t);
    sums[t] += x * v.x;
    sums[t + 1] += x * v.y;
    sums[t + 2] += x * v.z;
    sums[t + 3] += x * v.w;
  }
}

/// A sum of products as if in twice the precision (Ogita, Rump, Oishi 2005, Dot2): `sum` + `lost`. One scalar
/// do . u scales whole rows of dq and dk, and may be a small difference of large terms: a plain sum's error
/// alone would miss float32's tolerance there.
struct Dot {
  float sum, lost;
  __device__ void add(float x, float y) {
    const float product = __fmul_rn(x, y), next = __fadd_rn(sum, product), added = __fsub_rn(next, sum);
    lost += __fadd_rn(__fadd_rn(__fsub_rn(sum, __fsub_rn(next, added)), __fsub_rn(product, added)),
                      __fmaf_rn(x, y, -product));
    sum = next;
  }
  /// For 16-bit inputs, whose own rounding is far larger.
  __device__ void add_plain(float x, float y) { sum += x * y; }
};

// The register limits are what fits without spills, and let four (gated_delta: three) blocks of K = 128 share
// a multiprocessor.
template <Kind kKind>
__global__ void __maxnreg__(kKind == Kind::kDelta ? 168 : 128)
    chunk_gradients(const __grid_constant__ GradientParameters p) {
  constexpr bool kDelta = kKind == Kind::kDelta;
  constexpr bool kChannelDecay = kKind == Kind::kChannelDecay;
  const Arguments& a = p.a;
  const int threads = blockDim.x, channel = threadIdx.x;
  const bool inside = channel < a.key_dim;

  const int subhead = blockIdx.x % a.expansion;
  const int qk_head = blockIdx.x / a.expansion % a.qk_heads;
  const std::int64_t chunk = blockIdx.x / a.expansion / a.qk_heads;
  int low = 0, high = a.sequences;  // the last sequence whose first chunk is not beyond this one
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (token_range(a, middle).first_chunk <= chunk ? low : high) = middle;
  }
  const TokenRange range = token_range(a, low);
  const int first = static_cast<int>(chunk - range.first_chunk) * kChunk;
  const int count = min(kChunk, range.length - first);
  if (count <= 0) return;
  const std::int64_t first_token = range.begin + first;

  extern __shared__ __align__(16) float shared[];
  SharedMemory memory(shared);
  float* m = memory.take(kChunk * kChunk);
  float* n = memory.take(kChunk * kChunk);
  float* m_lost = memory.take(kChunk * kChunk);
  float* n_lost = memory.take(kChunk * kChunk);
  float* outs = memory.take(kColumns * kChunk);  // do, w, du: [column][token]
  float* ws = memory.take(kColumns * kChunk);
  float* dus = memory.take(kColumns * kChunk);
  float* q = memory.take(kChunk * threads);
  float* k = memory.take(kChunk * threads);
  float* decay = memory.take(kChunk * (kChannelDecay ? threads : 1));
  float* beta = memory.take(kChunk);
  float* warp_sums = memory.take(threads / cuda_tiles::kWarp * kChunk);
  // Two buffers: one at work, one on its way.
  const int tile_floats = threads * kColumns;
  float* states = memory.take(2 * tile_floats);
  float* gradients = memory.take(2 * tile_floats);
  float* next_outs = memory.take(kChunk * kColumns);  // as stored, [token][column]
  float* next_ws = memory.take(kChunk * kColumns);
  float* next_dus = memory.take(kChunk * kColumns);
  memory.expect_all_taken(shared);
  // Which 16 bytes of a row hold its columns 4 quad ..: threads that read the same columns of eight
  // consecutive rows hit all banks.
  const auto place = [](int row, int quad) { return (row * 4 + (quad ^ (row / 2 & 3))) * 4; };

  // Tokens beyond the end: zero vectors and a decay of one, which change nothing.
  for (int t = 0; t < kChunk; ++t) {
    const std::int64_t index =
        (((first_token + t) * a.qk_heads + qk_head) * a.expansion + subhead) * a.key_dim + channel;
    const bool there = inside && t < count;
    q[t * threads + channel] = there ? a.scale * load1(a.q, index, a.dtype) : 0.f;
    k[t * threads + channel] = there ? load1(a.k, index, a.dtype) : 0.f;
  }

  float dq[kChunk] = {}, dk[kChunk] = {};
  const int heads_a_group = a.heads / a.qk_heads;
  for (int head = qk_head * heads_a_group; head < (qk_head + 1) * heads_a_group; ++head) {
    const auto row = [&](int t) { return ((first_token + t) * a.heads + head) * a.expansion + subhead; };
    const std::int64_t matrix = ((chunk * a.heads + head) * a.expansion + subhead) * a.key_dim * a.value_dim;
    __syncthreads();  // the head before is done with shared memory
    if constexpr (kChannelDecay) {
      for (int t = 0; t < kChunk; ++t) {
        decay[t * threads + channel] =
            inside && t < count ? expf(__ldg(a.g + row(t) * a.key_dim + channel)) : 1.f;
      }
    } else if (threadIdx.x < kChunk) {
      const int t = threadIdx.x;
      decay[t] = t < count && a.g ? expf(__ldg(a.g + row(t))) : 1.f;
      beta[t] = !kDelta ? 1.f : t < count ? __ldg(a.beta + row(t)) : 0.f;
    }
    for (int i = threadIdx.x; i < kChunk * kChunk; i += threads) m[i] = n[i] = m_lost[i] = n_lost[i] = 0.f;

    // The products over V, 16 columns at a time; the next 16 arrive meanwhile.
    const auto fetch = [&](int v) {
      const int buffer = v / kColumns % 2 * tile_floats;
      for (int i = threadIdx.x; i < a.key_dim * 4; i += threads) {
        const int r = i / 4, quad = i % 4, at = buffer + place(r, quad);
        const std::int64_t index = matrix + static_cast<std::int64_t>(r) * a.value_dim + v + quad * 4;
        copy_async<16>(states + at, p.scratch.states + index);
        copy_async<16>(gradients + at, p.scratch.gradients + index);
      }
      const int element = a.dtype == DType::kF32 ? 4 : 2;  // and the 16-byte pieces of 16 columns
      const auto bring = [&](float* to, const void* from, int pieces, auto token_row) {
        for (int i = threadIdx.x; i < count * pieces; i += threads) {
          const int t = i / pieces, piece = i % pieces * 16;
          copy_async<16>(
              reinterpret_cast<std::byte*>(to) + i * 16,
              static_cast<const std::byte*>(from) + (token_row(t) * a.value_dim + v) * pieces + piece);
        }
      };
      const auto head_row = [&](int t) { return (first_token + t) * a.heads + head; };
      bring(next_outs, a.d_o, element, head_row);
      if constexpr (kDelta) {
        bring(next_ws, p.scratch.w, 4, row);
        bring(next_dus, p.scratch.du, 4, row);
      } else {
        bring(next_ws, a.v, element, head_row);
      }
    };
    float p1[kChunk] = {}, y[kChunk] = {}, p3[kChunk] = {}, x = 0.f;
    fetch(0);
    for (int v = 0; v < a.value_dim; v += kColumns) {
      wait_for_copies();
      __syncthreads();
      for (int i = threadIdx.x; i < kChunk * kColumns / 4; i += threads) {  // to float32, [column][token]
        const int t = i / (kColumns / 4), c = i % (kColumns / 4) * 4, at = c * kChunk + t;
        const auto spread = [&](float* to, const float* from, DType type) {
          const float4 values = t < count ? read4(from, i * 4, type) : make_float4(0.f, 0.f, 0.f, 0.f);
          to[at] = values.x;
          to[at + kChunk] = values.y;
          to[at + 2 * kChunk] = values.z;
          to[at + 3 * kChunk] = values.w;
        };
        spread(outs, next_outs, a.dtype);
        spread(ws, next_ws, kDelta ? DType::kF32 : a.dtype);
        if constexpr (kDelta) spread(dus, next_dus, DType::kF32);
      }
      __syncthreads();
      if (v + kColumns < a.value_dim) fetch(v + kColumns);
      const int buffer = v / kColumns % 2 * tile_floats;
      if (inside) {
#pragma unroll 1
        for (int quad = 0; quad < kColumns / 4; ++quad) {
          const float4 s4 = *reinterpret_cast<const float4*>(states + buffer + place(channel, quad));
          const float4 g4 = *reinterpret_cast<const float4*>(gradients + buffer + place(channel, quad));
          const float *state = &s4.x, *gradient = &g4.x;
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int column = (quad * 4 + c) * kChunk;
            x += state[c] * gradient[c];
            accumulate(p1, state[c], outs + column);
            accumulate(y, gradient[c], ws + column);
            if constexpr (kDelta) accumulate(p3, state[c], dus + column);
          }
        }
      }
      for (int i = threadIdx.x; i < kChunk * kChunk; i += threads) {
        const int t = i / kChunk, s = i % kChunk;
        if (s > t) continue;
        Dot dot_m{m[i], m_lost[i]}, dot_n{n[i], n_lost[i]};
        if (a.dtype == DType::kF32) {
          for (int c = 0; c < kColumns; ++c) {
            dot_m.add(outs[c * kChunk + t], ws[c * kChunk + s]);
            if constexpr (kDelta) dot_n.add(dus[c * kChunk + t], ws[c * kChunk + s]);
          }
          m_lost[i] = dot_m.lost;
          n_lost[i] = dot_n.lost;
        } else {
          for (int c = 0; c < kColumns; ++c) {
            dot_m.add_plain(outs[c * kChunk + t], ws[c * kChunk + s]);
            if constexpr (kDelta) dot_n.add_plain(dus[c * kChunk + t], ws[c * kChunk + s]);
          }
        }
        m[i] = dot_m.sum;
        n[i] = dot_n.sum;
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kChunk * kChunk; i += threads) {
      const int t = i / kChunk, s = i % kChunk;
      const float seen = n[i] + n_lost[i], u = kDelta ? beta[s] : 1.f;  // u = beta w
      if (kDelta && t == s && t < count) a.dbeta[row(t)] = seen;
      m[i] = u * (m[i] + m_lost[i]);
      n[i] = u * seen;
    }
    if constexpr (kDelta) {
#pragma unroll
      for (int t = 0; t < kChunk; ++t) y[t] *= beta[t];
    }
    __syncthreads();

    // Back through the tokens, this thread's channel. p1[t] becomes dg_t once it is used.
    const auto decay_at = [&](int t) { return kChannelDecay ? decay[t * threads + channel] : decay[t]; };
    const auto key_at = [&](int t) { return k[t * threads + channel]; };
#pragma unroll
    for (int t = kChunk - 1; t >= 0; --t) {
      const float qt = q[t * threads + channel], kt = key_at(t), at = decay_at(t);
      const float bk = kDelta ? beta[t] * kt : 0.f;

      float read = p1[t];
#pragma unroll
      for (int s = 0; s <= t; ++s) read = decay_at(s) * read + key_at(s) * m[t * kChunk + s];
      dq[t] += a.scale * read;

      float key_gradient = y[t] + qt * m[t * kChunk + t];
      if constexpr (kDelta) {
        float seen = p3[t];
#pragma unroll
        for (int s = 0; s < t; ++s) seen = decay_at(s) * seen + key_at(s) * n[t * kChunk + s];
        key_gradient -= beta[t] * at * seen;
      }
      dk[t] += key_gradient;

      x += qt * p1[t];
      if constexpr (kDelta) x -= bk * p3[t];
      x *= at;
      float both = x;
#pragma unroll
      for (int s = 0; s < t; ++s) {
        y[s] += qt * m[t * kChunk + s];
        if constexpr (kDelta) y[s] -= bk * n[t * kChunk + s];
        y[s] *= at;
        both = decay_at(s) * both + key_at(s) * y[s];
      }
      p1[t] = both;
    }

    if constexpr (kChannelDecay) {
#pragma unroll
      for (int t = 0; t < kChunk; ++t) {
        if (inside && t < count) a.dg[row(t) * a.key_dim + channel] = p1[t];
      }
    } else if (a.dg) {
#pragma unroll
      for (int t = 0; t < kChunk; ++t) {
        float sum = p1[t];
        for (int step = 1; step < 32; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32 * kChunk + t] = sum;
      }
      __syncthreads();
      if (threadIdx.x < count) {
        float sum = 0.f;
        for (int w = 0; w < threads / 32; ++w) sum += warp_sums[w * kChunk + threadIdx.x];
        a.dg[row(threadIdx.x)] = sum;
      }
    }
  }

#pragma unroll
  for (int t = 0; t < kChunk; ++t) {
    if (!inside || t >= count) continue;
    const std::int64_t index =
        (((first_token + t) * a.qk_heads + qk_head) * a.expansion + subhead) * a.key_dim + channel;
    store1(a.dq, index, a.dtype, dq[t]);
    store1(a.dk, index, a.dtype, dk[t]);
  }
}

}  // namespace

KernelPointer gradient_kernel(Kind kind) {
  switch (kind) {
    case Kind::kScalarDecay:
      return reinterpret_cast<KernelPointer>(&chunk_gradients<Kind::kScalarDecay>);
    case Kind::kChannelDecay:
      return reinterpret_cast<KernelPointer>(&chunk_gradients<Kind::kChannelDecay>);
    default:
      return reinterpret_cast<KernelPointer>(&chunk_gradients<Kind::kDelta>);
  }
}

}  // namespace statescope::cuda
