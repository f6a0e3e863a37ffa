// The chunked form of gated_delta (WY / UT transform: Yang et al. 2024, Gated Delta Networks): the
// corrections u_t = beta_t (v_t - e^{g_t} k_t S_{t-1}) of a whole chunk by one triangular inverse; with U for
// V the rest is ssd.
//
//   G = tril(K K^T ∘ Γ, -1),  L = diag(beta) G,  A = (I + L)^{-1}
//   R = V - e^γ ∘ (K S),  W = diag(beta) R,  U = A W
#include <algorithm>

#include "runtime/cpu/chunked.h"

namespace statescope::cpu {
namespace {

constexpr std::int64_t kBlock = 16;  // a matrix unit's tile

/// A = (I + L)^{-1}, L strictly lower: diagonal blocks by substitution, the others by products of blocks,
///   A_II = I - sum_{j<i} L_ij A_j (row by row),   A_IJ = -A_II sum_{J<=M<I} L_IM A_MJ
Matrix inverse(const Matrix& L) {
  const std::int64_t tokens = L.rows;
  Matrix A(tokens, tokens);
  for (std::int64_t I = 0; I < tokens; I += kBlock) {
    const std::int64_t rows = std::min(kBlock, tokens - I);
    const View diagonal = block_of(View(A), I, I, rows, rows);
    for (std::int64_t i = 0; i < rows; ++i) {
      diagonal(i, i) = 1;
      add_ab(-1, block_of(ConstView(L), I + i, I, 1, i), rows_of(diagonal, 0, i), rows_of(diagonal, i, 1));
    }
    for (std::int64_t J = 0; J < I; J += kBlock) {
      Matrix sum(rows, kBlock);
      add_ab(1, block_of(ConstView(L), I, J, rows, I - J), block_of(ConstView(A), J, J, I - J, kBlock), sum);
      add_ab(-1, diagonal, sum, block_of(View(A), I, J, rows, kBlock));
    }
  }
  return A;
}

/// What both passes need of a chunk.
struct Corrections {
  ScalarDecay decay;
  std::vector<double> beta;
  Matrix G, A, R, U;

  Corrections(const Chunk& x, ConstView S)
      : decay(x), beta(x.beta.data, x.beta.data + x.tokens()), G(x.tokens(), x.tokens()), R(x.v) {
    for (std::int64_t i = 0; i < x.tokens(); ++i) {
      for (std::int64_t j = 0; j < i; ++j)
        G(i, j) = decay.between(i, j) * dot(x.k.row(i), x.k.row(j), x.k.cols);
    }
    A = inverse(scaled_rows(beta, G));
    add_ab(-1, scaled_rows(decay.from_start, x.k), S, R);
    U = Matrix(x.tokens(), x.v.cols);
    add_ab(1, A, scaled_rows(beta, R), U);
  }
};

void forward(const Chunk& x, View S, View o) {
  const Corrections c(x, S);
  scalar_decay_forward(x, c.decay, c.U, S, o);
}

void backward(const Chunk& x, ConstView S, View dS, const ChunkGradients& y) {
  const std::int64_t tokens = x.tokens(), channels = x.k.cols;
  const Corrections c(x, S);

  // Through O and S+, as ssd: dU, and parts of dQ, dK, dS and of the ways that the gates lie on.
  Matrix dU(tokens, x.v.cols);
  Ways ways = scalar_decay_backward(x, c.decay, c.U, S, dS, y.dq, y.dk, dU);

  // U = A W, W = diag(beta) R:  dW = A^T dU,  dR = diag(beta) dW = dV
  Matrix dW(tokens, x.v.cols);
  add_atb(1, c.A, dU, dW);
  const Matrix dR = scaled_rows(c.beta, dW);
  add(1, dR, y.dv);

  // A = (I + L)^{-1}:  dL = -A^T (dU W^T) A^T = -dW U^T, so that dA is never formed.
  // beta_i stands in W_i and in row i of L:  dbeta_i = dW_i . r_i,  r = R - G U (the errors v_t - e^{g_t} k_t
  // S_{t-1})
  Matrix r(c.R);
  add_ab(-1, c.G, c.U, r);
  for (std::int64_t i = 0; i < tokens; ++i) y.dbeta(i, 0) += dot(dW.row(i), r.row(i), r.cols);

  // R = V - e^γ ∘ (K S):  dK -= e^γ ∘ (dR S^T)
  Matrix dk_before(tokens, channels);
  add_abt(-1, dR, S, dk_before);
  multiply_rows(dk_before, c.decay.from_start.data());
  add(1, dk_before, y.dk);

  // The gradient of K K^T through L:  N = diag(beta) dL ∘ Γ = -tril(dR U^T, -1) ∘ Γ;  dK += N K + N^T K
  Matrix N(tokens, tokens);
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j < i; ++j)
      N(i, j) = -c.decay.between(i, j) * dot(dR.row(i), c.U.row(j), dR.cols);
  }
  add_ab(1, N, x.k, y.dk);
  add_atb(1, N, x.k, y.dk);

  // The same two terms as ways: e^{γ_i} takes S to the correction of token i, Γ_ij that of j to that of i.
  for (std::int64_t i = 0; i < tokens; ++i) {
    ways.from_before[i] += dot(x.k.row(i), dk_before.row(i), channels);
    for (std::int64_t j = 0; j < i; ++j) ways.pairs(i, j) += N(i, j) * dot(x.k.row(i), x.k.row(j), channels);
  }
  add_gate_gradient(ways, y.dg);

  // dS -= (K e^γ)^T dR
  add_atb(-1, scaled_rows(c.decay.from_start, x.k), dR, dS);
}

}  // namespace

const ChunkRule kGatedDeltaChunk{forward, backward};

}  // namespace statescope::cpu
