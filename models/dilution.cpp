#include "models/dilution.h"

#include <algorithm>
#include <cmath>

#include "models/expansion.h"
#include "runtime/check/random.h"
#include "runtime/cpu/compute.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::vector<float> normals(std::int64_t count, double deviation, Random& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = static_cast<float>(deviation * random.normal());
  return values;
}

/// Scales every row of `width` to length 1.
void normalise(std::vector<float>& values, std::int64_t width) {
  for (std::size_t first = 0; first < values.size(); first += static_cast<std::size_t>(width)) {
    double squares = 0;
    for (std::int64_t i = 0; i < width; ++i)
      squares += static_cast<double>(values[first + i]) * values[first + i];
    if (!(squares > 0)) {
      throw Error(ErrorKind::kUsage, "k: subkey " + std::to_string(first / static_cast<std::size_t>(width)) +
                                         " has length 0 or NaN, wanted a direction");
    }
    const double inverse = 1 / std::sqrt(squares);
    for (std::int64_t i = 0; i < width; ++i)
      values[first + i] = static_cast<float>(values[first + i] * inverse);
  }
}

std::vector<float> subkeys(KeySource source, std::int64_t n, std::int64_t e, std::int64_t k, Random& random) {
  if (source == KeySource::kIndependent) return normals(n * e * k, 1, random);
  const Activation activation =
      source == KeySource::kSiluExpansion ? Activation::kSilu : Activation::kIdentity;
  const std::vector<float> keys = normals(n * k, 1, random);
  const std::vector<float> weight = normals(k * e * k, 1 / std::sqrt(static_cast<double>(k)), random);
  return expand_headwise(keys, weight, k, activation);
}

/// The stored value with the largest product with `read`.
std::int64_t nearest(const float* read, const float* stored, std::int64_t n, std::int64_t value_dim) {
  std::int64_t best = -1;
  double most = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    double dot = 0;
    for (std::int64_t c = 0; c < value_dim; ++c)
      dot += static_cast<double>(read[c]) * stored[i * value_dim + c];
    if (best < 0 || dot > most) {
      best = i;
      most = dot;
    }
  }
  return best;
}

/// The run that stores and reads the pairs: a draw of keys is a batch row, n tokens write and n read.
Problem recall_problem(const DilutionOptions& o) {
  Problem problem;
  problem.rule = o.rule;
  problem.batch = problem.sequences = o.trials;
  problem.seq_len = 2 * o.pairs;
  problem.expansion = o.expansion;
  problem.key_dim = o.key_dim;
  problem.value_dim = o.value_dim;
  problem.scale = 1.0f / static_cast<float>(o.expansion);
  return problem;
}

}  // namespace

std::string_view name(KeySource source) {
  switch (source) {
    case KeySource::kIndependent:
      return "independent";
    case KeySource::kLinearExpansion:
      return "linear-expansion";
    case KeySource::kSiluExpansion:
      return "silu-expansion";
  }
  return "";
}

Keys make_keys(KeySource source, std::int64_t pairs, std::int64_t expansion, std::int64_t key_dim,
               std::uint64_t seed) {
  Random random(seed);
  Keys keys{pairs, expansion, key_dim, subkeys(source, pairs, expansion, key_dim, random)};
  normalise(keys.values, key_dim);
  return keys;
}

Keys keys_from_tensor(const TensorView& k, std::int64_t row, std::int64_t head, std::int64_t pairs) {
  if (k.shape.size() != 5) {
    throw Error(ErrorKind::kUsage, "k: found shape " + to_string(k.shape) + ", wanted [B, T, Hq, E, K]");
  }
  const auto [batch, tokens, heads, expansion, key_dim] =
      std::tuple(k.shape[0], k.shape[1], k.shape[2], k.shape[3], k.shape[4]);
  if (row < 0 || row >= batch || head < 0 || head >= heads || pairs < 2 || pairs > tokens) {
    throw Error(ErrorKind::kUsage, "k: found shape " + to_string(k.shape) + ", wanted batch row " +
                                       std::to_string(row) + ", head " + std::to_string(head) + " and 2 to " +
                                       std::to_string(tokens) + " tokens, not " + std::to_string(pairs));
  }
  const Tensor widened = convert(k, DType::kF32);
  const std::span<const float> all = widened.as<float>();
  const std::int64_t width = expansion * key_dim;
  Keys keys{pairs, expansion, key_dim, {}};
  for (std::int64_t token = 0; token < pairs; ++token) {
    const auto first = all.begin() + ((row * tokens + token) * heads + head) * width;
    keys.values.insert(keys.values.end(), first, first + width);
  }
  normalise(keys.values, key_dim);
  return keys;
}

std::vector<double> gram_matrix(const Keys& keys) {
  const std::int64_t n = keys.pairs, width = keys.expansion * keys.key_dim;
  Tensor all(DType::kF32, {n, width});
  std::ranges::copy(keys.values, all.as<float>().begin());
  const auto compute = cpu::make_compute();
  const Array rows = compute->constant(all.view(), DType::kF64);
  const Array gram = compute->allocate(DType::kF64, n * n);
  compute->multiply({.m = n, .n = n, .k = width, .transpose_b = true}, {rows, width}, {rows, width},
                    {gram, n});
  const Tensor found = compute->download(gram, {n, n});
  std::vector<double> products(found.as<double>().begin(), found.as<double>().end());
  for (double& x : products) x /= static_cast<double>(keys.expansion);
  return products;
}

std::vector<double> interference(const std::vector<double>& gram, std::int64_t pairs) {
  std::vector<double> sums(static_cast<std::size_t>(pairs), 0);
  for (std::int64_t j = 0; j < pairs; ++j) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      if (i != j) sums[j] += gram[j * pairs + i] * gram[j * pairs + i];
    }
  }
  return sums;
}

double independent_expectation(std::int64_t pairs, std::int64_t expansion, std::int64_t key_dim) {
  return static_cast<double>(pairs - 1) / static_cast<double>(expansion * key_dim);
}

std::array<std::int64_t, kCosineBins> cosine_histogram(const std::vector<double>& gram, std::int64_t pairs) {
  std::array<std::int64_t, kCosineBins> counts{};
  for (std::int64_t j = 0; j < pairs; ++j) {
    for (std::int64_t i = 0; i < j; ++i) {
      const auto bin = static_cast<std::int64_t>((gram[j * pairs + i] + 1) / 2 * kCosineBins);
      ++counts[std::clamp<std::int64_t>(bin, 0, kCosineBins - 1)];
    }
  }
  return counts;
}

std::vector<float> make_values(std::int64_t n, std::int64_t value_dim, std::uint64_t seed) {
  // A stream of its own: drawn like the keys, from their seed, the values would be the keys where K = V.
  Random random(~seed);
  std::vector<float> values = normals(n * value_dim, 1, random);
  normalise(values, value_dim);
  return values;
}

double recall_at_1(Device& device, Rule rule, std::span<const Keys> draws, std::int64_t value_dim,
                   std::uint64_t seed) {
  const Keys& first = draws.front();
  const std::int64_t n = first.pairs;
  const std::int64_t width = first.expansion * first.key_dim;
  const Problem problem = recall_problem({.pairs = n,
                                          .expansion = first.expansion,
                                          .key_dim = first.key_dim,
                                          .value_dim = value_dim,
                                          .rule = rule,
                                          .trials = static_cast<int>(draws.size())});
  TensorSet inputs;
  for (Slot slot : kSlots) {
    if (is_input(slot) && takes_part(problem, slot))
      inputs[slot] = Tensor(DType::kF32, shape_of(problem, slot));
  }
  const std::vector<float> values = make_values(problem.batch * n, value_dim, seed);
  for (std::int64_t row = 0; row < problem.batch; ++row) {
    const std::vector<float>& keys = draws[static_cast<std::size_t>(row)].values;
    const std::int64_t writes = row * 2 * n, reads = writes + n;  // the row's first tokens
    std::copy(keys.begin(), keys.end(), inputs[Slot::kK].as<float>().begin() + writes * width);
    std::copy(keys.begin(), keys.end(), inputs[Slot::kQ].as<float>().begin() + reads * width);
    std::copy_n(values.begin() + row * n * value_dim, n * value_dim,
                inputs[Slot::kV].as<float>().begin() + writes * value_dim);
    if (has_beta(rule)) {  // beta = 0 keeps a read token's key from the state, so the key may stay
      std::copy(keys.begin(), keys.end(), inputs[Slot::kK].as<float>().begin() + reads * width);
      std::fill_n(inputs[Slot::kBeta].as<float>().begin() + writes * first.expansion, n * first.expansion,
                  1.0f);
    }
  }

  const auto execution = device.prepare(device.plan(problem));
  execution->upload(inputs);
  execution->poison();
  execution->run();
  const Tensor o = convert(execution->download()[Slot::kO].view(), DType::kF32);
  std::int64_t right = 0;
  for (std::int64_t row = 0; row < problem.batch; ++row) {
    const float* stored = values.data() + row * n * value_dim;
    for (std::int64_t j = 0; j < n; ++j) {
      right += nearest(o.as<float>().data() + (row * 2 * n + n + j) * value_dim, stored, n, value_dim) == j;
    }
  }
  return static_cast<double>(right) / static_cast<double>(problem.batch * n);
}

DilutionPoint measure_dilution(Device& device, KeySource source, const DilutionOptions& o) {
  device.plan(recall_problem(o));  // a refusal comes before keys are drawn
  DilutionPoint point{source, o.pairs, o.expansion, o.key_dim};
  point.theory = independent_expectation(o.pairs, o.expansion, o.key_dim);
  std::vector<Keys> draws;
  double squares = 0;
  for (int trial = 0; trial < o.trials; ++trial) {
    draws.push_back(
        make_keys(source, o.pairs, o.expansion, o.key_dim, o.seed + static_cast<std::uint64_t>(trial)));
    double mean = 0;
    for (double x : interference(gram_matrix(draws.back()), o.pairs))
      mean += x / static_cast<double>(o.pairs);
    point.interference += mean / o.trials;
    squares += mean * mean / o.trials;
  }
  point.interference_spread = std::sqrt(std::max(0.0, squares - point.interference * point.interference));
  point.recall = recall_at_1(device, o.rule, draws, o.value_dim, o.seed);
  return point;
}

}  // namespace statescope
