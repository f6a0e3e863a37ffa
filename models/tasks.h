// Recall tasks that need no download (papers/methods, section D): passkey, S-NIAH and M-NIAH as text, MQAR as
// tokens. The same seed gives the same task on every machine. Lengths of text are bytes: text goes into a
// model byte by byte.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/model.h"

namespace statescope {

struct TextTask {
  std::string prompt;
  std::string answer;
  std::int64_t new_tokens = 0;  ///< to generate; right when they contain the answer
};

/// Passkey: `blocks` sentences of noise, the one at int(depth (blocks - 1)) replaced by a key from 00000 to
/// 99999. Throws Error(kUsage) unless blocks >= 1, depth is in [0, 1] and the key has five digits.
TextTask passkey(std::int64_t blocks, double depth, std::int64_t key);
/// Sample i of `samples`: depth (i + 0.5) / samples, a key drawn from the seed; as many blocks as fit
/// `length` bytes.
TextTask passkey_sample(std::int64_t length, std::int64_t i, std::int64_t samples, std::uint64_t seed);

/// S-NIAH with UUIDs: one needle, a word to a UUID, in the same noise. As long as fits `length` bytes.
TextTask single_needle(std::int64_t length, std::uint64_t seed);
/// M-NIAH: the haystack is needles too, distinct words to 7-digit numbers, and one of them is asked for.
TextTask multi_needle(std::int64_t length, std::uint64_t seed);

/// Multi-query associative recall: k_1 v_1 .. k_n v_n, then each key once more at position 2 n + 2 gap, gaps
/// drawn without replacement with probability ~ gap^(0.01 - 1) (gap counted from 1); every other place is 0.
struct RecallSequence {
  std::vector<std::int32_t> ids;     ///< [length]
  std::vector<std::int32_t> labels;  ///< [length]: at a query its value, elsewhere -1 (ignored)
};
inline constexpr std::int64_t kRecallVocabulary =
    8192;  ///< keys from [1, V / 2), values from [V / 2, V), no repeats
/// Throws Error(kUsage) when n pairs and their queries do not fit: 4 n <= length, n < V / 2.
RecallSequence multi_query_recall(std::int64_t length, std::int64_t pairs, std::uint64_t seed,
                                  std::int64_t vocabulary = kRecallVocabulary);

/// Whether the greedy continuation contains the answer.
bool solves(Model& model, const TextTask& task);
/// Share of the queries whose largest logit is the value.
double recall_accuracy(Model& model, const RecallSequence& sequence);

/// The largest length whose accuracy is at least `threshold` (paper, figure 2); 0: none.
std::int64_t longest_above(const std::vector<std::int64_t>& lengths, const std::vector<double>& accuracy,
                           double threshold);

/// Fits of state capacity (Chen et al.; six points): thousands of tokens from millions of state elements over
/// the model.
double forget_length(double state_millions);  ///< 5.172 N - 4.469
double recall_length(double state_millions);  ///< 4.756 (1.365^N - 1) - 0.742

}  // namespace statescope
