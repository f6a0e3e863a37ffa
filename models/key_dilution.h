// Attention dilution of a checkpoint's own keys (paper, eq 7): what each layer and head of a trained model
// does to the keys of a text, beside what independent keys would do.
#pragma once

#include "models/dilution.h"
#include "models/model_check.h"

namespace statescope {

/// One head of one layer, on the first `pairs` tokens. `cosines` counts the Gram matrix' off-diagonal
/// entries.
struct HeadDilution {
  std::int64_t layer = 0, head = 0;
  std::int64_t pairs = 0, expansion = 1, key_dim = 0;
  double interference = 0;   ///< mean of I_j
  double theory = 0;         ///< (n - 1) / (E K), of independent keys
  double participation = 0;  ///< effective number of directions: (tr G)^2 / tr(G^2), 1 to min(n, E K)
  double recall = 0;         ///< recall@1 of random values stored under these keys by the layer's own rule
  std::array<std::int64_t, kCosineBins> cosines{};
};

/// The rule that stores a layer's keys; softmax attention's are measured as if linear attention stored them.
Rule rule_of(const Mixer& mixer);

/// `keys` of one layer as extract_keys() gives them; batch row 0. Everything that is of the order of n^2
/// happens on the keys' device. Values of `value_dim` are drawn from the seed. Throws Error(kUsage) when
/// there are fewer tokens than `pairs` or a subkey is zero.
std::vector<HeadDilution> measure_keys(Recurrence& recurrence, std::int64_t layer, const LayerKeys& keys,
                                       Rule rule, std::int64_t pairs, std::int64_t value_dim,
                                       std::uint64_t seed);

}  // namespace statescope
