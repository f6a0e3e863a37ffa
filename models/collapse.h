// State collapse (papers/methods, section C): what a model's states do over a long input, and whether they
// explode past the length it was trained on.
#pragma once

#include "models/model.h"

namespace statescope {

/// One head's state, all subheads together: E K V elements.
struct HeadStatistics {
  double mean = 0, variance = 0, rms = 0, median = 0, max = 0;  ///< max of |x|
  double log_decay =
      0;  ///< sum of g since the first token, mean over subheads and channels; 0: never forgets
};

struct StateRecord {
  std::int64_t tokens = 0;                          ///< seen so far
  double loss = 0;                                  ///< mean -log p of the next token over the interval, nats
  std::vector<std::vector<HeadStatistics>> layers;  ///< [layer][head]; empty for softmax attention
};

/// Of each head of a state [heads, width] in float32, but for the decay.
std::vector<HeadStatistics> statistics_of(Compute& compute, std::int64_t heads, const Array& state);

/// Feeds `ids` in intervals of `every` tokens and records after each; batch 1. `on_record` may stop it by
/// throwing.
std::vector<StateRecord> record_states(Model& model, std::span<const std::int32_t> ids, std::int64_t every,
                                       const std::function<void(const StateRecord&)>& on_record = {});

/// The papers' criteria, against the intervals within `trained` tokens.
struct Collapse {
  bool loss = false;  ///< a loss past the training length above twice the largest within it
  struct Head {
    std::int64_t layer, head;
    double variance_ratio;  ///< largest past over largest within
    bool never_forgets;     ///< cumulated alpha above 0.997 at the training length
  };
  std::vector<Head> heads;  ///< whose variance past exceeds `factor` times the largest within
};
/// Throws Error(kUsage) unless there are records on both sides of `trained`.
Collapse find_collapse(const std::vector<StateRecord>& records, std::int64_t trained, double factor = 10);

}  // namespace statescope
