#include <algorithm>

#include <statescope/cost.h>

namespace statescope {

double minimum_bytes(const Problem& problem) {
  double bytes = 0;
  for (Slot slot : kSlots) {
    if (!takes_part(problem, slot)) continue;
    bytes += static_cast<double>(element_count(shape_of(problem, slot))) *
             static_cast<double>(size_of(dtype_of(problem, slot)));
  }
  return bytes;
}

namespace {

// Per token and subhead. Forward: the update k^T v (2 K V), the decay (K V, gated rules), the read-out q S (2
// K V), and for the delta rule the prediction k S (2 K V). Backward runs the forward again for the states
// (less the read-out) and, in reverse, the adjoint of each product: dq, dk, dv and the adjoint state.
double recurrent_flop(const Problem& p) {
  const double kv = static_cast<double>(p.key_dim) * static_cast<double>(p.value_dim);
  const double decay = has_gate(p.rule) ? kv : 0;
  const double delta = has_beta(p.rule) ? 2 * kv : 0;
  if (p.pass != Pass::kBackward) return 4 * kv + decay + delta;
  const double gate_gradient = has_gate(p.rule) ? 2 * kv : 0;
  const double states = 2 * kv + decay + delta;
  const double adjoint = 2 * kv + decay + delta;  // dS: + q^T do, decayed, less k^T dw
  const double gradients = 6 * kv + delta;        // dq, dk, dv; the delta rule's dk has a second product
  return states + adjoint + gradients + gate_gradient;
}

// Per token and subhead with chunk C: products with the state cost 2 K V each, products within the chunk 2 C
// K or 2 C V.
double chunked_flop(const Problem& p) {
  const double k = static_cast<double>(p.key_dim);
  const double v = static_cast<double>(p.value_dim);
  const double c = static_cast<double>(std::min<std::int64_t>(64, p.seq_len));
  const double state_products = 2 * (2 * k * v);        // Q S and K^T V
  const double chunk_products = 2 * c * k + 2 * c * v;  // Q K^T and its product with V
  const double delta = has_beta(p.rule) ? 2 * k * v + 2 * c * k + 2 * c * v : 0;  // K S, K K^T, A (V - K S)
  const double forward = state_products + chunk_products + delta;
  // Every product C = A B has two adjoints, and the states are computed once more.
  const double states = 2 * k * v + delta;
  return p.pass == Pass::kBackward ? 2 * forward + states : forward;
}

// Per token and subkey of q and of k: the expansion, K x K; backward computes it once more and has its two
// adjoints. The convolution is 8 K.
double front_end_flop(const Problem& p) {
  const double k = static_cast<double>(p.key_dim);
  return 2 * (p.pass == Pass::kBackward ? 3 : 1) * (2 * k * k + 8 * k);
}

}  // namespace

double flop(const Problem& p, Form form) {
  const double token_subheads = static_cast<double>(p.batch) * static_cast<double>(p.seq_len) *
                                static_cast<double>(p.heads) * static_cast<double>(p.expansion);
  const double recurrence = form == Form::kChunked ? chunked_flop(p) : recurrent_flop(p);
  const double groups = static_cast<double>(p.heads) / static_cast<double>(p.qk_heads);
  return token_subheads * (recurrence + (p.front_end ? front_end_flop(p) / groups : 0));
}

double state_elements(const Problem& p) {
  return static_cast<double>(p.expansion) * static_cast<double>(p.heads) * static_cast<double>(p.key_dim) *
         static_cast<double>(p.value_dim);
}

double transformer_equivalent_context(double expansion, double key_dim, double value_dim) {
  return 2 * expansion * key_dim * value_dim / (key_dim + value_dim);
}

}  // namespace statescope
