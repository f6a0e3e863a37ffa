// The fixed matrix of sizes that every backend is held to (DESIGN section 4).
#pragma once

#include <string>
#include <vector>

#include "runtime/check/generate.h"

#include <statescope/problem.h>

namespace statescope {

struct Case {
  Problem problem;
  Gates gates = Gates::kModel;
  std::uint64_t seed = 0;  ///< for generate_inputs()
  /// Letters, digits and underscores only:
  /// "ssd_forward_recurrent_f32_B1_T63_H2_Hq1_E3_K64_V32_h0_packed3_spike".
  std::string name() const;
};

/// Most elements of state that one case updates, T E K V H B: just enough for T = 1000 with E = 16 at K = V
/// = 32. It bounds the time of the whole matrix; pairs of values that exceed it on their own would be left
/// out (none does).
inline constexpr std::int64_t kCaseWork = 1000 * 16 * 32 * 32;

/// About 60 sizes for one rule x pass x form x type: a pairwise set over T, E, K, V, H and Hq, h0, batch or
/// packing, gates and dht, in which each listed value stands at least twice. `full` adds as many again from
/// another seed, with longer T, K and V that are no powers of two, and four times the work. Comparison
/// kernels and the naive division get about 25 smaller sizes (a state of up to 256 KB, E K <= 512; what a
/// device cannot hold it refuses). kStep has T = 1, h0, nothing packed, and no chunked form: that set is
/// empty.
std::vector<Case> cases(Rule rule, Pass pass, Form form, DType dtype, Series series = Series::kProduction,
                        Division division = Division::kSubheads, bool full = false);

/// The sizes of the recurrent form from unexpanded q and k, every other forward with a history. Left out are
/// those that 16 bits cannot judge: where o of a few tokens may be one product q k, rounding q and k changes
/// it by any factor as it nearly cancels.
std::vector<Case> front_end_cases(Rule rule, Pass pass, DType dtype, bool full = false);

}  // namespace statescope
