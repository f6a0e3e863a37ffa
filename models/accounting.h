// Parameters and state of a configuration (paper, table 1 and the columns of tables 3, 4 and 8).
#pragma once

#include <map>

#include "models/layout.h"

namespace statescope {

struct Accounting {
  std::int64_t parameters = 0;
  std::map<Part, std::int64_t> parts;
  std::vector<std::int64_t> layer_parameters;
  std::vector<std::int64_t>
      layer_state;                ///< recurrent state elements a sequence; softmax attention: see below
  std::int64_t state = 0;         ///< their sum
  std::int64_t conv_state = 0;    ///< inputs that the convolutions keep, elements a sequence
  double equivalent_context = 0;  ///< tokens, mean over the layers (cost.h)
  double query_key_ratio = 1;     ///< (W_q + expansion) over the W_q of E = 1 (table 1)
};

/// Softmax attention's state is its cache at `context` tokens (or its window, if that is shorter).
Accounting account(const ModelConfig& config, std::int64_t context = 2048);

}  // namespace statescope
