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
  std::uint64_t seed = 0;
  std::string name() const;
};

/// About 60 sizes for one rule x pass x form x type: a pairwise set over T, E, K, V, h0, packing, Hq and
/// gates in which each listed value stands at least twice. `full` adds as many again from another seed and
/// larger T.
std::vector<Case> cases(Rule rule, Pass pass, Form form, DType dtype, Series series = Series::kProduction,
                        Division division = Division::kSubheads, bool full = false);

}  // namespace statescope
