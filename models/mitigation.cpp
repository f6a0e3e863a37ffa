#include "models/mitigation.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "models/operations.h"

#include <statescope/error.h>

namespace statescope {
namespace {

constexpr MitigationKind kKinds[] = {MitigationKind::kNone, MitigationKind::kForgetMore,
                                     MitigationKind::kWindow, MitigationKind::kNormalise};

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kUsage, what);
}

Array forget_more(const Mitigation& m, Recurrence& recurrence, const Problem& problem, SlotArrays inputs,
                  RecurrentState& state) {
  if (!has_gate(problem.rule)) fail("mitigation forget-more: found rule linear, wanted one with a gate");
  const auto changed = [&](Slot slot, double factor, double added) {
    const Array from = inputs[slot];
    inputs[slot] = recurrence.compute().allocate(from.dtype, from.size);
    recurrence.compute().apply(Pointwise::kAffine, inputs[slot], {from}, static_cast<float>(factor),
                               static_cast<float>(added));
  };
  changed(Slot::kG, 1, std::log(m.decay_factor));
  changed(Slot::kK, m.write_factor, 0);
  return recurrence.run(problem, std::move(inputs), state.state);
}

/// e^{g_{t-r+1} + .. + g_t} of tokens `before` .. of g [B, all, H]: a scalar a token and head, summed on the
/// host.
Array window_decays(Compute& compute, const Problem& problem, const Array& g, std::int64_t before,
                    std::int64_t window) {
  const std::int64_t all = g.size / (problem.batch * problem.heads), heads = problem.heads;
  const Tensor gates = convert(compute.download(g, {problem.batch, all, heads}).view(), DType::kF32);
  std::vector<float> factors;
  for (std::int64_t row = 0; row < problem.batch; ++row) {
    for (std::int64_t t = before; t < before + problem.seq_len; ++t) {
      for (std::int64_t head = 0; head < heads; ++head) {
        double sum = 0;
        for (std::int64_t s = std::max<std::int64_t>(0, t - window + 1); s <= t; ++s)
          sum += gates.as<float>()[(row * all + s) * heads + head];
        factors.push_back(static_cast<float>(std::exp(sum)));
      }
    }
  }
  return uploaded(compute, factors, g.dtype);
}

Array windowed(const Mitigation& m, Recurrence& recurrence, const Problem& problem, const SlotArrays& inputs,
               RecurrentState& state) {
  if (problem.rule != Rule::kSsd || problem.expansion != 1) {
    fail("mitigation window: found rule " + std::string(name(problem.rule)) +
         " with E = " + std::to_string(problem.expansion) + ", wanted ssd with E = 1: a scalar gate a head");
  }
  if (m.window < 1) fail("mitigation window: found r = " + std::to_string(m.window) + ", wanted at least 1");
  Compute& compute = recurrence.compute();
  const Array o = recurrence.run(problem, inputs, state.state);

  // These tokens' window begins among the ones that wait: token i here is token `before` + i of the joined
  // ones.
  const std::int64_t batch = problem.batch, before = state.waiting_tokens, all = before + problem.seq_len;
  const std::int64_t kept = std::min(all, m.window);
  SlotArrays late;
  late[Slot::kQ] = inputs[Slot::kQ];
  Array gates;
  for (Slot slot : {Slot::kK, Slot::kV, Slot::kG}) {
    const Array joined = join_tokens(compute, batch, state.waiting[slot], inputs[slot]);
    late[slot] = tokens_of(compute, joined, batch, all, before - m.window, problem.seq_len);
    state.waiting[slot] = tokens_of(compute, joined, batch, all, all - kept, kept);
    if (slot == Slot::kG) gates = joined;
  }
  state.waiting_tokens = kept;

  // o_t - e^{g_{t-r+1} + .. + g_t} q_t h_{t-r}
  const Array read = recurrence.run(problem, late, state.delayed);
  const Array factors = window_decays(compute, problem, gates, before, m.window);
  const std::int64_t heads = problem.heads, width = problem.value_dim;
  const View values{o, {0, heads * width, width, 1}};
  compute.apply(Pointwise::kMultiplyAdd, {1, batch * problem.seq_len, heads, width}, values,
                {values, {factors, {0, heads, 1, 0}}, {read, values.strides}}, -1);

  // The same of the state behind the last token.
  state.windowed = compute.allocate(state.state.dtype, state.state.size);
  const std::int64_t elements = state.state.size / (batch * heads);
  const Extents strides{0, heads * elements, elements, 1};
  const View last{factors, {0, problem.seq_len * heads, 1, 0}, (problem.seq_len - 1) * heads};
  compute.apply(Pointwise::kMultiplyAdd, {1, batch, heads, elements}, {state.windowed, strides},
                {{state.state, strides}, last, {state.delayed, strides}}, -1);
  return o;
}

Array normalised(const Mitigation& m, Recurrence& recurrence, const Problem& problem,
                 const SlotArrays& inputs, RecurrentState& state) {
  if (!(m.norm > 0) || m.every < 1)
    fail("mitigation normalise: wanted a norm p above 0 and a positive interval");
  Compute& compute = recurrence.compute();
  const std::int64_t batch = problem.batch, tokens = problem.seq_len;
  const std::int64_t width = problem.heads * problem.value_dim, heads = batch * problem.heads;
  Array o = compute.allocate(inputs[Slot::kV].dtype, batch * tokens * width);
  for (std::int64_t first = 0; first < tokens; first += m.every) {
    Problem piece = problem;
    piece.seq_len = std::min(m.every, tokens - first);
    SlotArrays part;
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG, Slot::kBeta}) {
      if (inputs[slot].present())
        part[slot] = tokens_of(compute, inputs[slot], batch, tokens, first, piece.seq_len);
    }
    const Array read = recurrence.run(piece, std::move(part), state.state);
    const std::int64_t row = piece.seq_len * width;
    compute.apply(Pointwise::kCopy, {1, 1, batch, row}, {o, {0, 0, tokens * width, 1}, first * width},
                  {{read, {0, 0, row, 1}}});
    // Every head's state, all of its subheads, no longer than p.
    compute.normalise(RowNorm::kLimit, static_cast<float>(m.norm), heads, state.state.size / heads,
                      state.state, {}, state.state);
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

Array run_mitigated(const Mitigation& mitigation, Recurrence& recurrence, const Problem& problem,
                    SlotArrays inputs, RecurrentState& state) {
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
