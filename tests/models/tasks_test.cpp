#include "models/tasks.h"
#include "models/tokens.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "runtime/cpu/cpu_device.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

const std::string kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";

std::int64_t count(const std::string& text, const std::string& piece) {
  std::int64_t found = 0;
  for (std::size_t at = text.find(piece); at != text.npos; at = text.find(piece, at + piece.size())) ++found;
  return found;
}

TEST(Passkey, IsTheKnownText) {
  const TextTask task = passkey(3, 0.5, 42);
  EXPECT_EQ(
      task.prompt,
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it.\n\n" +
          kNoise + "The passkey is 00042. Remember it. 00042 is the passkey.\n" + kNoise +
          "\nWhat is the pass key? The passkey is");
  EXPECT_EQ(task.answer, "00042");
  EXPECT_EQ(task.new_tokens, 5);
}

TEST(Passkey, DepthsAndLengths) {
  for (std::int64_t i = 0; i < 8; ++i) {
    const TextTask task = passkey_sample(4096, i, 8, 1);
    EXPECT_LE(task.prompt.size(), 4096u);
    EXPECT_GT(task.prompt.size(), 4096u - kNoise.size());
    const std::int64_t blocks = count(task.prompt, kNoise) + 1;
    const std::int64_t before =
        count(task.prompt.substr(0, task.prompt.find("The passkey is " + task.answer)), kNoise);
    EXPECT_EQ(before, static_cast<std::int64_t>((static_cast<double>(i) + 0.5) / 8 *
                                                static_cast<double>(blocks - 1)));
    EXPECT_EQ(passkey_sample(4096, i, 8, 1).prompt, task.prompt);
  }
  EXPECT_NE(passkey_sample(4096, 0, 8, 1).answer, passkey_sample(4096, 0, 8, 2).answer);
  EXPECT_THROW(passkey_sample(50, 0, 8, 1), Error);
  EXPECT_THROW(passkey_sample(4096, 8, 8, 1), Error);
  EXPECT_THROW(passkey(1, 0, 100000), Error);
}

TEST(SingleNeedle, OneUuidInTheNoise) {
  std::set<std::string> values;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const TextTask task = single_needle(3000, seed);
    EXPECT_LE(task.prompt.size(), 3000u);
    EXPECT_GT(task.prompt.size(), 3000u - kNoise.size());
    const std::regex form("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
    EXPECT_TRUE(std::regex_match(task.answer, form)) << task.answer;
    std::smatch match;
    const std::regex line("One of the special magic uuids for ([a-z-]+) is: ([0-9a-f-]+)\\.");
    ASSERT_TRUE(std::regex_search(task.prompt, match, line));
    EXPECT_EQ(match[2], task.answer);
    EXPECT_TRUE(task.prompt.ends_with("The special magic uuid for " + match[1].str() +
                                      " mentioned in the provided text is"));
    EXPECT_EQ(count(task.prompt, task.answer), 1);
    values.insert(task.answer);
  }
  EXPECT_EQ(values.size(), 20u);
  EXPECT_THROW(single_needle(100, 1), Error);
}

TEST(MultiNeedle, EveryLineIsANeedleAndOneIsAsked) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const TextTask task = multi_needle(2048, seed);
    EXPECT_LE(task.prompt.size(), 2048u);
    EXPECT_GT(task.prompt.size(), 2048u - 100);
    const std::regex line("One of the special magic numbers for ([a-z-]+) is: ([1-9][0-9]{6})\\.\n");
    std::set<std::string> keys;
    std::string asked;
    for (std::sregex_iterator it(task.prompt.begin(), task.prompt.end(), line), end; it != end; ++it) {
      EXPECT_TRUE(keys.insert((*it)[1]).second);
      if ((*it)[2] == task.answer) asked = (*it)[1];
    }
    EXPECT_GT(keys.size(), 20u);
    EXPECT_TRUE(task.prompt.ends_with("The special magic number for " + asked +
                                      " mentioned in the provided text is"));
  }
}

TEST(MultiQueryRecall, PairsThenQueries) {
  const std::int64_t half = kRecallVocabulary / 2;
  for (const auto& [length, pairs] :
       std::initializer_list<std::pair<std::int64_t, std::int64_t>>{{64, 4}, {256, 64}, {1024, 256}}) {
    const RecallSequence s = multi_query_recall(length, pairs, 9);
    ASSERT_EQ(static_cast<std::int64_t>(s.ids.size()), length);
    std::set<std::int32_t> keys, values;
    for (std::int64_t i = 0; i < pairs; ++i) {
      EXPECT_TRUE(s.ids[2 * i] >= 1 && s.ids[2 * i] < half);
      EXPECT_TRUE(s.ids[2 * i + 1] >= half && s.ids[2 * i + 1] < kRecallVocabulary);
      keys.insert(s.ids[2 * i]);
      values.insert(s.ids[2 * i + 1]);
    }
    EXPECT_EQ(static_cast<std::int64_t>(keys.size()), pairs);
    EXPECT_EQ(static_cast<std::int64_t>(values.size()), pairs);
    std::int64_t queries = 0;
    for (std::int64_t t = 0; t < length; ++t) {
      if (s.labels[t] < 0) {
        EXPECT_TRUE(t < 2 * pairs || s.ids[t] == 0);
        continue;
      }
      EXPECT_GE(t, 2 * pairs);
      EXPECT_EQ(t % 2, 0);
      const auto key = std::find(s.ids.begin(), s.ids.begin() + 2 * pairs, s.ids[t]);
      ASSERT_NE(key, s.ids.begin() + 2 * pairs);
      EXPECT_EQ(key[1], s.labels[t]);
      ++queries;
    }
    EXPECT_EQ(queries, pairs);
  }
  EXPECT_EQ(multi_query_recall(64, 4, 9).ids, multi_query_recall(64, 4, 9).ids);
  EXPECT_NE(multi_query_recall(64, 4, 9).ids, multi_query_recall(64, 4, 10).ids);
  EXPECT_THROW(multi_query_recall(64, 17, 1), Error);
  EXPECT_THROW(multi_query_recall(64, 0, 1), Error);
}

// p ~ gap^-0.99 over 28 gaps: the first query of a single pair falls on gap g with that probability.
TEST(MultiQueryRecall, GapsFollowThePowerLaw) {
  constexpr int kDraws = 20000;
  std::vector<int> seen(28);
  for (int i = 0; i < kDraws; ++i) {
    const RecallSequence s = multi_query_recall(58, 1, static_cast<std::uint64_t>(i));
    const auto at =
        std::find_if(s.labels.begin(), s.labels.end(), [](std::int32_t label) { return label >= 0; });
    ++seen[(at - s.labels.begin() - 2) / 2];
  }
  double all = 0;
  for (int g = 1; g <= 28; ++g) all += std::pow(g, -0.99);
  for (int g = 1; g <= 28; ++g) {
    const double p = std::pow(g, -0.99) / all;
    EXPECT_NEAR(seen[g - 1], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))) << g;
  }
}

TEST(Scoring, LongestLengthAndFits) {
  EXPECT_EQ(longest_above({512, 1024, 1536}, {0.9, 0.4, 0.6}, 0.5), 1536);
  EXPECT_EQ(longest_above({512, 1024, 1536}, {0.9, 0.4, 0.6}, 0.7), 512);
  EXPECT_EQ(longest_above({512}, {0.1}, 0.5), 0);
  EXPECT_NEAR(forget_length(4), 16.219, 1e-9);
  EXPECT_NEAR(recall_length(0), -0.742, 1e-9);
  EXPECT_NEAR(recall_length(2), 4.756 * (1.365 * 1.365 - 1) - 0.742, 1e-9);
}

TEST(Scoring, SolvesWhatTheModelSays) {
  BackendStatus status;
  Model model(random_checkpoint(small_config("linear_attn", R"({"vocab_size": 256})"), 3),
              cpu::find_devices(status).at(0).open());
  ModelState state = model.start();
  std::string said;
  for (std::int32_t id : generate(model, state, byte_tokens("hello"), 4)) said += static_cast<char>(id);
  EXPECT_TRUE(solves(model, {"hello", said, 4}));
  EXPECT_TRUE(solves(model, {"hello", said.substr(1, 2), 4}));
  EXPECT_FALSE(solves(model, {"hello", said + "!", 4}));
  const double accuracy = recall_accuracy(model, multi_query_recall(64, 16, 1, 256));
  EXPECT_GE(accuracy, 0);
  EXPECT_LT(accuracy, 0.5);  // random weights recall nothing
}

}  // namespace
}  // namespace statescope
