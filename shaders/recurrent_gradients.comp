// The last of backward's kernels: dq, dk, dg and dbeta of 16 tokens, every chunk of every subhead at once.
//
// The scans left S_0, the state before the chunk, and C_n, the gradient of the state after it. Inside the chunk (tokens
// t = 0 .. n-1, decay a_t = e^{g_t}, u_t = beta_t w_t, or v_t where there is no beta) every state is S_0 decayed plus
// rank-one terms k_s^T u_s. So S and C are seen only through their products with S_0, C_n and a few vectors:
//   P1_t = S_0 do_t       P2_t = C_n u_t       P3_t = S_0 du_t       D = sum_v C_n S_0
//   M_ts = do_t . u_s     N_ts = du_t . u_s
// Going back in time, y_s = C u_s (from P2_s) and x = sum_v C S_0 (from D) follow C itself; q is scaled, rows are channels
// of K:
//   G_t u_t  = y_t + q_t M_tt
//   y_s     <- a_t (y_s + q_t M_ts - beta_t k_t N_ts)     for s < t
//   x       <- a_t (x + q_t P1_t - beta_t k_t P3_t)       and now C = C_{t-1}
// Reading them off ("decayed" from 0 or s to t or t - 1; dg is summed over K unless gla):
//   dg_t  = sum_v C_{t-1} S_{t-1} = decayed x + sum_{s<t} decayed k_s y_s
//   dq_t  = scale S_t do_t,  S_t do_t = decayed P1_t + sum_{s<=t} decayed k_s M_ts
//   dk_t  = G_t u_t - beta_t a_t S_{t-1} du_t,  S_{t-1} du_t = decayed P3_t + sum_{s<t} decayed k_s N_ts
//   dbeta_t = du_t . w_t
// Terms with N, P3 and beta: gated_delta alone. Decays are products of a, by Horner's rule: no differences of cumulated
// gates, no division, so gates down to e^-20 lose nothing.
//
// One thread a channel of K (workgroup size K); heads that share q and k (Hq < H) are walked in order. Shared memory,
// float32: M and N [16][16] each, what their sums lost as much again, do, w and du [16 columns][16 tokens] each, decays
// and beta [16] each, exchange [4][K], partial [4][16]. N, du and beta are there for every rule: one layout.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "recurrence.glsl"

layout(constant_id = 3) const bool UNROLL = true;  // as in recurrent_tile.glsl

layout(binding = 10) readonly buffer StatesBuffer { vec4 data[]; } states;        // [chunks, H, E, K, V]
layout(binding = 11) readonly buffer GradientsBuffer { vec4 data[]; } gradients;  // [chunks, H, E, K, V]
#if RULE == GATED_DELTA
layout(binding = 12) readonly buffer WBuffer { vec4 data[]; } w;                  // [B, T, H, E, V]
layout(binding = 13) readonly buffer DuBuffer { vec4 data[]; } du;                // [B, T, H, E, V]
layout(binding = 19) writeonly buffer DbetaBuffer { float data[]; } dbeta;        // [B, T, H, E]
#else
layout(binding = 2) readonly buffer VBuffer { Quad data[]; } v;                   // [B, T, H, V]
#endif
layout(binding = 14) readonly buffer DoBuffer { Quad data[]; } d_o;               // [B, T, H, V]
layout(binding = 16) writeonly buffer DqBuffer { Quad data[]; } dq;               // [B, T, Hq, E, K]
layout(binding = 17) writeonly buffer DkBuffer { Quad data[]; } dk;               // [B, T, Hq, E, K]
#if RULE == GLA
layout(binding = 18) writeonly buffer DgBuffer { vec4 data[]; } dg;               // [B, T, H, E, K]
#elif RULE != LINEAR
layout(binding = 18) writeonly buffer DgBuffer { float data[]; } dg;              // [B, T, H, E]
#endif

const uint COLUMNS = 16;  // of V at a time
const uint KEY_QUADS = KEY_DIM / 4;
const uint DO = 0, W = CHUNK * COLUMNS, DU = 2 * CHUNK * COLUMNS;

shared float m[CHUNK * CHUNK];
shared float n[CHUNK * CHUNK];
shared float m_lost[CHUNK * CHUNK];
shared float n_lost[CHUNK * CHUNK];
shared float staged[3 * CHUNK * COLUMNS];  // do, w or v, du: [column][token]
shared float decays[CHUNK];
shared float betas[CHUNK];
shared float exchange[4 * KEY_DIM];
shared float partial[4 * CHUNK];

// The compiler cannot know that this is `count`, and so cannot unroll.
uint rolled(uint count) { return min(count, seq_len + 0x40000000u); }
uint steps(uint count) { return UNROLL ? count : rolled(count); }

vec4 four_tokens(uint at) { return vec4(staged[at], staged[at + 1], staged[at + 2], staged[at + 3]); }

vec4 exchanged_quad(uint quad) {
  return vec4(exchange[4 * quad], exchange[4 * quad + 1], exchange[4 * quad + 2], exchange[4 * quad + 3]);
}

void stage(uint array, uint column, uint token, vec4 values) {
  for (uint i = 0; i < 4; ++i) staged[array + (column + i) * CHUNK + token] = values[i];
}

// sum += x * y, as if in twice the precision together with `lost` (Ogita, Rump, Oishi 2005, Dot2; the product's error by
// Veltkamp's splitting, since a device's fma may be two roundings). One scalar do . u scales whole rows of dq and dk, and
// may be a small difference of large terms: a plain sum's error alone would miss float32's tolerance there. 16-bit
// inputs' own rounding is far larger.
void add_product(inout float sum, inout float lost, float x, float y) {
#if STORAGE_BITS == 32
  const float SPLIT = 4097;
  precise const float product = x * y;
  precise const float x_scaled = SPLIT * x, y_scaled = SPLIT * y;
  precise const float x_high = x_scaled - (x_scaled - x), y_high = y_scaled - (y_scaled - y);
  precise const float x_low = x - x_high, y_low = y - y_high;
  precise const float product_error = x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low);
  precise const float next = sum + product;
  precise const float added = next - sum;
  precise const float sum_error = (sum - (next - added)) + (product - added);
  lost += sum_error + product_error;
  sum = next;
#else
  sum += x * y;
#endif
}

void main() {
  const uint channel = gl_LocalInvocationIndex;
  const uint chunk = gl_WorkGroupID.x;
  const uint qk_head = gl_WorkGroupID.y;
  const uint subhead = gl_WorkGroupID.z;
  const uint value_quads = value_dim / 4;

  uint sequence = 0;  // the last whose first chunk is not beyond this one
  for (uint beyond = sequences; beyond - sequence > 1;) {
    const uint middle = (sequence + beyond) / 2;
    if (first_chunk(middle) <= chunk) {
      sequence = middle;
    } else {
      beyond = middle;
    }
  }
  const Tokens tokens = tokens_of(sequence);
  const uint first = tokens.begin + (chunk - first_chunk(sequence)) * CHUNK;
  if (first >= tokens.end) return;
  const uint count = min(CHUNK, tokens.end - first);

  // Tokens beyond the end: zero vectors and a decay of one, which change nothing.
  float keys[CHUNK], key_gradients[CHUNK], query_gradients[CHUNK];
  const uint qk_stride = qk_heads * expansion * KEY_QUADS;
  const uint qk = ((first * qk_heads + qk_head) * expansion + subhead) * KEY_QUADS + channel / 4;
  for (uint t = 0; t < steps(CHUNK); ++t) {
    keys[t] = t < count ? widen(k.data[qk + t * qk_stride])[channel % 4] : 0;
    key_gradients[t] = 0;
    query_gradients[t] = 0;
  }

  const uint group = heads / qk_heads;
  for (uint head = qk_head * group; head < (qk_head + 1) * group; ++head) {
    const uint gate = gate_row(first, head, subhead), gate_stride = heads * expansion;
#if RULE == GLA
    float channel_decays[CHUNK];
    for (uint t = 0; t < steps(CHUNK); ++t)
      channel_decays[t] = t < count ? exp(g.data[(gate + t * gate_stride) * KEY_QUADS + channel / 4][channel % 4]) : 1;
#define DECAY(t) channel_decays[t]
#else
#define DECAY(t) decays[t]
#endif
    barrier();  // the head before is done with shared memory
    if (channel < CHUNK) {
      const bool there = channel < count;
#if RULE == SSD || RULE == GATED_DELTA
      decays[channel] = there ? exp(g.data[gate + channel * gate_stride]) : 1;
#else
      decays[channel] = 1;
#endif
#if RULE == GATED_DELTA
      betas[channel] = there ? beta.data[gate + channel * gate_stride] : 0;
#else
      betas[channel] = 1;
#endif
    }
    for (uint i = channel; i < CHUNK * CHUNK; i += KEY_DIM) m[i] = n[i] = m_lost[i] = n_lost[i] = 0;

    // The products over V, 16 columns at a time; four tokens in a vector.
    vec4 state_out[CHUNK / 4], gradient_write[CHUNK / 4], state_write[CHUNK / 4];  // P1, P2, P3
    for (uint i = 0; i < CHUNK / 4; ++i) state_out[i] = gradient_write[i] = state_write[i] = vec4(0);
    float both = 0;  // D
    const uint row = state_quad(chunk, head, subhead, 0) + channel * value_quads;
    for (uint first_column = 0; first_column < value_dim; first_column += COLUMNS) {
      barrier();
      for (uint i = channel; i < CHUNK * COLUMNS / 4; i += KEY_DIM) {
        const uint t = i / (COLUMNS / 4), column = i % (COLUMNS / 4) * 4;
        const bool there = t < count;
        const uint value = ((first + t) * heads + head) * value_quads + (first_column + column) / 4;
        stage(DO, column, t, there ? widen(d_o.data[value]) : vec4(0));
#if RULE == GATED_DELTA
        const uint written = (gate + t * gate_stride) * value_quads + (first_column + column) / 4;
        stage(W, column, t, there ? w.data[written] : vec4(0));
        stage(DU, column, t, there ? du.data[written] : vec4(0));
#else
        stage(W, column, t, there ? widen(v.data[value]) : vec4(0));
#endif
      }
      barrier();
      for (uint quad = 0; quad < COLUMNS / 4; ++quad) {
        const vec4 state = states.data[row + first_column / 4 + quad];
        const vec4 gradient = gradients.data[row + first_column / 4 + quad];
        both += dot(state, gradient);
        for (uint c = 0; c < 4; ++c) {
          for (uint i = 0; i < CHUNK / 4; ++i) {
            const uint at = (quad * 4 + c) * CHUNK + 4 * i;
            state_out[i] += state[c] * four_tokens(DO + at);
            gradient_write[i] += gradient[c] * four_tokens(W + at);
#if RULE == GATED_DELTA
            state_write[i] += state[c] * four_tokens(DU + at);
#endif
          }
        }
      }
      for (uint i = channel; i < CHUNK * CHUNK; i += KEY_DIM) {
        const uint t = i / CHUNK, s = i % CHUNK;
        if (s > t) continue;
        float m_sum = m[i], m_error = m_lost[i];
        for (uint c = 0; c < rolled(COLUMNS * CHUNK); c += CHUNK) add_product(m_sum, m_error, staged[DO + c + t], staged[W + c + s]);
        m[i] = m_sum;
        m_lost[i] = m_error;
#if RULE == GATED_DELTA
        float n_sum = n[i], n_error = n_lost[i];
        for (uint c = 0; c < rolled(COLUMNS * CHUNK); c += CHUNK) add_product(n_sum, n_error, staged[DU + c + t], staged[W + c + s]);
        n[i] = n_sum;
        n_lost[i] = n_error;
#endif
      }
    }
    for (uint i = channel; i < CHUNK * CHUNK; i += KEY_DIM) {
      const float u = betas[i % CHUNK];  // u = beta w
      m[i] = u * (m[i] + m_lost[i]);
#if RULE == GATED_DELTA
      const float seen = n[i] + n_lost[i];
      if (i / CHUNK == i % CHUNK && i / CHUNK < count) dbeta.data[gate + i / CHUNK * gate_stride] = seen;
      n[i] = u * seen;
#endif
    }
    barrier();

    // Back through the tokens, this thread's channel.
    float out_seen[CHUNK], key_seen[CHUNK], write_seen[CHUNK];  // P1 (dg once it is used), y, P3
    for (uint t = 0; t < steps(CHUNK); ++t) {
      out_seen[t] = state_out[t / 4][t % 4];
      key_seen[t] = betas[t] * gradient_write[t / 4][t % 4];
      write_seen[t] = state_write[t / 4][t % 4];
    }
    for (uint t = steps(CHUNK); t-- > 0;) {
      const float query = t < count ? scale * widen(q.data[qk + t * qk_stride])[channel % 4] : 0;
      const float decay = DECAY(t);

      float read = out_seen[t];
      for (uint s = 0; s <= t; ++s) read = DECAY(s) * read + keys[s] * m[t * CHUNK + s];
      query_gradients[t] += read;
      float key_gradient = key_seen[t] + query * m[t * CHUNK + t];
      both += query * out_seen[t];
#if RULE == GATED_DELTA
      const float key = betas[t] * keys[t];
      float recalled = write_seen[t];
      for (uint s = 0; s < t; ++s) recalled = DECAY(s) * recalled + keys[s] * n[t * CHUNK + s];
      key_gradient -= betas[t] * decay * recalled;
      both -= key * write_seen[t];
#endif
      key_gradients[t] += key_gradient;
      both *= decay;

      float gate_gradient = both;
      for (uint s = 0; s < t; ++s) {
        float seen = key_seen[s] + query * m[t * CHUNK + s];
#if RULE == GATED_DELTA
        seen -= key * n[t * CHUNK + s];
#endif
        key_seen[s] = decay * seen;
        gate_gradient = DECAY(s) * gate_gradient + keys[s] * key_seen[s];
      }
      out_seen[t] = gate_gradient;
    }

#if RULE != LINEAR
    // Four tokens at a time: gla's rows are written in quads, the others' summed over K by 16 threads each.
    for (uint t = 0; t < steps(CHUNK); t += 4) {
      for (uint i = 0; i < 4; ++i) exchange[i * KEY_DIM + channel] = out_seen[t + i];
      barrier();
#if RULE == GLA
      const uint token = t + channel / KEY_QUADS;
      if (token < count) dg.data[(gate + token * gate_stride) * KEY_QUADS + channel % KEY_QUADS] = exchanged_quad(channel);
#else
      for (uint i = channel; i < 4 * CHUNK; i += KEY_DIM) {
        float sum = 0;
        for (uint c = 0; c < KEY_DIM / 16; ++c) sum += exchange[i / 16 * KEY_DIM + c * 16 + i % 16];
        partial[i] = sum;
      }
      barrier();
      if (channel < 4 && t + channel < count) {
        float sum = 0;
        for (uint c = 0; c < 16; ++c) sum += partial[channel * 16 + c];
        dg.data[gate + (t + channel) * gate_stride] = sum;
      }
#endif
      barrier();
    }
#endif
  }

  for (uint t = 0; t < steps(CHUNK); t += 4) {
    const uint token = t + channel / KEY_QUADS;
    const uint at = ((first + token) * qk_heads + qk_head) * expansion + subhead;
    barrier();
    for (uint i = 0; i < 4; ++i) exchange[i * KEY_DIM + channel] = scale * query_gradients[t + i];
    barrier();
    if (token < count) dq.data[at * KEY_QUADS + channel % KEY_QUADS] = narrow(exchanged_quad(channel));
    barrier();
    for (uint i = 0; i < 4; ++i) exchange[i * KEY_DIM + channel] = key_gradients[t + i];
    barrier();
    if (token < count) dk.data[at * KEY_QUADS + channel % KEY_QUADS] = narrow(exchanged_quad(channel));
  }
}
