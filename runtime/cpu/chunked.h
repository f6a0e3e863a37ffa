// The chunked forms (DESIGN section 1): C <= 64 tokens at a time, mostly as matrix products. One file a rule;
// this is what they share.
//
// Symbols, all within one chunk: i, j are its tokens, γ_i = g_1 + .. + g_i (token i's own gate included), so
// every γ_i - γ_j with j <= i is <= 0. S is the state before the chunk, S+ the one after; D is the gradient
// of S+ and dS that of S. e^{-γ} is never formed: it overflows after one strong gate. Γ is masked before exp
// for the same reason.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/cpu/dense.h"

namespace statescope::cpu {

/// Inputs of one chunk, C rows each; g, beta and d_o only where the rule and the pass have them.
struct Chunk {
  double scale;
  ConstView q, k, v, g, beta, d_o;
  std::int64_t tokens() const { return q.rows; }
};

/// Gradients of one chunk, C rows each, zero on entry.
struct ChunkGradients {
  View dq, dk, dv, dg, dbeta;
};

struct ChunkRule {
  /// Adds the chunk's outputs to o; S enters as the state before the chunk and leaves as S+.
  void (*forward)(const Chunk& x, View S, View o);
  /// dS enters as D and leaves as dS.
  void (*backward)(const Chunk& x, ConstView S, View dS, const ChunkGradients& y);
};

extern const ChunkRule kLinearChunk;  // linear and ssd
extern const ChunkRule kGlaChunk;
extern const ChunkRule kGatedDeltaChunk;

/// The decays of a gate that is one number a token.
struct ScalarDecay {
  std::vector<double> from_start;  // e^{γ_i}
  std::vector<double> to_end;      // e^{γ_C - γ_i}
  double whole = 1;                // e^{γ_C}
  Matrix between;                  // Γ_ij = e^{γ_i - γ_j} for j <= i, else 0

  explicit ScalarDecay(const Chunk& x);
};

/// diag(factors) M
Matrix scaled_rows(const std::vector<double>& factors, ConstView m);

/// The terms of <O, dO> + <S+, D> by the way that they take through the chunk. A term is a product that has
/// e^{g_t} in it when its way crosses from before token t to t or later, and d e^{g_t} = e^{g_t} dg_t, so
///   dg_t = through + sum_{i>=t} from_before_i + sum_{j<t} to_after_j + sum_{j<t<=i} pairs_ij
/// Nothing cancels in these sums. (The common form dγ_i = q_i . dq_i - k_i . dk_i, summed over i >= t, is the
/// same but takes large terms from each other: a strong gate's gradient drowns in their rounding.)
struct Ways {
  double through;                   // S to S+: e^{γ_C} <S, D>
  std::vector<double> from_before;  // S to token i
  std::vector<double> to_after;     // token j to S+
  Matrix pairs;                     // token j to token i, j < i
};
void add_gate_gradient(const Ways& ways, View dg);

/// The part that ssd and gated_delta share, for any U in the place of V:
///   O = scale (Q e^γ) S + P U,  P = scale Q K^T ∘ Γ,  S+ = e^{γ_C} S + (K e^{γ_C - γ})^T U
void scalar_decay_forward(const Chunk& x, const ScalarDecay& decay, ConstView u, View S, View o);
/// Its gradients: dq, dk and du are added to, dS goes from D to dS.
Ways scalar_decay_backward(const Chunk& x, const ScalarDecay& decay, ConstView u, ConstView S, View dS,
                           View dq, View dk, View du);

}  // namespace statescope::cpu
