#include "models/collapse.h"

#include <algorithm>
#include <cmath>

#include "models/operations.h"

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

/// to [1, H ...] += the sum over tokens of g [T, H ...], where it lies: ones times g.
void add_gates(Compute& compute, std::int64_t tokens, const Array& g, Array& to) {
  const std::int64_t width = g.size / tokens;
  if (!to.present()) to = filled(compute, g.dtype, width, 0);
  compute.multiply({.m = 1, .n = width, .k = tokens, .accumulate = true},
                   {filled(compute, g.dtype, tokens, 1), tokens}, {g, width}, {to, width});
}

/// Each head's mean over subheads and channels.
std::vector<double> head_means(Compute& compute, std::int64_t heads, const Array& sums) {
  const Tensor host = compute.download(sums, {heads, sums.size / heads});
  std::vector<double> means(static_cast<std::size_t>(heads), 0);
  const std::int64_t width = host.shape[1];
  for (std::int64_t i = 0; i < host.size(); ++i)
    means[i / width] += host.as<float>()[i] / static_cast<double>(width);
  return means;
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

std::vector<HeadStatistics> statistics_of(Compute& compute, std::int64_t heads, const Array& state) {
  const Array rows = compute.allocate(DType::kF32, heads * kRowStatistics);
  compute.row_statistics(heads, state.size / heads, state, rows);
  const Tensor host = compute.download(rows, {heads, kRowStatistics});
  std::vector<HeadStatistics> found;
  for (std::int64_t head = 0; head < heads; ++head) {
    const float* row = host.as<float>().data() + head * kRowStatistics;
    found.push_back({row[0], row[1], row[2], row[3], row[4]});
  }
  return found;
}

std::vector<StateRecord> record_states(Model& model, std::span<const std::int32_t> ids, std::int64_t every,
                                       const std::function<void(const StateRecord&)>& on_record) {
  if (every < 1)
    throw Error(ErrorKind::kUsage, "interval: found " + std::to_string(every) + ", wanted at least 1");
  const std::vector<Mixer>& mixers = model.config().layers;
  Compute& compute = model.compute();
  std::vector<Array> decays(mixers.size());
  const Observer observe = [&](std::int64_t layer, const LayerInputs& inputs) {
    const Array& g = inputs.arrays[Slot::kG];
    if (g.present()) add_gates(compute, inputs.problem.seq_len, g, decays[layer]);
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
      const std::int64_t heads = heads_of(mixers[layer]);
      if (heads == 0) continue;
      record.layers.back() = statistics_of(compute, heads, read_state(state.layers[layer].recurrent));
      if (!decays[layer].present()) continue;
      const std::vector<double> means = head_means(compute, heads, decays[layer]);
      for (std::int64_t head = 0; head < heads; ++head) record.layers.back()[head].log_decay = means[head];
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
