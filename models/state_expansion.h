// The expansions of table 7 inside a model: q or k of every head, K wide, become E subkeys (eqs 8 and 9).
#pragma once

#include <functional>
#include <string>

#include "models/config.h"
#include "models/operations.h"

namespace statescope {

/// A weight by the end of its name: "weight", "down.weight", "up.weight" (layout.h).
using WeightOf = std::function<Array(const std::string&)>;

/// x [n, heads, K] to [n, heads, E K]. The naive method has its width from the projection: x is [n, heads, E
/// K] and comes back as it is, and so does any x at E = 1.
Array expand_heads(Compute& compute, const Expansion& expansion, std::int64_t heads, std::int64_t key_dim,
                   const Array& x, const WeightOf& weight);

}  // namespace statescope
