// Training-free mitigations of state collapse (papers/methods, section C: 'Stuffed Mamba'), around the same
// recurrence.
//   kForgetMore  alpha <- 0.9999 alpha and B <- 0.75 B: gates and keys as they enter
//   kWindow      h_t - (prod_{s = t-r+1 .. t} alpha_s) h_{t-r}: the last r tokens alone. What is read from
//   h_{t-r} comes
//                from a second recurrence that sees the same tokens r later; exact, at twice the work. Scalar
//                gates, E = 1
//   kNormalise   h <- h p / |h|_F per head where |h|_F > p, after every `every` tokens (1: as the paper has
//   it)
#pragma once

#include <string_view>

#include "models/recurrence.h"

namespace statescope {

enum class MitigationKind { kNone, kForgetMore, kWindow, kNormalise };
std::string_view name(MitigationKind kind);  ///< "none", "forget-more", "window", "normalise"
MitigationKind parse_mitigation(std::string_view text);

/// r and p are not published; they have no default that could pass for the papers'.
struct Mitigation {
  MitigationKind kind = MitigationKind::kNone;
  double decay_factor = 0.9999, write_factor = 0.75;
  std::int64_t window = 0;  ///< r
  double norm = 0;          ///< p
  std::int64_t every = 1;
};

/// The state of a layer's recurrence between calls.
struct RecurrentState {
  Array state;         ///< [B, H, E, K, V] wide; absent before the first token
  Array windowed;      ///< kWindow: the same less what is older than the window, which o was read from
  Array delayed;       ///< kWindow: the state r tokens ago
  SlotArrays waiting;  ///< kWindow: k, v and g of the last tokens, not yet in it
  std::int64_t waiting_tokens = 0;  ///< at most r
};

/// What the last o was read from.
inline const Array& read_state(const RecurrentState& state) {
  return state.windowed.present() ? state.windowed : state.state;
}

/// o of Recurrence::run() under a mitigation. Throws Error(kUsage) when it does not apply to the problem.
Array run_mitigated(const Mitigation& mitigation, Recurrence& recurrence, const Problem& problem,
                    SlotArrays inputs, RecurrentState& state);

}  // namespace statescope
