#include "models/tasks.h"
#include "models/tokens.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "runtime/check/random.h"

#include <statescope/error.h>

namespace statescope {
namespace {

constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kUsage, what);
}

/// In [0, bound).
std::int64_t below(Random& random, std::int64_t bound) {
  return static_cast<std::int64_t>(random.bits() % static_cast<std::uint64_t>(bound));
}

constexpr std::array<std::string_view, 64> kAdjectives = {
    "able",  "amber",  "ample",  "basic", "bold",  "brave",  "brief",  "bright", "broad", "calm",   "clean",
    "clear", "clever", "cold",   "cosy",  "crisp", "curly",  "damp",   "dark",   "deep",  "dry",    "eager",
    "early", "exact",  "faint",  "fair",  "fast",  "fine",   "firm",   "flat",   "fresh", "gentle", "giant",
    "glad",  "golden", "grand",  "happy", "heavy", "hollow", "honest", "humble", "jolly", "keen",   "large",
    "late",  "light",  "lively", "lucky", "mild",  "narrow", "neat",   "noble",  "odd",   "pale",   "plain",
    "proud", "quick",  "quiet",  "rapid", "round", "sharp",  "silent", "smooth", "steady"};
constexpr std::array<std::string_view, 64> kNouns = {
    "anchor", "apple",  "arrow",  "barrel",  "basket", "beacon",  "bell",    "bottle", "branch", "bridge",
    "bucket", "button", "candle", "canoe",   "castle", "cellar",  "chair",   "cloud",  "coin",   "copper",
    "corner", "cradle", "desert", "dragon",  "engine", "falcon",  "feather", "fence",  "field",  "flute",
    "forest", "garden", "gate",   "glove",   "hammer", "harbour", "helmet",  "hill",   "island", "jacket",
    "kettle", "ladder", "lake",   "lantern", "magnet", "market",  "meadow",  "mirror", "needle", "oven",
    "paddle", "pebble", "pillow", "planet",  "pocket", "quarry",  "ribbon",  "river",  "saddle", "shovel",
    "spoon",  "temple", "window", "wizard"};

/// Keys of needles: "brave-lantern". The `index`-th of 4096.
std::string needle_word(std::int64_t index) {
  return std::string(kAdjectives[index % 64]) + "-" + std::string(kNouns[index / 64 % 64]);
}
constexpr std::int64_t kNeedleWords = 64 * 64;

std::string uuid(Random& random) {
  std::uint64_t high = random.bits(), low = random.bits();
  high = (high & ~0xf000ull) | 0x4000ull;            // version 4: random
  low = (low & ~(0xc0ull << 56)) | (0x80ull << 56);  // its variant
  char text[40];
  std::snprintf(
      text, sizeof text, "%08llx-%04llx-%04llx-%04llx-%012llx", static_cast<unsigned long long>(high >> 32),
      static_cast<unsigned long long>(high >> 16 & 0xffff), static_cast<unsigned long long>(high & 0xffff),
      static_cast<unsigned long long>(low >> 48), static_cast<unsigned long long>(low & 0xffffffffffffull));
  return text;
}

std::string needle(const std::string& types, const std::string& key, const std::string& value) {
  return "One of the special magic " + types + " for " + key + " is: " + value + ".";
}

/// `type` is singular: "uuid".
std::string question(const std::string& type, const std::string& context, const std::string& query) {
  return "A special magic " + type +
         " is hidden within the following text. Make sure to memorize it. I will quiz you "
         "about the " +
         type + " afterwards.\n" + context + "\nWhat is the special magic " + type + " for " + query +
         " mentioned in the provided text? The special magic " + type + " for " + query +
         " mentioned in the provided text is";
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

/// The largest count >= 1 of equal pieces that fit beside `fixed` bytes.
std::int64_t count_that_fits(std::int64_t length, std::size_t fixed, std::size_t piece) {
  const std::int64_t room = length - static_cast<std::int64_t>(fixed);
  const std::int64_t count = room / static_cast<std::int64_t>(piece);
  if (count < 1) {
    fail("length: found " + std::to_string(length) + " bytes, wanted at least " +
         std::to_string(fixed + piece));
  }
  return count;
}

std::string digits(std::int64_t value, int width) {
  char text[24];
  std::snprintf(text, sizeof text, "%0*lld", width, static_cast<long long>(value));
  return text;
}

}  // namespace

TextTask passkey(std::int64_t blocks, double depth, std::int64_t key) {
  if (blocks < 1) fail("blocks: found " + std::to_string(blocks) + ", wanted at least 1");
  if (!(depth >= 0 && depth <= 1)) fail("depth: found " + std::to_string(depth) + ", wanted 0 to 1");
  if (key < 0 || key > 99999) fail("passkey: found " + std::to_string(key) + ", wanted 0 to 99999");
  const std::string p = digits(key, 5);
  const auto place = static_cast<std::int64_t>(depth * static_cast<double>(blocks - 1));
  TextTask task{
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it.\n\n", p,
      5};
  for (std::int64_t i = 0; i < blocks; ++i) {
    if (i == place) {
      task.prompt += "The passkey is " + p + ". Remember it. " + p + " is the passkey.\n";
    } else {
      task.prompt += std::string(kNoise) + "\n";
    }
  }
  task.prompt += "\nWhat is the pass key? The passkey is";
  return task;
}

TextTask passkey_sample(std::int64_t length, std::int64_t i, std::int64_t samples, std::uint64_t seed) {
  if (samples < 1 || i < 0 || i >= samples) {
    fail("sample: found " + std::to_string(i) + " of " + std::to_string(samples) +
         ", wanted 0 to samples - 1");
  }
  Random random(seed + static_cast<std::uint64_t>(i));
  const std::int64_t key = below(random, 100000);
  const auto room = length - static_cast<std::int64_t>(passkey(1, 0, key).prompt.size());
  if (room < 0)
    fail("length: found " + std::to_string(length) + " bytes, wanted at least " +
         std::to_string(length - room));
  const std::int64_t noise = room / static_cast<std::int64_t>(kNoise.size() + 1);
  return passkey(noise + 1, (static_cast<double>(i) + 0.5) / static_cast<double>(samples), key);
}

TextTask single_needle(std::int64_t length, std::uint64_t seed) {
  Random random(seed);
  const std::string key = needle_word(below(random, kNeedleWords)), value = uuid(random);
  const std::string line = needle("uuids", key, value);
  const std::int64_t count = count_that_fits(length, question("uuid", line, key).size(), kNoise.size() + 1);
  std::vector<std::string> lines(static_cast<std::size_t>(count), std::string(kNoise));
  lines.insert(lines.begin() + below(random, count), line);
  return {question("uuid", joined(lines), key), value,
          static_cast<std::int64_t>(value.size()) + 1};  // and a space
}

TextTask multi_needle(std::int64_t length, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int64_t> words(kNeedleWords);
  for (std::int64_t i = 0; i < kNeedleWords; ++i) words[i] = i;
  for (std::int64_t i = kNeedleWords - 1; i > 0; --i) std::swap(words[i], words[below(random, i + 1)]);

  const std::string key = needle_word(words[0]), value = digits(1000000 + below(random, 9000000), 7);
  std::vector<std::string> lines;
  auto size = static_cast<std::int64_t>(question("number", needle("numbers", key, value), key).size());
  for (std::int64_t i = 1; i < kNeedleWords; ++i) {
    const std::string line =
        needle("numbers", needle_word(words[i]), digits(1000000 + below(random, 9000000), 7));
    size += static_cast<std::int64_t>(line.size()) + 1;
    if (size > length) break;
    lines.push_back(line);
  }
  if (lines.empty())
    fail("length: found " + std::to_string(length) + " bytes, wanted at least " + std::to_string(size));
  const auto place = below(random, static_cast<std::int64_t>(lines.size()) + 1);
  lines.insert(lines.begin() + place, needle("numbers", key, value));
  return {question("number", joined(lines), key), value, static_cast<std::int64_t>(value.size()) + 1};
}

RecallSequence multi_query_recall(std::int64_t length, std::int64_t pairs, std::uint64_t seed,
                                  std::int64_t vocabulary) {
  const std::int64_t half = vocabulary / 2, space = (length - 2 * pairs) / 2;
  if (pairs < 1 || space < pairs) {
    fail("pairs: found " + std::to_string(pairs) + " of length " + std::to_string(length) +
         ", wanted 1 to a quarter of it");
  }
  if (pairs >= half) fail("pairs: found " + std::to_string(pairs) + ", wanted less than half the vocabulary");
  Random random(seed);
  const auto draw = [&](std::int64_t first, std::int64_t last) {
    std::vector<std::int32_t> drawn;
    std::set<std::int64_t> seen;
    while (static_cast<std::int64_t>(drawn.size()) < pairs) {
      const std::int64_t id = first + below(random, last - first);
      if (seen.insert(id).second) drawn.push_back(static_cast<std::int32_t>(id));
    }
    return drawn;
  };
  const std::vector<std::int32_t> keys = draw(1, half), values = draw(half, vocabulary);

  constexpr double kPower = 0.01;
  std::vector<double> weights;
  for (std::int64_t gap = 1; gap <= space; ++gap)
    weights.push_back(std::pow(static_cast<double>(gap), kPower - 1));
  RecallSequence sequence;
  sequence.ids.assign(static_cast<std::size_t>(length), 0);
  sequence.labels.assign(static_cast<std::size_t>(length), -1);
  for (std::int64_t i = 0; i < pairs; ++i) {
    sequence.ids[2 * i] = keys[i];
    sequence.ids[2 * i + 1] = values[i];
    double all = 0;
    for (double weight : weights) all += weight;
    double at = random.uniform() * all;
    std::int64_t gap = 0, last = 0;
    for (; gap < space; ++gap) {
      if (weights[gap] == 0) continue;  // taken
      last = gap;
      if ((at -= weights[gap]) < 0) break;
    }
    gap = last;  // rounding can leave `at` above 0 at the end
    weights[gap] = 0;
    sequence.ids[2 * pairs + 2 * gap] = keys[i];
    sequence.labels[2 * pairs + 2 * gap] = values[i];
  }
  return sequence;
}

bool solves(Model& model, const TextTask& task) {
  ModelState state = model.start();
  std::string text;
  for (const std::int32_t id : generate(model, state, byte_tokens(task.prompt), task.new_tokens)) {
    text += id < 256 ? static_cast<char>(id) : '\0';
  }
  return text.find(task.answer) != text.npos;
}

double recall_accuracy(Model& model, const RecallSequence& sequence) {
  ModelState state = model.start();
  const Tensor logits = model.forward(state, sequence.ids);
  const std::int64_t width = model.config().vocab_size;
  std::int64_t right = 0, asked = 0;
  for (std::size_t t = 0; t < sequence.labels.size(); ++t) {
    if (sequence.labels[t] < 0) continue;
    const float* row = logits.as<float>().data() + static_cast<std::int64_t>(t) * width;
    right += std::max_element(row, row + width) - row == sequence.labels[t];
    ++asked;
  }
  return static_cast<double>(right) / static_cast<double>(asked);
}

std::int64_t longest_above(const std::vector<std::int64_t>& lengths, const std::vector<double>& accuracy,
                           double threshold) {
  std::int64_t longest = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (accuracy[i] >= threshold) longest = std::max(longest, lengths[i]);
  }
  return longest;
}

double forget_length(double state_millions) {
  return 5.172 * state_millions - 4.469;
}

double recall_length(double state_millions) {
  return 4.756 * (std::pow(1.365, state_millions) - 1) - 0.742;
}

}  // namespace statescope
