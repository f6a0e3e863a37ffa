#include "models/key_dilution.h"

#include <cmath>

#include "models/operations.h"

#include <statescope/error.h>

namespace statescope {
namespace {

/// Unit subkeys of one head, f32 [n, E K], from the first n tokens of keys [B, T, Hq, E, K].
Array unit_keys(Compute& compute, const LayerKeys& keys, std::int64_t head, std::int64_t n) {
  const std::int64_t heads = keys.shape[2], width = keys.shape[3] * keys.shape[4], key_dim = keys.shape[4];
  Array own = compute.allocate(DType::kF32, n * width);
  compute.apply(Pointwise::kCopy, {1, 1, n, width}, {own, {0, 0, width, 1}},
                {{keys.array, {0, 0, heads * width, 1}, head * width}});
  compute.normalise(RowNorm::kLength, 0, own.size / key_dim, key_dim, own, {}, own);
  return own;
}

/// Interference and cosines of keys [n, E K].
void measure_gram(Compute& compute, const Array& keys, HeadDilution& found) {
  const std::int64_t n = found.pairs, width = keys.size / n;
  const Array gram = compute.allocate(DType::kF32, n * n);
  compute.multiply(
      {.m = n, .n = n, .k = width, .transpose_b = true, .alpha = 1 / static_cast<float>(found.expansion)},
      {keys, width}, {keys, width}, {gram, n});
  const Array sums = compute.allocate(DType::kF32, n),
              counts = compute.allocate(DType::kI32, n * kCosineBins);
  compute.interfere(n, gram, sums, counts);
  const Tensor interference = compute.download(sums, {n}), bins = compute.download(counts, {n, kCosineBins});
  for (float sum : interference.as<float>()) found.interference += sum / static_cast<double>(n);
  for (std::int64_t i = 0; i < bins.size(); ++i) found.cosines[i % kCosineBins] += bins.as<std::int32_t>()[i];
  if (!std::isfinite(found.interference)) {
    throw Error(ErrorKind::kUsage, "k: a subkey of layer " + std::to_string(found.layer) + " head " +
                                       std::to_string(found.head) +
                                       " has length 0 or NaN, wanted a direction");
  }
}

/// The share of values [n, V] that come back nearest, as recall_at_1() stores and reads them.
double recall_of(Recurrence& recurrence, Rule rule, const Array& keys, const Array& values,
                 const HeadDilution& head) {
  Compute& compute = recurrence.compute();
  const std::int64_t n = head.pairs, value_dim = values.size / n;
  const auto zeros = [&](std::int64_t size) { return filled(compute, DType::kF32, size, 0); };
  const auto join = [&](const Array& writes, const Array& reads) {
    return join_tokens(compute, 1, writes, reads);
  };
  Problem problem;
  problem.rule = rule;
  problem.seq_len = 2 * n;
  problem.expansion = head.expansion;
  problem.key_dim = head.key_dim;
  problem.value_dim = value_dim;
  problem.scale = 1 / static_cast<float>(head.expansion);
  SlotArrays inputs;
  inputs[Slot::kQ] = join(zeros(keys.size), keys);
  // beta = 0 keeps a read token's key from the state; a rule without beta reads with a key of zero.
  inputs[Slot::kK] = join(keys, has_beta(rule) ? keys : zeros(keys.size));
  inputs[Slot::kV] = join(values, zeros(values.size));
  if (has_gate(rule))
    inputs[Slot::kG] = zeros(gate_per_channel(rule) ? 2 * keys.size : 2 * n * head.expansion);
  if (has_beta(rule))
    inputs[Slot::kBeta] =
        join(filled(compute, DType::kF32, n * head.expansion, 1), zeros(n * head.expansion));
  Array state;
  const Array o = recurrence.run(problem, inputs, state);
  const Array products = compute.allocate(DType::kF32, n * n);
  compute.multiply({.m = n, .n = n, .k = value_dim, .transpose_b = true}, {o, value_dim, 0, n * value_dim},
                   {values, value_dim}, {products, n});
  const Array places = compute.allocate(DType::kI32, n);
  compute.largest(n, n, products, places);
  const Tensor nearest = compute.download(places, {n});
  std::int64_t right = 0;
  for (std::int64_t j = 0; j < n; ++j) right += nearest.as<std::int32_t>()[j] == j;
  return static_cast<double>(right) / static_cast<double>(n);
}

}  // namespace

Rule rule_of(const Mixer& mixer) {
  if (const auto* linear = std::get_if<LinearMixer>(&mixer)) return linear->rule();
  return std::holds_alternative<Mamba2Mixer>(mixer) ? Rule::kSsd : Rule::kLinear;
}

std::vector<HeadDilution> measure_keys(Recurrence& recurrence, std::int64_t layer, const LayerKeys& keys,
                                       Rule rule, std::int64_t pairs, std::int64_t value_dim,
                                       std::uint64_t seed) {
  if (pairs < 2 || pairs > keys.shape[1]) {
    throw Error(ErrorKind::kUsage, "k: found shape " + to_string(keys.shape) + ", wanted 2 to " +
                                       std::to_string(keys.shape[1]) + " tokens, not " +
                                       std::to_string(pairs));
  }
  Compute& compute = recurrence.compute();
  const Array values = uploaded(compute, make_values(pairs, value_dim, seed), DType::kF32);
  std::vector<HeadDilution> heads;
  for (std::int64_t head = 0; head < keys.shape[2]; ++head) {
    HeadDilution found{layer, head, pairs, keys.shape[3], keys.shape[4]};
    const Array own = unit_keys(compute, keys, head, pairs);
    measure_gram(compute, own, found);
    found.theory = independent_expectation(pairs, found.expansion, found.key_dim);
    // Unit subkeys: tr G = n, and tr(G^2) = n + the sum of all interference.
    const auto n = static_cast<double>(pairs);
    found.participation = n * n / (n + n * found.interference);
    found.recall = recall_of(recurrence, rule, own, values, found);
    heads.push_back(found);
  }
  return heads;
}

}  // namespace statescope
