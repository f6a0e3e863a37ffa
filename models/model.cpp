#include "models/model.h"

#include <algorithm>
#include <cstring>

#include "models/layout.h"
#include "models/mixers.h"

#include <statescope/error.h>

namespace statescope {
namespace {

void add(Buffer& x, const Buffer& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

Buffer normed(Buffer x, const ModelConfig& config, std::span<const float> weight) {
  rms_norm(x, config.hidden, weight, config.norm_eps);
  return x;
}

Buffer embed(std::span<const std::int32_t> ids, const ModelConfig& config, std::span<const float> table) {
  Buffer x(ids.size() * static_cast<std::size_t>(config.hidden));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      throw Error(ErrorKind::kUsage, "input_ids: found " + std::to_string(ids[i]) + " at " +
                                         std::to_string(i) + ", wanted 0 to " +
                                         std::to_string(config.vocab_size - 1));
    }
    std::copy_n(table.begin() + ids[i] * config.hidden, config.hidden, x.begin() + i * config.hidden);
  }
  return x;
}

}  // namespace

Tensor tensor_of(const Buffer& values, Shape shape) {
  Tensor tensor(DType::kF32, std::move(shape));
  if (tensor.size() != static_cast<std::int64_t>(values.size())) {
    throw Error(ErrorKind::kUsage, "found " + std::to_string(values.size()) + " values, wanted shape " +
                                       to_string(tensor.shape));
  }
  std::ranges::copy(values, tensor.as<float>().begin());
  return tensor;
}

Buffer buffer_of(const Tensor& tensor) {
  const std::span<const float> values = tensor.as<float>();
  return {values.begin(), values.end()};
}

Model::Model(Checkpoint checkpoint, std::shared_ptr<Device> device, ModelOptions options)
    : checkpoint_(std::move(checkpoint)),
      weights_(checkpoint_),
      recurrence_(std::move(device), options.dtype, options.form),
      mitigation_(options.mitigation) {}

ModelState Model::start(std::int64_t batch) const {
  if (batch < 1)
    throw Error(ErrorKind::kUsage, "batch: found " + std::to_string(batch) + ", wanted at least 1");
  return {batch, 0, std::vector<LayerState>(config().layers.size())};
}

Tensor Model::forward(ModelState& state, std::span<const std::int32_t> ids, bool last_only,
                      const Observer& observer) {
  const ModelConfig& c = config();
  const std::int64_t batch = state.batch;
  const auto tokens = static_cast<std::int64_t>(ids.size()) / batch;
  if (tokens < 1 || tokens * batch != static_cast<std::int64_t>(ids.size())) {
    throw Error(ErrorKind::kUsage, "input_ids: found " + std::to_string(ids.size()) +
                                       " ids, wanted a multiple of B = " + std::to_string(batch));
  }
  const bool mamba = c.model_type == "mamba2";
  const std::string outside = mamba ? "backbone." : "model.";
  Buffer x = embed(ids, c, weights_(outside + "embeddings.weight"));
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(i);
    const std::string block = layer_prefix(c, layer);
    const MixerContext context{weights_,    mixer_prefix(c, layer),
                               layer,       batch,
                               tokens,      state.tokens,
                               c.norm_eps,  recurrence_,
                               mitigation_, observer};
    const Buffer in = normed(x, c, weights_(block + (mamba ? "norm.weight" : "attn_norm.weight")));
    add(x, std::visit([&](const auto& m) { return mix(m, context, in, state.layers[i]); }, c.layers[i]));
    if (c.intermediate == 0) continue;
    const Buffer fed = normed(x, c, weights_(block + "mlp_norm.weight"));
    const std::int64_t n = batch * tokens;
    Buffer up = linear(n, fed, weights_(block + "mlp.up_proj.weight"));
    gate(up, linear(n, fed, weights_(block + "mlp.gate_proj.weight")));
    add(x, linear(n, up, weights_(block + "mlp.down_proj.weight")));
  }
  state.tokens += tokens;

  const std::int64_t rows = last_only ? 1 : tokens;
  Buffer last;
  for (std::int64_t row = 0; row < batch; ++row) {
    last.insert(last.end(), x.begin() + ((row + 1) * tokens - rows) * c.hidden,
                x.begin() + (row + 1) * tokens * c.hidden);
  }
  last = normed(std::move(last), c, weights_(outside + (mamba ? "norm_f.weight" : "norm.weight")));
  std::span<const float> head = weights_("lm_head.weight");
  if (head.empty()) head = weights_(outside + "embeddings.weight");
  return tensor_of(linear(batch * rows, last, head), {batch, rows, c.vocab_size});
}

std::vector<std::int32_t> generate(Model& model, ModelState& state, std::span<const std::int32_t> prompt,
                                   std::int64_t count) {
  std::vector<std::int32_t> generated;
  Tensor logits = model.forward(state, prompt, true);
  while (true) {
    const std::span<const float> row = logits.as<float>();
    generated.push_back(static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin()));
    if (static_cast<std::int64_t>(generated.size()) >= count) return generated;
    logits = model.forward(state, {&generated.back(), 1}, true);
  }
}

std::vector<std::int32_t> byte_tokens(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

}  // namespace statescope
