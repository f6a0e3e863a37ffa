#include "models/collapse.h"

#include <algorithm>
#include <cmath>

#include <statescope/error.h>

namespace statescope {
namespace {

/// -log softmax(row)[target]
double loss_of(std::span<const float> row, std::int32_t target) {
  const double most = *std::ranges::max_element(row);
  double sum = 0;
  for (float x : row) sum += std::exp(x - most);
  return most + std::log(sum) - row[target];
}

/// Adds the sum over tokens of each head's mean gate; g [1, T, H, ...].
void add_decays(const Tensor& g, std::vector<double>& decays) {
  const std::int64_t tokens = g.shape[1], heads = g.shape[2], width = g.size() / (tokens * heads);
  decays.resize(static_cast<std::size_t>(heads));
  for (std::int64_t row = 0; row < tokens * heads; ++row) {
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i) sum += g.as<float>()[row * width + i];
    decays[row % heads] += sum / static_cast<double>(width);
  }
}

std::int64_t heads_of(const Mixer& mixer) {
  if (const auto* linear = std::get_if<LinearMixer>(&mixer)) return linear->heads;
  if (const auto* mamba = std::get_if<Mamba2Mixer>(&mixer)) return mamba->heads;
  return 0;
}

double largest(const std::vector<StateRecord>& records, std::int64_t trained, bool past, auto value) {
  double most = 0;
  for (const StateRecord& record : records) {
    if ((record.tokens > trained) == past) most = std::max(most, value(record));
  }
  return most;
}

}  // namespace

HeadStatistics statistics_of(std::span<const float> state) {
  HeadStatistics s;
  const auto n = static_cast<double>(state.size());
  double squares = 0;
  for (float x : state) {
    s.mean += x / n;
    squares += static_cast<double>(x) * x;
    s.max = std::max(s.max, std::abs(static_cast<double>(x)));
  }
  for (float x : state) s.variance += (x - s.mean) * (x - s.mean) / n;
  s.rms = std::sqrt(squares / n);
  std::vector<float> sorted(state.begin(), state.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  s.median = *middle;
  if (sorted.size() % 2 == 0) s.median = (s.median + *std::max_element(sorted.begin(), middle)) / 2;
  return s;
}

std::vector<StateRecord> record_states(Model& model, std::span<const std::int32_t> ids, std::int64_t every,
                                       const std::function<void(const StateRecord&)>& on_record) {
  if (every < 1)
    throw Error(ErrorKind::kUsage, "interval: found " + std::to_string(every) + ", wanted at least 1");
  const std::vector<Mixer>& mixers = model.config().layers;
  std::vector<std::vector<double>> decays(mixers.size());
  const Observer observe = [&](std::int64_t layer, const TensorSet& inputs) {
    if (inputs[Slot::kG].present()) add_decays(inputs[Slot::kG], decays[layer]);
  };
  std::vector<StateRecord> records;
  ModelState state = model.start();
  const auto total = static_cast<std::int64_t>(ids.size());
  for (std::int64_t first = 0; first < total; first += every) {
    const std::int64_t count = std::min(every, total - first);
    const Tensor logits = model.forward(state, ids.subspan(first, count), false, observe);
    StateRecord record;
    record.tokens = state.tokens;
    std::int64_t predicted = 0;
    for (std::int64_t t = 0; t < count && first + t + 1 < total; ++t, ++predicted) {
      const std::int64_t width = model.config().vocab_size;
      record.loss += loss_of(logits.as<float>().subspan(t * width, width), ids[first + t + 1]);
    }
    if (predicted > 0) record.loss /= static_cast<double>(predicted);
    for (std::size_t layer = 0; layer < mixers.size(); ++layer) {
      record.layers.emplace_back();
      const Tensor& held = state.layers[layer].recurrent.state;
      const std::int64_t heads = heads_of(mixers[layer]);
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t width = held.size() / heads;
        HeadStatistics s = statistics_of(held.as<float>().subspan(head * width, width));
        if (!decays[layer].empty()) s.log_decay = decays[layer][head];
        record.layers.back().push_back(s);
      }
    }
    if (on_record) on_record(record);
    records.push_back(std::move(record));
  }
  return records;
}

Collapse find_collapse(const std::vector<StateRecord>& records, std::int64_t trained, double factor) {
  if (records.empty() || records.front().tokens > trained || records.back().tokens <= trained) {
    throw Error(ErrorKind::kUsage, "training length: found " + std::to_string(trained) +
                                       ", wanted one with records before and behind it");
  }
  constexpr double kLossFactor = 2, kRemembers = 0.997;
  Collapse found;
  const auto loss = [](const StateRecord& record) { return record.loss; };
  found.loss = largest(records, trained, true, loss) > kLossFactor * largest(records, trained, false, loss);
  const auto last_within = std::find_if(records.rbegin(), records.rend(),
                                        [&](const StateRecord& record) { return record.tokens <= trained; });
  for (std::size_t layer = 0; layer < records.front().layers.size(); ++layer) {
    for (std::size_t head = 0; head < records.front().layers[layer].size(); ++head) {
      const auto variance = [&](const StateRecord& record) { return record.layers[layer][head].variance; };
      const double within = largest(records, trained, false, variance);
      const double past = largest(records, trained, true, variance);
      if (!(past > factor * within)) continue;
      const double decay = last_within->layers[layer][head].log_decay;
      found.heads.push_back({static_cast<std::int64_t>(layer), static_cast<std::int64_t>(head),
                             within > 0 ? past / within : INFINITY, std::exp(decay) > kRemembers});
    }
  }
  return found;
}

}  // namespace statescope
