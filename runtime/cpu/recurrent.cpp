// The recurrences token by token, as the equations stand (DESIGN section 1; paper eq 6 and 10), and their
// gradients.
//
// Row vectors: k_t and q_t are 1 x K, v_t is 1 x V, S_t is K x V. dX is the gradient of
// <o, do> + <ht, dht> by X.
#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/cpu/front_end.h"
#include "runtime/cpu/reference.h"
#include "runtime/cpu/subhead.h"

namespace statescope::cpu {
namespace {

ConstView token(const Matrix& m, std::int64_t t) {
  return rows_of(m, t, 1);
}
View token(Matrix& m, std::int64_t t) {
  return rows_of(m, t, 1);
}

/// e^{g_t}, a factor a channel.
std::vector<double> channel_decay(const Subhead& x, std::int64_t t) {
  std::vector<double> decay(x.key_dim);
  for (std::int64_t c = 0; c < x.key_dim; ++c) decay[c] = std::exp(x.g(t, c));
  return decay;
}

/// S_{t-1} -> S_t.
void advance(const Subhead& x, std::int64_t t, View S) {
  const ConstView k = token(x.k, t), v = token(x.v, t);
  switch (x.rule) {
    case Rule::kLinear:  // S_t = S_{t-1} + k_t^T v_t
      add_atb(1, k, v, S);
      return;
    case Rule::kSsd:  // S_t = e^{g_t} S_{t-1} + k_t^T v_t
      multiply(S, std::exp(x.g(t, 0)));
      add_atb(1, k, v, S);
      return;
    case Rule::kGla:  // S_t = diag(e^{g_t}) S_{t-1} + k_t^T v_t
      multiply_rows(S, channel_decay(x, t).data());
      add_atb(1, k, v, S);
      return;
    case Rule::kGatedDelta: {  // S_t = S' + beta_t k_t^T (v_t - k_t S'),  S' = e^{g_t} S_{t-1}
      multiply(S, std::exp(x.g(t, 0)));
      Matrix error(v);
      add_ab(-1, k, S, error);
      add_atb(x.beta(t, 0), k, error, S);
      return;
    }
  }
}

/// dS enters as the gradient of S_t by everything after token t and leaves as that of S_{t-1}; the gradients
/// of token t's inputs go to y. `before` is S_{t-1}, `S` is S_t.
void retreat(const Subhead& x, std::int64_t t, ConstView before, ConstView S, View dS, SubheadGradients& y) {
  const ConstView q = token(x.q, t), k = token(x.k, t), v = token(x.v, t), d_o = token(x.d_o, t);
  const View dq = token(y.dq, t), dk = token(y.dk, t), dv = token(y.dv, t);

  // o_t = scale q_t S_t
  add_abt(x.scale, d_o, S, dq);
  add_atb(x.scale, q, d_o, dS);

  switch (x.rule) {
    case Rule::kLinear:  // S_t = S_{t-1} + k_t^T v_t
      add_abt(1, v, dS, dk);
      add_ab(1, k, dS, dv);
      return;
    case Rule::kSsd: {  // S_t = e^{g_t} S_{t-1} + k_t^T v_t
      add_abt(1, v, dS, dk);
      add_ab(1, k, dS, dv);
      const double decay = std::exp(x.g(t, 0));
      y.dg(t, 0) = decay * inner(dS, before);
      multiply(dS, decay);
      return;
    }
    case Rule::kGla: {  // S_t = diag(e^{g_t}) S_{t-1} + k_t^T v_t
      add_abt(1, v, dS, dk);
      add_ab(1, k, dS, dv);
      const std::vector<double> decay = channel_decay(x, t);
      for (std::int64_t c = 0; c < x.key_dim; ++c) {
        y.dg(t, c) = decay[c] * dot(dS.row(c), before.row(c), x.value_dim);
      }
      multiply_rows(dS, decay.data());
      return;
    }
    case Rule::kGatedDelta: {  // S_t = S' + k_t^T u,  u = beta_t r,  r = v_t - k_t S',  S' = e^{g_t} S_{t-1}
      const double decay = std::exp(x.g(t, 0)), beta = x.beta(t, 0);
      Matrix r(v);
      add_ab(-decay, k, before, r);
      Matrix du(1, x.value_dim);
      add_ab(1, k, dS, du);
      add_abt(beta, r, dS, dk);         // from k_t^T u, u = beta r
      y.dbeta(t, 0) = inner(du, r);     // u = beta r
      add(beta, du, dv);                // dr = beta du, dv = dr
      add_abt(-decay, dv, before, dk);  // r = v - k S'
      add_atb(-1, k, dv, dS);           // now dS' = dS - k^T dr
      y.dg(t, 0) = decay * inner(dS, before);
      multiply(dS, decay);
      return;
    }
  }
}

SubheadOutputs forward(const Subhead& x) {
  SubheadOutputs y{Matrix(x.tokens, x.value_dim), x.h0};
  Matrix& S = y.ht;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    advance(x, t, S);
    add_ab(x.scale, token(x.q, t), S, token(y.o, t));
  }
  return y;
}

/// Going back needs every S_t: the state is kept at the start of each of about sqrt(T) blocks, and one
/// block's states are computed again at a time.
SubheadGradients backward(const Subhead& x) {
  const auto block = std::max<std::int64_t>(1, std::llround(std::sqrt(static_cast<double>(x.tokens))));
  std::vector<Matrix> starts;
  Matrix S = x.h0;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    if (t % block == 0) starts.push_back(S);
    advance(x, t, S);
  }

  SubheadGradients y(x);
  y.dh0 = x.dht;
  Matrix& dS = y.dh0;
  std::vector<Matrix> states(block + 1);
  for (auto b = static_cast<std::int64_t>(starts.size()) - 1; b >= 0; --b) {
    const std::int64_t first = b * block, end = std::min(first + block, x.tokens);
    states[0] = starts[b];
    for (std::int64_t t = first; t < end; ++t) {
      states[t - first + 1] = states[t - first];
      advance(x, t, states[t - first + 1]);
    }
    for (std::int64_t t = end - 1; t >= first; --t)
      retreat(x, t, states[t - first], states[t - first + 1], dS, y);
  }
  return y;
}

}  // namespace

TensorSet run_recurrent(const Problem& problem, const TensorSet& inputs) {
  if (problem.front_end) return run_behind_front_end(problem, inputs, run_recurrent);
  return run_subheads(problem, inputs, {forward, backward});
}

}  // namespace statescope::cpu
