#include "models/key_dilution.h"

namespace statescope {

Rule rule_of(const Mixer& mixer) {
  if (const auto* linear = std::get_if<LinearMixer>(&mixer)) return linear->rule();
  return std::holds_alternative<Mamba2Mixer>(mixer) ? Rule::kSsd : Rule::kLinear;
}

std::vector<HeadDilution> measure_keys(Device& device, std::int64_t layer, const Tensor& keys, Rule rule,
                                       std::int64_t pairs, std::int64_t value_dim, std::uint64_t seed) {
  std::vector<HeadDilution> heads;
  for (std::int64_t head = 0; head < keys.shape[2]; ++head) {
    const Keys own = keys_from_tensor(keys.view(), 0, head, pairs);
    const std::vector<double> gram = gram_matrix(own);
    HeadDilution found{layer, head, pairs, own.expansion, own.key_dim};
    for (double sum : interference(gram, pairs)) found.interference += sum / static_cast<double>(pairs);
    found.theory = independent_expectation(pairs, own.expansion, own.key_dim);
    // Unit subkeys: tr G = n, and tr(G^2) = n + the sum of all interference.
    const auto n = static_cast<double>(pairs);
    found.participation = n * n / (n + n * found.interference);
    found.recall = recall_at_1(device, rule, {&own, 1}, value_dim, seed);
    found.cosines = cosine_histogram(gram, pairs);
    heads.push_back(found);
  }
  return heads;
}

}  // namespace statescope
