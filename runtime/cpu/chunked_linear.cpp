// The chunked form of linear and ssd, and the part of it that gated_delta uses with corrected values.
//
//   O_i = scale [ e^{γ_i} q_i S + sum_{j<=i} Γ_ij (q_i . k_j) u_j ]
//   S+  = e^{γ_C} S + sum_j e^{γ_C - γ_j} k_j^T u_j
#include <cmath>

#include "runtime/cpu/chunked.h"

namespace statescope::cpu {

ScalarDecay::ScalarDecay(const Chunk& x)
    : from_start(x.tokens(), 1.0), to_end(x.tokens(), 1.0), between(x.tokens(), x.tokens()) {
  const std::int64_t tokens = x.tokens();
  std::vector<double> gamma(tokens);  // zero for linear, which has no gate
  for (std::int64_t i = 0; i < x.g.rows; ++i) gamma[i] = x.g(i, 0) + (i > 0 ? gamma[i - 1] : 0);
  whole = std::exp(gamma.back());
  for (std::int64_t i = 0; i < tokens; ++i) {
    from_start[i] = std::exp(gamma[i]);
    to_end[i] = std::exp(gamma.back() - gamma[i]);
    for (std::int64_t j = 0; j <= i; ++j) between(i, j) = std::exp(gamma[i] - gamma[j]);
  }
}

Matrix scaled_rows(const std::vector<double>& factors, ConstView m) {
  Matrix scaled(m);
  multiply_rows(scaled, factors.data());
  return scaled;
}

void add_gate_gradient(ConstView d_gamma, View dg) {
  std::vector<double> sum(dg.cols);
  for (std::int64_t t = dg.rows - 1; t >= 0; --t) {
    for (std::int64_t c = 0; c < dg.cols; ++c) dg(t, c) += sum[c] += d_gamma(t, c);
  }
}

namespace {

/// alpha A B^T ∘ Γ: Γ is zero above the diagonal, so this is causal.
Matrix decayed_product(double alpha, ConstView a, ConstView b, const Matrix& between) {
  Matrix product(a.rows, b.rows);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j <= i; ++j)
      product(i, j) = alpha * between(i, j) * dot(a.row(i), b.row(j), a.cols);
  }
  return product;
}

}  // namespace

void scalar_decay_forward(const Chunk& x, const ScalarDecay& decay, ConstView u, View S, View o) {
  // O = scale (Q e^γ) S + P U,  P = scale Q K^T ∘ Γ
  const Matrix P = decayed_product(x.scale, x.q, x.k, decay.between);
  add_ab(x.scale, scaled_rows(decay.from_start, x.q), S, o);
  add_ab(1, P, u, o);
  // S+ = e^{γ_C} S + (K e^{γ_C - γ})^T U
  multiply(S, decay.whole);
  add_atb(1, scaled_rows(decay.to_end, x.k), u, S);
}

std::vector<double> scalar_decay_backward(const Chunk& x, const ScalarDecay& decay, ConstView u, ConstView S,
                                          ConstView S_after, View dS, View dq, View dk, View du) {
  const std::int64_t tokens = x.tokens();
  const ConstView D = dS;
  const Matrix P = decayed_product(x.scale, x.q, x.k, decay.between);
  const Matrix M = decayed_product(x.scale, x.d_o, u, decay.between);  // gradient of Q K^T

  // dQ = scale e^γ (dO S^T) + M K
  Matrix from_state(tokens, x.q.cols);
  add_abt(x.scale, x.d_o, S, from_state);
  multiply_rows(from_state, decay.from_start.data());
  Matrix dq_here(from_state);
  add_ab(1, M, x.k, dq_here);

  // dK = M^T Q + e^{γ_C - γ} (U D^T)
  Matrix dk_here(tokens, x.k.cols);
  add_abt(1, u, D, dk_here);
  multiply_rows(dk_here, decay.to_end.data());
  add_atb(1, M, x.q, dk_here);

  // dU = P^T dO + (K e^{γ_C - γ}) D
  add_atb(1, P, x.d_o, du);
  add_ab(1, scaled_rows(decay.to_end, x.k), D, du);

  // Every e^{γ_i} multiplies a q_i and every e^{-γ_j} a k_j, γ_C alone multiplies all of S+:
  // dγ_i = q_i . dq_i - k_i . dk_i + [i = C] <S+, D>
  std::vector<double> d_gamma(tokens);
  for (std::int64_t i = 0; i < tokens; ++i) {
    d_gamma[i] = dot(x.q.row(i), dq_here.row(i), x.q.cols) - dot(x.k.row(i), dk_here.row(i), x.k.cols);
  }
  d_gamma.back() += inner(S_after, D);

  add(1, dq_here, dq);
  add(1, dk_here, dk);

  // dS = e^{γ_C} D + scale (Q e^γ)^T dO
  multiply(dS, decay.whole);
  add_atb(x.scale, scaled_rows(decay.from_start, x.q), x.d_o, dS);
  return d_gamma;
}

namespace {

void forward(const Chunk& x, View S, View o) {
  scalar_decay_forward(x, ScalarDecay(x), x.v, S, o);
}

void backward(const Chunk& x, ConstView S, ConstView S_after, View dS, const ChunkGradients& y) {
  const std::vector<double> d_gamma =
      scalar_decay_backward(x, ScalarDecay(x), x.v, S, S_after, dS, y.dq, y.dk, y.dv);
  if (y.dg.rows > 0) add_gate_gradient({d_gamma.data(), x.tokens(), 1, 1}, y.dg);
}

}  // namespace

const ChunkRule kLinearChunk{forward, backward};

}  // namespace statescope::cpu
