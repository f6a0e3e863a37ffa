// Walks over the chunks of a sequence: forward with the state, then backward with its gradient.
#include "runtime/cpu/chunked.h"

#include <algorithm>

#include <statescope/error.h>

#include "runtime/cpu/front_end.h"
#include "runtime/cpu/reference.h"
#include "runtime/cpu/subhead.h"

namespace statescope::cpu {
namespace {

const ChunkRule& chunk_rule(Rule rule) {
  switch (rule) {
    case Rule::kGla:
      return kGlaChunk;
    case Rule::kGatedDelta:
      return kGatedDeltaChunk;
    default:
      return kLinearChunk;
  }
}

Chunk chunk_of(const Subhead& x, std::int64_t first, std::int64_t tokens) {
  const auto rows = [&](const Matrix& m) { return m.rows > 0 ? rows_of(m, first, tokens) : ConstView(); };
  return {x.scale, rows(x.q), rows(x.k), rows(x.v), rows(x.g), rows(x.beta), rows(x.d_o)};
}

ChunkGradients chunk_of(SubheadGradients& y, std::int64_t first, std::int64_t tokens) {
  const auto rows = [&](Matrix& m) { return m.rows > 0 ? rows_of(m, first, tokens) : View(); };
  return {rows(y.dq), rows(y.dk), rows(y.dv), rows(y.dg), rows(y.dbeta)};
}

SubheadOutputs forward(const Subhead& x, std::int64_t chunk) {
  SubheadOutputs y{Matrix(x.tokens, x.value_dim), x.h0};
  for (std::int64_t first = 0; first < x.tokens; first += chunk) {
    const std::int64_t tokens = std::min(chunk, x.tokens - first);
    chunk_rule(x.rule).forward(chunk_of(x, first, tokens), y.ht, rows_of(y.o, first, tokens));
  }
  return y;
}

/// The forward pass is repeated for the state at every chunk's start; then the chunks are taken from the
/// last.
SubheadGradients backward(const Subhead& x, std::int64_t chunk) {
  std::vector<Matrix> states{x.h0};
  Matrix o(x.tokens, x.value_dim);
  for (std::int64_t first = 0; first < x.tokens; first += chunk) {
    const std::int64_t tokens = std::min(chunk, x.tokens - first);
    states.push_back(states.back());
    chunk_rule(x.rule).forward(chunk_of(x, first, tokens), states.back(), rows_of(o, first, tokens));
  }

  SubheadGradients y(x);
  y.dh0 = x.dht;
  for (auto c = static_cast<std::int64_t>(states.size()) - 2; c >= 0; --c) {  // the last state is ht
    const std::int64_t first = c * chunk, tokens = std::min(chunk, x.tokens - first);
    chunk_rule(x.rule).backward(chunk_of(x, first, tokens), states[c], y.dh0, chunk_of(y, first, tokens));
  }
  return y;
}

}  // namespace

TensorSet run_chunked(const Problem& problem, const TensorSet& inputs, int chunk) {
  if (problem.pass == Pass::kStep)
    throw Error(ErrorKind::kUsage, "step is one token and has no chunked form");
  if (chunk < 1) throw Error(ErrorKind::kUsage, "chunk is " + std::to_string(chunk) + ", wanted at least 1");
  if (problem.front_end) {
    return run_behind_front_end(
        problem, inputs, [chunk](const Problem& p, const TensorSet& x) { return run_chunked(p, x, chunk); });
  }
  return run_subheads(problem, inputs,
                      {[chunk](const Subhead& x) { return forward(x, chunk); },
                       [chunk](const Subhead& x) { return backward(x, chunk); }});
}

}  // namespace statescope::cpu
