#include "models/growth_tools.h"

#include <algorithm>
#include <set>

#include "models/config_reader.h"

#include <statescope/error.h>

namespace statescope {

std::vector<std::int64_t> checked_layers(const ModelConfig& config, std::vector<std::int64_t> layers) {
  const auto count = static_cast<std::int64_t>(config.layers.size());
  std::ranges::sort(layers);
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  for (std::int64_t layer : layers) {
    if (layer < 0 || layer >= count) {
      throw Error(ErrorKind::kUsage,
                  "layers: found " + std::to_string(layer) + ", wanted 0 to " + std::to_string(count - 1));
    }
  }
  return layers;
}

ModelConfig grown_config(const ModelConfig& config, const std::vector<std::int64_t>& layers,
                         const std::string& patch) {
  if (layers.size() == config.layers.size()) return parse_config(patch_config(config.text, patch));
  ConfigJson json = parse_config_json(config.text);
  for (std::int64_t layer : layers)
    json["layer_overrides"][std::to_string(layer)].update(parse_config_json(patch));
  return parse_config(dump_config_json(json));
}

GrownTensors::GrownTensors(const Checkpoint& base, const ModelConfig& grown, std::uint64_t seed)
    : base_(base), grown_(grown), random_(seed) {
  for (TensorSpec& s : tensor_specs(grown)) specs_.emplace(s.name, std::move(s));
}

const TensorSpec& GrownTensors::spec(const std::string& name) const {
  return specs_.at(name);
}

Tensor GrownTensors::base(const std::string& name) const {
  return convert(base_.tensors.at(name), DType::kF32);
}

Tensor GrownTensors::fresh(const std::string& name) {
  return random_tensor(spec(name), grown_.initializer_range, random_.bits());
}

void GrownTensors::set(const std::string& name, Tensor tensor) {
  const auto old = base_.tensors.find(name);
  const DType dtype = old != base_.tensors.end() ? old->second.dtype : base_.tensors.begin()->second.dtype;
  changed_[name] = dtype == DType::kF32 ? std::move(tensor) : convert(tensor.view(), dtype);
}

Checkpoint GrownTensors::finish() {
  return derive_checkpoint(base_, std::move(grown_), std::move(changed_));
}

Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  Shape shape = tensor.shape;
  const std::int64_t width = tensor.size() / shape[0];
  shape[0] = count;
  Tensor rows(DType::kF32, shape);
  std::copy_n(tensor.as<float>().begin() + first * width, count * width, rows.as<float>().begin());
  return rows;
}

Tensor stack_rows(const std::vector<Tensor>& parts) {
  Shape shape = parts.front().shape;
  shape[0] = 0;
  for (const Tensor& part : parts) shape[0] += part.shape[0];
  Tensor stacked(DType::kF32, shape);
  auto to = stacked.as<float>().begin();
  for (const Tensor& part : parts) to = std::ranges::copy(part.as<float>(), to).out;
  return stacked;
}

Tensor repeat_blocks(const Tensor& tensor, std::int64_t block, std::int64_t times) {
  std::vector<Tensor> parts;
  for (std::int64_t first = 0; first < tensor.shape[0]; first += block) {
    for (std::int64_t i = 0; i < times; ++i) parts.push_back(rows_of(tensor, first, block));
  }
  return stack_rows(parts);
}

Growth report_growth(const Checkpoint& base, Checkpoint grown, std::vector<std::int64_t> layers,
                     bool unchanged, std::string note) {
  Growth growth;
  growth.before = account(base.config);
  growth.after = account(grown.config);
  growth.checkpoint = std::move(grown);
  growth.layers = std::move(layers);
  growth.unchanged = unchanged;
  growth.note = std::move(note);
  return growth;
}

}  // namespace statescope
