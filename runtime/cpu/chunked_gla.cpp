// The chunked form of gla: γ is a vector over the K channels c.
//
//   O_i = scale (q_i ∘ e^{γ_i}) S + sum_{j<=i} P_ij v_j,   P_ij = scale sum_c q_ic k_jc e^{γ_ic - γ_jc}
//   S+  = diag(e^{γ_C}) S + sum_j (k_j ∘ e^{γ_C - γ_j})^T v_j
//
// P is no masked matrix product of Q and K: the decay sits inside the sum. A pivot π between j and i splits
// it into two factors that are both <= 1, e^{γ_i - π} e^{π - γ_j}. Blocks of 16 rows have such a pivot as
// long as they are off the diagonal: the row block's first γ where rows are summed into (P, dQ), the column
// block's last γ where columns are (dK). Diagonal blocks take the difference element by element.
#include <algorithm>
#include <cmath>

#include "runtime/cpu/chunked.h"

namespace statescope::cpu {
namespace {

constexpr std::int64_t kBlock =
    16;  // a matrix unit's tile; 64 diagonal exponentials a token and channel become 8.5

Matrix cumulate(ConstView g) {
  Matrix gamma(g);
  for (std::int64_t i = 1; i < g.rows; ++i) add(1, rows_of(gamma, i - 1, 1), rows_of(gamma, i, 1));
  return gamma;
}

/// m_i ∘ e^{γ_i - π}: rows at or after the pivot.
Matrix decayed_from(const double* pivot, ConstView gamma, ConstView m) {
  Matrix decayed(m);
  for (std::int64_t i = 0; i < m.rows; ++i) {
    for (std::int64_t c = 0; c < m.cols; ++c) decayed(i, c) *= std::exp(gamma(i, c) - pivot[c]);
  }
  return decayed;
}

/// m_j ∘ e^{π - γ_j}: rows at or before the pivot.
Matrix decayed_to(const double* pivot, ConstView gamma, ConstView m) {
  Matrix decayed(m);
  for (std::int64_t j = 0; j < m.rows; ++j) {
    for (std::int64_t c = 0; c < m.cols; ++c) decayed(j, c) *= std::exp(pivot[c] - gamma(j, c));
  }
  return decayed;
}

/// The decays of one chunk.
struct ChannelDecay {
  Matrix gamma;               // [C, K]
  std::vector<double> start;  // γ before the chunk: zero
  std::vector<double> whole;  // e^{γ_C}
  const double* last;         // γ_C

  explicit ChannelDecay(const Chunk& x) : gamma(cumulate(x.g)), start(x.g.cols), whole(x.g.cols) {
    last = gamma.row(gamma.rows - 1);
    for (std::int64_t c = 0; c < gamma.cols; ++c) whole[c] = std::exp(last[c]);
  }
  Matrix from_start(ConstView m) const { return decayed_from(start.data(), gamma, m); }
  Matrix to_end(ConstView m) const { return decayed_to(last, gamma, m); }
};

/// P_ij = scale sum_c q_ic k_jc e^{γ_ic - γ_jc} for j <= i, else 0.
Matrix scores(const Chunk& x, const Matrix& gamma) {
  const std::int64_t tokens = x.tokens();
  Matrix P(tokens, tokens);
  for (std::int64_t first = 0; first < tokens; first += kBlock) {
    const std::int64_t rows = std::min(kBlock, tokens - first);
    const double* pivot = gamma.row(first);
    const Matrix q = decayed_from(pivot, rows_of(gamma, first, rows), rows_of(x.q, first, rows));
    const Matrix k = decayed_to(pivot, rows_of(gamma, 0, first), rows_of(x.k, 0, first));
    add_abt(x.scale, q, k, block_of(View(P), first, 0, rows, first));
    for (std::int64_t i = first; i < first + rows; ++i) {
      for (std::int64_t j = first; j <= i; ++j) {
        for (std::int64_t c = 0; c < x.q.cols; ++c) {
          P(i, j) += x.scale * x.q(i, c) * x.k(j, c) * std::exp(gamma(i, c) - gamma(j, c));
        }
      }
    }
  }
  return P;
}

/// From M, the gradient of scores: dq_ic += sum_j M_ij k_jc e^{γ_ic - γ_jc}, dk_jc += sum_i M_ij q_ic e^{γ_ic
/// - γ_jc}.
void scores_backward(const Chunk& x, const Matrix& gamma, const Matrix& M, View dq, View dk) {
  const std::int64_t tokens = x.tokens(), channels = x.q.cols;
  for (std::int64_t first = 0; first < tokens; first += kBlock) {
    const std::int64_t rows = std::min(kBlock, tokens - first), end = first + rows;
    const ConstView gamma_here = rows_of(gamma, first, rows);

    // This block's rows against the columns before it; the pivot is its first row.
    const double* row_pivot = gamma.row(first);
    Matrix dq_here(rows, channels);
    add_ab(1, block_of(ConstView(M), first, 0, rows, first),
           decayed_to(row_pivot, rows_of(gamma, 0, first), rows_of(x.k, 0, first)), dq_here);
    add(1, decayed_from(row_pivot, gamma_here, dq_here), rows_of(dq, first, rows));

    // This block's columns against the rows after it; the pivot is its last row.
    const double* column_pivot = gamma.row(end - 1);
    Matrix dk_here(rows, channels);
    add_atb(1, block_of(ConstView(M), end, first, tokens - end, rows),
            decayed_from(column_pivot, rows_of(gamma, end, tokens - end), rows_of(x.q, end, tokens - end)),
            dk_here);
    add(1, decayed_to(column_pivot, gamma_here, dk_here), rows_of(dk, first, rows));

    for (std::int64_t i = first; i < end; ++i) {
      for (std::int64_t j = first; j < i; ++j) {
        for (std::int64_t c = 0; c < channels; ++c) {
          const double weight = M(i, j) * std::exp(gamma(i, c) - gamma(j, c));
          dq(i, c) += weight * x.k(j, c);
          dk(j, c) += weight * x.q(i, c);
        }
      }
    }
  }
}

void forward(const Chunk& x, View S, View o) {
  const ChannelDecay decay(x);
  // O = scale (Q ∘ e^γ) S + P V
  add_ab(x.scale, decay.from_start(x.q), S, o);
  add_ab(1, scores(x, decay.gamma), x.v, o);
  // S+ = diag(e^{γ_C}) S + (K ∘ e^{γ_C - γ})^T V
  multiply_rows(S, decay.whole.data());
  add_atb(1, decay.to_end(x.k), x.v, S);
}

void backward(const Chunk& x, ConstView S, View dS, const ChunkGradients& y) {
  const std::int64_t tokens = x.tokens(), channels = x.q.cols;
  const ChannelDecay decay(x);
  const ConstView D = dS;

  // M = scale dO V^T, causal: the gradient of the sum in P_ij
  Matrix M(tokens, tokens);
  add_abt(x.scale, x.d_o, x.v, M);
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = i + 1; j < tokens; ++j) M(i, j) = 0;
  }

  // dQ, dK from S and S+:  e^γ ∘ scale (dO S^T),  e^{γ_C - γ} ∘ (V D^T)
  Matrix dq_before(tokens, channels), dk_after(tokens, channels);
  add_abt(x.scale, x.d_o, S, dq_before);
  add_abt(1, x.v, D, dk_after);
  dq_before = decay.from_start(dq_before);
  dk_after = decay.to_end(dk_after);
  // dQ, dK from the other tokens, and from the token itself:  diag(M) K,  diag(M) Q
  Matrix dq_pairs(tokens, channels), dk_pairs(tokens, channels);
  scores_backward(x, decay.gamma, M, dq_pairs, dk_pairs);
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      y.dq(i, c) += dq_before(i, c) + dq_pairs(i, c) + M(i, i) * x.k(i, c);
      y.dk(i, c) += dk_after(i, c) + dk_pairs(i, c) + M(i, i) * x.q(i, c);
    }
  }

  // dV = P^T dO + (K ∘ e^{γ_C - γ}) D
  add_atb(1, scores(x, decay.gamma), x.d_o, y.dv);
  add_ab(1, decay.to_end(x.k), D, y.dv);

  // Channel by channel, the ways that token t's gate lies on (chunked.h):
  //   dg_t = e^{γ_C} rowsum(S ∘ D) + sum_{j<t} k_j ∘ dk_after_j
  //        + sum_{i>=t} [ q_i ∘ dq_before_i + q_i ∘ dq_pairs_i - k_i ∘ dk_pairs_i ]
  // Pairs that cross t are all pairs that end at t or later less those that start there; [C, C, K] of them
  // are too many to sum one by one.
  for (std::int64_t c = 0; c < channels; ++c) {
    double before_t = decay.whole[c] * dot(S.row(c), D.row(c), D.cols);
    for (std::int64_t t = 0; t < tokens; ++t) {
      y.dg(t, c) += before_t;
      before_t += x.k(t, c) * dk_after(t, c);
    }
    double from_t = 0;
    for (std::int64_t t = tokens - 1; t >= 0; --t) {
      from_t += x.q(t, c) * (dq_before(t, c) + dq_pairs(t, c)) - x.k(t, c) * dk_pairs(t, c);
      y.dg(t, c) += from_t;
    }
  }

  // dS = diag(e^{γ_C}) D + scale (Q ∘ e^γ)^T dO
  multiply_rows(dS, decay.whole.data());
  add_atb(x.scale, decay.from_start(x.q), x.d_o, dS);
}

}  // namespace

const ChunkRule kGlaChunk{forward, backward};

}  // namespace statescope::cpu
