// Paper A's head-wise expansion of a checkpoint that has none.
#include <algorithm>

#include "models/growth_tools.h"

#include <statescope/error.h>

namespace statescope {
namespace {

/// W [H, K, E K] that keeps the head as its first subkey; the others are zero, or random where `rest` has
/// values.
Tensor keep_first(const TensorSpec& spec, const Tensor* rest) {
  const std::int64_t heads = spec.shape[0], k = spec.shape[1], width = spec.shape[2];
  Tensor w = rest ? *rest : Tensor(DType::kF32, spec.shape);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t i = 0; i < k; ++i) {
      float* row = w.as<float>().data() + (head * k + i) * width;
      std::fill_n(row, k, 0.0f);
      row[i] = 1;
    }
  }
  return w;
}

}  // namespace

Growth grow_headwise(const Checkpoint& base, std::int64_t factor, Activation activation,
                     std::vector<std::int64_t> layers, std::uint64_t seed) {
  const ModelConfig& config = base.config;
  if (config.model_type != "gated_deltanet" && config.model_type != "gla") {
    throw Error(ErrorKind::kUsage,
                "head-wise expansion: found a " + config.model_type + ", wanted a gated_deltanet or gla");
  }
  if (factor < 2 || factor > kMostGrowth) {
    throw Error(ErrorKind::kUsage, "expansion: found " + std::to_string(factor) + ", wanted 2 to " +
                                       std::to_string(kMostGrowth));
  }
  layers = checked_layers(config, std::move(layers));
  if (layers.empty()) {
    for (std::size_t i = 0; i < config.layers.size(); ++i) layers.push_back(static_cast<std::int64_t>(i));
  }
  const ModelConfig grown =
      grown_config(config, layers,
                   R"({"expansion": )" + std::to_string(factor) + R"(, "expansion_method": "headwise", )" +
                       R"("expansion_activation": ")" + std::string(name(activation)) + R"("})");
  GrownTensors tensors(base, grown, seed);
  const bool possible = activation == Activation::kIdentity;
  bool unchanged = possible;
  for (std::int64_t layer : layers) {
    const auto& m = std::get<LinearMixer>(config.layers[layer]);
    if (m.expansion.factor != 1) {
      throw Error(ErrorKind::kUsage, "layer " + std::to_string(layer) + ": found an expansion of " +
                                         std::to_string(m.expansion.factor) + ", wanted 1");
    }
    const std::string at = mixer_prefix(config, layer);
    const Tensor random_key = tensors.fresh(at + "k_expand.weight");
    tensors.set(at + "q_expand.weight", possible ? keep_first(tensors.spec(at + "q_expand.weight"), nullptr)
                                                 : tensors.fresh(at + "q_expand.weight"));
    tensors.set(at + "k_expand.weight",
                possible ? keep_first(tensors.spec(at + "k_expand.weight"), &random_key) : random_key);
    // Each new subhead begins with its head's convolution and gates.
    const auto repeat = [&](const std::string& name, std::int64_t block) {
      if (base.tensors.contains(at + name))
        tensors.set(at + name, repeat_blocks(tensors.base(at + name), block, factor));
    };
    for (const char* name : {"q_conv1d.weight", "q_conv1d.bias", "k_conv1d.weight", "k_conv1d.bias"}) {
      repeat(name, m.key_dim);
    }
    for (const char* name : {"a_proj.weight", "b_proj.weight", "A_log", "dt_bias"}) repeat(name, 1);
    for (const char* name : {"gk_proj.1.weight", "gk_proj.1.bias"}) repeat(name, m.key_dim);
    // What is not read must be zero after convolution and activation too.
    unchanged = unchanged && m.qk_activation != Activation::kOnePlusElu && !(m.short_conv && m.conv_bias);
  }
  const std::string note =
      unchanged ? "the function is unchanged: the new subheads write, and their queries begin at zero"
      : possible
          ? "the function changes: a query of zero does not stay zero behind this convolution or feature map"
          : "the function changes: no expansion behind an activation gives the head back";
  return report_growth(base, tensors.finish(), layers, unchanged, note);
}

}  // namespace statescope
