// A larger state for a checkpoint that is trained already: StateX (papers/methods, section B) and the
// head-wise expansion of paper A. The result is a checkpoint in the same layout, with layer_overrides where
// only some layers grow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/accounting.h"
#include "models/checkpoint.h"

namespace statescope {

/// kReinitialise, kMerge, kLora: GLA. kFresh, kCopy, kZero: Mamba-2.
///   kReinitialise  one head of H K x H V; mixer and its norm begin anew (uniform Xavier, gain 2^-2.5)
///   kMerge         one head, weights kept, the output norm's weight tiled
///   kLora          H heads with a key of 4 K each: a per-head map K -> 4 K on q, k and gate, no subheads
///   kFresh         N grows; rows and channels of B and C begin anew; A_log, dt_bias and the gated norm are
///   reset kCopy          N grows; B and C are tiled, all else is kept kZero          N grows; the new rows
///   and channels are zero, all else is kept
enum class StateX { kReinitialise, kMerge, kLora, kFresh, kCopy, kZero };
std::string_view name(
    StateX variant);  ///< "reinitialise", "merge", "lora_4", "fresh", "merge_copy", "merge_zero"
StateX parse_statex(std::string_view text);

struct Growth {
  Checkpoint checkpoint;
  std::vector<std::int64_t> layers;  ///< that grew
  Accounting before, after;
  bool unchanged = false;  ///< the function is the same at the start
  std::string note;        ///< one sentence: why it is, or is not
};

/// `layers` empty: every sixth from 0 (GLA), all (Mamba-2), as released. `state_size` is Mamba-2's new N, a
/// multiple of the old one for kCopy. Throws Error(kUsage) for other models, layers that are not there, and a
/// state that would not grow.
Growth grow_statex(const Checkpoint& base, StateX variant, std::vector<std::int64_t> layers,
                   std::int64_t state_size, std::uint64_t seed);

/// The largest E of grow_headwise(): beyond it even the shortest key, 16, has no naive twin to hold it
/// against, whose one key of E K ends at 4096.
inline constexpr std::int64_t kMostGrowth = 4096 / 16;

/// Paper A's head-wise expansion of a Gated DeltaNet or GLA by `factor` (every layer when `layers` is empty).
/// Without an activation before it, q's expansion begins as [I 0 .. 0] and k's as [I R .. R], R random: the
/// new subheads write and are not read, so that the function is unchanged. With one that is not possible, and
/// both begin random.
Growth grow_headwise(const Checkpoint& base, std::int64_t factor, Activation activation,
                     std::vector<std::int64_t> layers, std::uint64_t seed);

}  // namespace statescope
