#include "models/key_dilution.h"

#include <algorithm>
#include <cmath>

#include "models/operations.h"

#include <statescope/error.h>

namespace statescope {
namespace {

/// Heads of a layer that are measured together: recall runs the recurrence of all of them at once.
struct HeadRange {
  std::int64_t first, count;
};

/// As many heads as keep what recall reads and writes, tokens [2 n, heads, E K] in float32, within this.
constexpr std::int64_t kRecallBytes = std::int64_t{1} << 29;
std::int64_t heads_at_once(std::int64_t heads, std::int64_t pairs, std::int64_t width) {
  return std::clamp<std::int64_t>(kRecallBytes / (2 * pairs * width * 4), 1, heads);
}

/// Unit subkeys of some heads, f32 [n, heads, E K], from the first n tokens of keys [B, T, Hq, E, K].
Array unit_keys(Compute& compute, const LayerKeys& keys, HeadRange heads, std::int64_t n) {
  const std::int64_t width = keys.shape[3] * keys.shape[4], key_dim = keys.shape[4];
  Array own = compute.allocate(DType::kF32, n * heads.count * width);
  compute.apply(Pointwise::kCopy, {1, 1, n, heads.count * width}, {own, {0, 0, heads.count * width, 1}},
                {{keys.array, {0, 0, keys.shape[2] * width, 1}, heads.first * width}});
  compute.normalise(RowNorm::kLength, 0, own.size / key_dim, key_dim, own, {}, own);
  return own;
}

/// Interference and cosines of a head's keys: rows of E K.
void measure_gram(Compute& compute, const MatrixView& keys, HeadDilution& found) {
  const std::int64_t n = found.pairs, width = found.expansion * found.key_dim;
  const Array gram = compute.allocate(DType::kF32, n * n);
  compute.multiply(
      {.m = n, .n = n, .k = width, .transpose_b = true, .alpha = 1 / static_cast<float>(found.expansion)},
      keys, keys, {gram, n});
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
  found.theory = independent_expectation(n, found.expansion, found.key_dim);
  // Unit subkeys: tr G = n, and tr(G^2) = n + the sum of all interference.
  const auto tokens = static_cast<double>(n);
  found.participation = tokens * tokens / (tokens + tokens * found.interference);
}

/// What the layer's state gives back for its own keys, o [2 n, heads, V] of which the second half are reads:
/// stored are values [n, V], the same for every head, under keys [n, heads, E K].
Array values_read(Recurrence& recurrence, Rule rule, const Array& keys, const Array& values,
                  const HeadDilution& sizes, std::int64_t heads) {
  Compute& compute = recurrence.compute();
  const std::int64_t n = sizes.pairs, value_dim = values.size / n;
  const auto zeros = [&](std::int64_t size) { return filled(compute, DType::kF32, size, 0); };
  const auto join = [&](const Array& writes, const Array& reads) {
    return join_tokens(compute, 1, writes, reads);
  };
  Problem problem;
  problem.rule = rule;
  problem.seq_len = 2 * n;
  problem.heads = problem.qk_heads = heads;
  problem.expansion = sizes.expansion;
  problem.key_dim = sizes.key_dim;
  problem.value_dim = value_dim;
  problem.scale = 1 / static_cast<float>(sizes.expansion);
  const Array of_heads = repeated_rows(compute, values, value_dim, heads);
  SlotArrays inputs;
  inputs[Slot::kQ] = join(zeros(keys.size), keys);
  // beta = 0 keeps a read token's key from the state; a rule without beta reads with a key of zero.
  inputs[Slot::kK] = join(keys, has_beta(rule) ? keys : zeros(keys.size));
  inputs[Slot::kV] = join(of_heads, zeros(of_heads.size));
  const std::int64_t subheads = n * heads * sizes.expansion;
  if (has_gate(rule)) inputs[Slot::kG] = zeros(gate_per_channel(rule) ? 2 * keys.size : 2 * subheads);
  if (has_beta(rule)) inputs[Slot::kBeta] = join(filled(compute, DType::kF32, subheads, 1), zeros(subheads));
  Array state;
  return recurrence.run(problem, inputs, state);
}

/// The share of values [n, V] that are the nearest to what was read for them.
double share_nearest(Compute& compute, std::int64_t n, const MatrixView& read, const Array& values) {
  const std::int64_t value_dim = values.size / n;
  const Array products = compute.allocate(DType::kF32, n * n);
  compute.multiply({.m = n, .n = n, .k = value_dim, .transpose_b = true}, read, {values, value_dim},
                   {products, n});
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
  const std::int64_t heads = keys.shape[2], width = keys.shape[3] * keys.shape[4];
  std::vector<HeadDilution> all;
  HeadRange range{0, heads_at_once(heads, pairs, width)};
  for (; range.first < heads; range.first += range.count) {
    range.count = std::min(range.count, heads - range.first);
    const Array own = unit_keys(compute, keys, range, pairs);
    for (std::int64_t i = 0; i < range.count; ++i) {
      HeadDilution& found =
          all.emplace_back(HeadDilution{layer, range.first + i, pairs, keys.shape[3], keys.shape[4]});
      measure_gram(compute, {own, range.count * width, 0, i * width}, found);
    }
    // As recall_at_1() stores and reads them.
    const Array o = values_read(recurrence, rule, own, values, all.back(), range.count);
    for (std::int64_t i = 0; i < range.count; ++i) {
      const MatrixView read{o, range.count * value_dim, 0, (pairs * range.count + i) * value_dim};
      all[range.first + i].recall = share_nearest(compute, pairs, read, values);
    }
  }
  return all;
}

}  // namespace statescope
