// Figures that the paper prints, to stand beside ours. They are of whole models in training with other
// kernels: ratios compare, absolute rates do not.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include <statescope/types.h>

namespace statescope {

/// Table 2: training throughput of a 400M model, tokens a second.
struct PublishedDivision {
  Division division;
  std::string_view device;
  int expansion;
  std::optional<int> tokens_per_second;  ///< absent: "OOM", the model runs out of shared memory
};
std::span<const PublishedDivision> published_table_2();

/// Table 9: training throughput of Gated DeltaNet, tokens a GPU-second, and its ratio to E = 1.
struct PublishedTraining {
  int expansion;
  int tokens_per_second;
  double ratio;
};
std::span<const PublishedTraining> published_table_9();

/// Table 4: average of FDA, SWDE and SQuAD of the 400M models, percent: what the larger state is for.
struct PublishedRecall {
  Rule rule;
  int expansion;
  double average;
};
std::span<const PublishedRecall> published_table_4();

/// Why the paper's H800 ran naive at E = 8 and 16, where a whole state does not fit its 227 KB either.
std::string_view why_h800_ran_naive();

}  // namespace statescope
