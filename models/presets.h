// Named configurations: the models of the paper (table 12) and their variants.
#pragma once

#include <string>
#include <vector>

#include "models/config.h"

namespace statescope {

struct Preset {
  std::string name;
  std::string note;  ///< one line: what it is
};

/// gdn-400m, gla-400m, gdn-1.5b, transformer-400m, transformer-1.5b; -l: 28 layers; -h2: twice the heads;
/// -2k: a sliding window of 2048; deltanet-400m, retnet-400m and linear-400m at the same sizes.
const std::vector<Preset>& presets();

/// config.json of a named configuration. `expansion` > 1 needs a linear recurrence: Error(kUsage) otherwise,
/// and for a name that is not there. `heads_factor` multiplies the heads ("more heads", table 8).
std::string preset_config(const std::string& name, const Expansion& expansion = {},
                          std::int64_t heads_factor = 1);

}  // namespace statescope
