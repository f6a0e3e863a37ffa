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

void add_gate_gradient(const Ways& ways, View dg) {
  const std::int64_t tokens = dg.rows;
  double from_before = 0, to_after = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    dg(t, 0) += ways.through + to_after;
    to_after += ways.to_after[t];
  }
  for (std::int64_t t = tokens - 1; t >= 0; --t) dg(t, 0) += from_before += ways.from_before[t];
  for (std::int64_t i = 0; i < tokens; ++i) {
    double before_t = 0;
    for (std::int64_t t = 1; t <= i; ++t) dg(t, 0) += before_t += ways.pairs(i, t - 1);
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

Ways scalar_decay_backward(const Chunk& x, const ScalarDecay& decay, ConstView u, ConstView S, View dS,
                           View dq, View dk, View du) {
  const std::int64_t tokens = x.tokens(), channels = x.q.cols;
  const ConstView D = dS;
  const Matrix P = decayed_product(x.scale, x.q, x.k, decay.between);
  const Matrix M = decayed_product(x.scale, x.d_o, u, decay.between);  // gradient of Q K^T

  // dQ = e^γ scale (dO S^T) + M K
  Matrix dq_before(tokens, channels);
  add_abt(x.scale, x.d_o, S, dq_before);
  multiply_rows(dq_before, decay.from_start.data());
  add(1, dq_before, dq);
  add_ab(1, M, x.k, dq);

  // dK = e^{γ_C - γ} (U D^T) + M^T Q
  Matrix dk_after(tokens, channels);
  add_abt(1, u, D, dk_after);
  multiply_rows(dk_after, decay.to_end.data());
  add(1, dk_after, dk);
  add_atb(1, M, x.q, dk);

  // dU = P^T dO + (K e^{γ_C - γ}) D
  add_atb(1, P, x.d_o, du);
  add_ab(1, scaled_rows(decay.to_end, x.k), D, du);

  // Each way's gain is its term of <O, dO> + <S+, D>.
  Ways ways{decay.whole * inner(S, D), std::vector<double>(tokens), std::vector<double>(tokens),
            Matrix(tokens, tokens)};
  for (std::int64_t i = 0; i < tokens; ++i) {
    ways.from_before[i] = dot(x.q.row(i), dq_before.row(i), channels);
    ways.to_after[i] = dot(x.k.row(i), dk_after.row(i), channels);
    for (std::int64_t j = 0; j < i; ++j) ways.pairs(i, j) = M(i, j) * dot(x.q.row(i), x.k.row(j), channels);
  }

  // dS = e^{γ_C} D + scale (Q e^γ)^T dO
  multiply(dS, decay.whole);
  add_atb(x.scale, scaled_rows(decay.from_start, x.q), x.d_o, dS);
  return ways;
}

namespace {

void forward(const Chunk& x, View S, View o) {
  scalar_decay_forward(x, ScalarDecay(x), x.v, S, o);
}

void backward(const Chunk& x, ConstView S, View dS, const ChunkGradients& y) {
  const Ways ways = scalar_decay_backward(x, ScalarDecay(x), x.v, S, dS, y.dq, y.dk, y.dv);
  if (y.dg.rows > 0) add_gate_gradient(ways, y.dg);
}

}  // namespace

const ChunkRule kLinearChunk{forward, backward};

}  // namespace statescope::cpu
