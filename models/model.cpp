#include "models/model.h"

#include <algorithm>

#include "models/layout.h"
#include "models/mixers.h"

#include <statescope/error.h>

namespace statescope {
namespace {

void check_ids(std::span<const std::int32_t> ids, const ModelConfig& config, std::int64_t batch) {
  if (ids.empty() || static_cast<std::int64_t>(ids.size()) % batch != 0) {
    throw Error(ErrorKind::kUsage, "input_ids: found " + std::to_string(ids.size()) +
                                       " ids, wanted a multiple of B = " + std::to_string(batch));
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      throw Error(ErrorKind::kUsage, "input_ids: found " + std::to_string(ids[i]) + " at " +
                                         std::to_string(i) + ", wanted 0 to " +
                                         std::to_string(config.vocab_size - 1));
    }
  }
}

/// x += SwiGLU(x)
void feed_forward(const MixerContext& in, const std::string& block, const Array& x) {
  Compute& compute = in.compute();
  const auto weight = [&](const char* name) { return in.weights(block + name); };
  const std::int64_t n = in.rows();
  const Array fed = rms_norm(compute, x.size / n, x, weight("mlp_norm.weight"), in.norm_eps, in.dtype);
  const Array up = linear(compute, n, fed, weight("mlp.up_proj.weight"), {}, in.dtype);
  const Array gate = linear(compute, n, fed, weight("mlp.gate_proj.weight"), {}, in.dtype);
  compute.apply(Pointwise::kGate, up, {up, gate});
  add_linear(compute, n, up, weight("mlp.down_proj.weight"), {}, x);
}

}  // namespace

Model::Model(Checkpoint checkpoint, std::shared_ptr<Device> device, ModelOptions options)
    : Model(std::move(checkpoint), device, device->compute(), options) {}

Model::Model(Checkpoint checkpoint, std::shared_ptr<Device> device, std::shared_ptr<Compute> compute,
             ModelOptions options)
    : checkpoint_(std::move(checkpoint)),
      weights_(checkpoint_, *compute, options.dtype),
      recurrence_(std::move(device), compute, options.form),
      options_(options) {}

ModelState Model::start(std::int64_t batch) const {
  if (batch < 1)
    throw Error(ErrorKind::kUsage, "batch: found " + std::to_string(batch) + ", wanted at least 1");
  return {batch, 0, std::vector<LayerState>(config().layers.size())};
}

Tensor Model::forward(ModelState& state, std::span<const std::int32_t> ids, bool last_only,
                      const Observer& observer) {
  const Array logits = run(state, ids, last_only, observer);
  const std::int64_t rows = logits.size / (state.batch * config().vocab_size);
  return compute().download(logits, {state.batch, rows, config().vocab_size});
}

Array Model::run(ModelState& state, std::span<const std::int32_t> ids, bool last_only,
                 const Observer& observer) {
  check_ids(ids, config(), state.batch);
  const Array on_device = compute().allocate(DType::kI32, static_cast<std::int64_t>(ids.size()));
  compute().upload(on_device, std::as_bytes(ids));
  return run(state, on_device, last_only, observer);
}

Array Model::run(ModelState& state, const Array& ids, bool last_only, const Observer& observer) {
  const ModelConfig& c = config();
  Compute& on = compute();
  const std::int64_t batch = state.batch, tokens = ids.size / batch;
  const DType dtype = options_.dtype, wide = wide_type(dtype);
  const bool mamba = c.model_type == "mamba2";
  const std::string outside = mamba ? "backbone." : "model.";
  Array x = on.allocate(wide, ids.size * c.hidden);
  on.gather(weights_(outside + "embeddings.weight"), c.hidden, ids, x);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(i);
    const std::string block = layer_prefix(c, layer);
    const MixerContext context{weights_,    mixer_prefix(c, layer), layer,      batch,
                               tokens,      state.tokens,           c.norm_eps, dtype,
                               recurrence_, options_.mitigation,    observer,   x};
    const Array in = rms_norm(on, c.hidden, x, weights_(block + (mamba ? "norm.weight" : "attn_norm.weight")),
                              c.norm_eps, dtype);
    std::visit([&](const auto& mixer) { mix(mixer, context, in, state.layers[i]); }, c.layers[i]);
    if (c.intermediate > 0) feed_forward(context, block, x);
  }
  state.tokens += tokens;

  if (last_only) x = columns(on, batch, x, tokens * c.hidden, (tokens - 1) * c.hidden, c.hidden);
  const Array last = rms_norm(on, c.hidden, x, weights_(outside + (mamba ? "norm_f.weight" : "norm.weight")),
                              c.norm_eps, dtype);
  Array head = weights_("lm_head.weight");
  if (!head.present()) head = weights_(outside + "embeddings.weight");
  return linear(on, last.size / c.hidden, last, head, {}, wide);
}

bool Model::steps_alike() const {
  if (options_.mitigation.kind != MitigationKind::kNone) return false;
  return std::ranges::all_of(config().layers, [](const Mixer& mixer) {
    const auto* linear = std::get_if<LinearMixer>(&mixer);
    return linear ? !linear->rotary : std::holds_alternative<Mamba2Mixer>(mixer);
  });
}

std::vector<std::int32_t> generate(Model& model, ModelState& state, std::span<const std::int32_t> prompt,
                                   std::int64_t count, const std::function<void(std::int32_t)>& on_token) {
  Compute& compute = model.compute();
  const Array id = compute.allocate(DType::kI32, 1);
  const auto choose = [&](const Array& logits) { compute.largest(1, logits.size, logits, id); };
  choose(model.run(state, prompt, true));
  std::vector<std::int32_t> generated;
  const auto step = [&] { choose(model.run(state, id, true)); };
  std::function<void()> repeat;
  while (true) {
    compute.download(id, std::as_writable_bytes(std::span(&generated.emplace_back(), 1)));
    if (on_token) on_token(generated.back());
    if (static_cast<std::int64_t>(generated.size()) >= count) return generated;
    if (repeat) {
      const std::int64_t seen = state.tokens;
      repeat();
      state.tokens = seen + 1;
    } else if (model.steps_alike() && state.tokens > static_cast<std::int64_t>(prompt.size())) {
      repeat = compute.record(step);  // the second step: the first leaves the state's arrays in place
    } else {
      step();
    }
  }
}

}  // namespace statescope
