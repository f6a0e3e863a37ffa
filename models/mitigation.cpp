#include "models/mitigation.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <statescope/error.h>

namespace statescope {
namespace {

constexpr MitigationKind kKinds[] = {MitigationKind::kNone, MitigationKind::kForgetMore,
                                     MitigationKind::kWindow, MitigationKind::kNormalise};

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kUsage, what);
}

/// Tokens [first, first + count) of x [B, T, ...]; tokens before the first are zero.
Tensor tokens_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  Shape shape = x.shape;
  const std::int64_t batch = shape[0], tokens = shape[1];
  const std::int64_t width = element_count(shape) / std::max<std::int64_t>(1, batch * tokens);
  shape[1] = count;
  Tensor part(DType::kF32, shape);
  const std::int64_t skipped = std::clamp<std::int64_t>(-first, 0, count);
  for (std::int64_t row = 0; row < batch && skipped < count; ++row) {
    std::copy_n(x.as<float>().begin() + (row * tokens + first + skipped) * width, (count - skipped) * width,
                part.as<float>().begin() + (row * count + skipped) * width);
  }
  return part;
}

/// One behind the other along T; an absent one is empty.
Tensor join_tokens(const Tensor& a, const Tensor& b) {
  if (!a.present()) return b;
  Shape shape = a.shape;
  shape[1] += b.shape[1];
  Tensor joined(DType::kF32, shape);
  const std::int64_t batch = shape[0], first = a.size() / batch, second = b.size() / batch;
  for (std::int64_t row = 0; row < batch; ++row) {
    const auto to = joined.as<float>().begin() + row * (first + second);
    std::copy_n(a.as<float>().begin() + row * first, first, to);
    std::copy_n(b.as<float>().begin() + row * second, second, to + first);
  }
  return joined;
}

Tensor forget_more(const Mitigation& m, Recurrence& recurrence, const Problem& problem, TensorSet inputs,
                   RecurrentState& state) {
  if (!has_gate(problem.rule)) fail("mitigation forget-more: found rule linear, wanted one with a gate");
  for (float& g : inputs[Slot::kG].as<float>()) g += static_cast<float>(std::log(m.decay_factor));
  for (float& k : inputs[Slot::kK].as<float>()) k *= static_cast<float>(m.write_factor);
  return recurrence.run(problem, std::move(inputs), state.state);
}

Tensor windowed(const Mitigation& m, Recurrence& recurrence, const Problem& problem, const TensorSet& inputs,
                RecurrentState& state) {
  if (problem.rule != Rule::kSsd || problem.expansion != 1) {
    fail("mitigation window: found rule " + std::string(name(problem.rule)) +
         " with E = " + std::to_string(problem.expansion) + ", wanted ssd with E = 1: a scalar gate a head");
  }
  if (m.window < 1) fail("mitigation window: found r = " + std::to_string(m.window) + ", wanted at least 1");
  Tensor o = recurrence.run(problem, inputs, state.state);

  // These tokens' window begins among the ones that wait: token i here is token `before` + i of the joined
  // ones.
  const std::int64_t before = state.waiting[Slot::kG].present() ? state.waiting[Slot::kG].shape[1] : 0;
  const std::int64_t all = before + problem.seq_len;
  TensorSet late;
  for (Slot slot : {Slot::kK, Slot::kV, Slot::kG}) {
    const Tensor joined = join_tokens(state.waiting[slot], inputs[slot]);
    late[slot] = tokens_of(joined, before - m.window, problem.seq_len);
    const std::int64_t kept = std::min(all, m.window);
    state.waiting[slot] = tokens_of(joined, all - kept, kept);
    if (slot != Slot::kG) continue;
    // o_t - e^{g_{t-r+1} + .. + g_t} q_t h_{t-r}
    late[Slot::kQ] = inputs[Slot::kQ];
    const Tensor read = recurrence.run(problem, late, state.delayed);
    for (std::int64_t row = 0; row < problem.batch; ++row) {
      for (std::int64_t head = 0; head < problem.heads; ++head) {
        const float* g = joined.as<float>().data() + row * all * problem.heads + head;
        for (std::int64_t t = 0; t < problem.seq_len; ++t) {
          double sum = 0;
          for (std::int64_t s = std::max<std::int64_t>(0, before + t - m.window + 1); s <= before + t; ++s) {
            sum += g[s * problem.heads];
          }
          const auto factor = static_cast<float>(std::exp(sum));
          const std::int64_t at = ((row * problem.seq_len + t) * problem.heads + head) * problem.value_dim;
          for (std::int64_t c = 0; c < problem.value_dim; ++c) {
            o.as<float>()[at + c] -= factor * read.as<float>()[at + c];
          }
        }
      }
    }
  }
  return o;
}

/// Every head's state, all of its subheads, no longer than `norm`.
void shorten(Tensor& state, std::int64_t heads, double norm) {
  const std::int64_t width = state.size() / heads;
  for (std::int64_t head = 0; head < heads; ++head) {
    const std::span<float> own = state.as<float>().subspan(head * width, width);
    double squares = 0;
    for (float x : own) squares += static_cast<double>(x) * x;
    if (squares <= norm * norm) continue;
    const auto factor = static_cast<float>(norm / std::sqrt(squares));
    for (float& x : own) x *= factor;
  }
}

Tensor normalised(const Mitigation& m, Recurrence& recurrence, const Problem& problem,
                  const TensorSet& inputs, RecurrentState& state) {
  if (!(m.norm > 0) || m.every < 1)
    fail("mitigation normalise: wanted a norm p above 0 and a positive interval");
  Tensor o;
  for (std::int64_t first = 0; first < problem.seq_len; first += m.every) {
    Problem piece = problem;
    piece.seq_len = std::min(m.every, problem.seq_len - first);
    TensorSet part;
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta}) {
      if (inputs[slot].present()) part[slot] = tokens_of(inputs[slot], first, piece.seq_len);
    }
    o = join_tokens(o, recurrence.run(piece, std::move(part), state.state));
    shorten(state.state, problem.batch * problem.heads, m.norm);
  }
  return o;
}

}  // namespace

std::string_view name(MitigationKind kind) {
  switch (kind) {
    case MitigationKind::kNone:
      return "none";
    case MitigationKind::kForgetMore:
      return "forget-more";
    case MitigationKind::kWindow:
      return "window";
    case MitigationKind::kNormalise:
      return "normalise";
  }
  return "";
}

MitigationKind parse_mitigation(std::string_view text) {
  for (MitigationKind kind : kKinds) {
    if (name(kind) == text) return kind;
  }
  fail("mitigation: found '" + std::string(text) + "', wanted none, forget-more, window or normalise");
}

Tensor run_mitigated(const Mitigation& mitigation, Recurrence& recurrence, const Problem& problem,
                     TensorSet inputs, RecurrentState& state) {
  switch (mitigation.kind) {
    case MitigationKind::kForgetMore:
      return forget_more(mitigation, recurrence, problem, std::move(inputs), state);
    case MitigationKind::kWindow:
      return windowed(mitigation, recurrence, problem, inputs, state);
    case MitigationKind::kNormalise:
      return normalised(mitigation, recurrence, problem, inputs, state);
    case MitigationKind::kNone:
      break;
  }
  return recurrence.run(problem, std::move(inputs), state.state);
}

}  // namespace statescope
