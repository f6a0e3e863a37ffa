// Head-wise expansion (paper, sections 4.1 and 4.3): one head's key k in R^K becomes E subkeys through its
// own matrix, k_exp = act(k) W with W in R^{K x E K}, subkey j = k_exp[j K : (j + 1) K] (eqs 8 and 9).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/activation.h"

namespace statescope {

/// `keys` [n, K] and `weight` [K, E K] to [n, E, K]; E from the sizes. Throws Error(kUsage) when they do not
/// fit.
std::vector<float> expand_headwise(std::span<const float> keys, std::span<const float> weight,
                                   std::int64_t key_dim, Activation activation);

}  // namespace statescope
