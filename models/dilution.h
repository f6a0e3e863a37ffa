// Attention dilution (paper, eq 7): how much of the other stored values a read-out returns beside the wanted
// one.
//
// For unit subkeys k_i^e and q_j = k_j a linear state returns o_j = v_j + sum_{i != j} G_ji v_i with the Gram
// matrix G_ji = (1/E) sum_e k_j^e . k_i^e; the interference is I_j = sum_{i != j} G_ji^2.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <statescope/compute.h>
#include <statescope/device.h>
#include <statescope/problem.h>

namespace statescope {

/// Where keys come from; the three differ, and that difference is why training matters.
enum class KeySource {
  kIndependent,      ///< every subkey an independent isotropic unit vector
  kLinearExpansion,  ///< head-wise expansion of one random key by a random matrix
  kSiluExpansion,    ///< the same with SiLU before the matrix, as the paper's models have it
};
inline constexpr KeySource kKeySources[] = {KeySource::kIndependent, KeySource::kLinearExpansion,
                                            KeySource::kSiluExpansion};
std::string_view name(KeySource source);  ///< "independent", "linear-expansion", "silu-expansion"

/// The keys of n stored pairs: [n, E, K], every subkey of length 1.
struct Keys {
  std::int64_t pairs = 0, expansion = 1, key_dim = 64;
  std::vector<float> values;
};

/// The same for the same seed on every machine.
Keys make_keys(KeySource source, std::int64_t pairs, std::int64_t expansion, std::int64_t key_dim,
               std::uint64_t seed);

/// The first `pairs` tokens of one batch row and head of a k tensor [B, T, Hq, E, K] of any floating-point
/// type, each subkey scaled to length 1. Throws Error(kUsage) when there are fewer, or a subkey is zero.
Keys keys_from_tensor(const TensorView& k, std::int64_t row, std::int64_t head, std::int64_t pairs);

/// G, n x n; its diagonal is 1.
std::vector<double> gram_matrix(const Keys& keys);

/// I_j of every j.
std::vector<double> interference(const std::vector<double>& gram, std::int64_t pairs);

/// (n - 1) / (E K): the expectation of I_j for independent isotropic subkeys only.
double independent_expectation(std::int64_t pairs, std::int64_t expansion, std::int64_t key_dim);

/// Counts of the off-diagonal entries of G in equal bins over [-1, 1].
std::array<std::int64_t, kCosineBins> cosine_histogram(const std::vector<double>& gram, std::int64_t pairs);

/// n random values of length 1, [n, V].
std::vector<float> make_values(std::int64_t n, std::int64_t value_dim, std::uint64_t seed);

/// Runs the recurrence on the device: n tokens write (g = 0, beta = 1) random values, n tokens read with the
/// same keys and leave the state alone (g = 0, beta = 0; rules without beta: k = 0). The share of j with
/// argmax_i <o_j, v_i> == j, over all `draws`, which are batch rows of one run and have the same sizes.
/// Throws what Device::plan throws.
double recall_at_1(Device& device, Rule rule, std::span<const Keys> draws, std::int64_t value_dim,
                   std::uint64_t seed);

/// One point of the dilution curves, the mean over `trials` draws of keys.
struct DilutionPoint {
  KeySource source = KeySource::kIndependent;
  std::int64_t pairs = 0, expansion = 1, key_dim = 64;
  double interference = 0;         ///< mean of I_j, measured on the keys
  double interference_spread = 0;  ///< standard deviation over the trials
  double theory = 0;               ///< independent_expectation(): of independent keys only
  double recall = 0;
};
/// What is drawn and stored.
struct DilutionOptions {
  std::int64_t pairs = 256, expansion = 1, key_dim = 64, value_dim = 64;
  Rule rule = Rule::kLinear;  ///< of the recall run
  int trials = 4;
  std::uint64_t seed = 1;
};
DilutionPoint measure_dilution(Device& device, KeySource source, const DilutionOptions& options);

}  // namespace statescope
