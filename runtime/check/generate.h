// Random inputs for a problem: never zeros, the same for the same seed on every machine (gates and beta as
// far as the C libraries round exp alike).
#pragma once

#include <cstdint>

#include <statescope/problem.h>

namespace statescope {

/// How strong the gates are. kModel: g = -softplus-like, mostly within [-0.5, 0], as trained models have.
/// kSpike: one gate in eight is a spike, half of those at -20 and half spread over [-20, 0]. kNone: g = 0.
enum class Gates { kModel, kSpike, kNone };

/// float32 inputs: q and k l2-normalised over K (the long key over E K when the division is naive; standard
/// normal before a front end, whose weights keep that size), v, do, dht and h0 standard normal, beta =
/// sigmoid(normal). cu_seqlens cuts [0, T] into N uneven sequences, an empty one among them when N > 3.
TensorSet generate_inputs(const Problem& problem, std::uint64_t seed, Gates gates = Gates::kModel);

}  // namespace statescope
