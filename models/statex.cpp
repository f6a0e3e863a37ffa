// StateX: state expansion after training (papers/methods, section B).
#include <algorithm>
#include <cmath>

#include "models/growth_tools.h"

#include <statescope/error.h>

namespace statescope {
namespace {

constexpr std::int64_t kLoraFactor = 4;
constexpr std::pair<StateX, std::string_view> kNames[] = {{StateX::kReinitialise, "reinitialise"},
                                                          {StateX::kMerge, "merge"},
                                                          {StateX::kLora, "lora_4"},
                                                          {StateX::kFresh, "fresh"},
                                                          {StateX::kCopy, "merge_copy"},
                                                          {StateX::kZero, "merge_zero"}};

/// Uniform Xavier over a matrix [out, in], gain 2^-2.5; other tensors as the table of tensors says.
Tensor reinitialised(GrownTensors& tensors, const std::string& name) {
  Tensor tensor = tensors.fresh(name);
  if (tensor.shape.size() != 2) return tensor;
  const double bound =
      std::exp2(-2.5) * std::sqrt(6.0 / static_cast<double>(tensor.shape[0] + tensor.shape[1]));
  for (float& x : tensor.as<float>()) x = static_cast<float>(bound * (2 * tensors.random().uniform() - 1));
  return tensor;
}

Growth grow_gla(const Checkpoint& base, StateX variant, std::vector<std::int64_t> layers,
                std::uint64_t seed) {
  const ModelConfig& config = base.config;
  if (layers.empty()) {
    for (std::size_t i = 0; i < config.layers.size(); i += 6) layers.push_back(static_cast<std::int64_t>(i));
  }
  const bool lora = variant == StateX::kLora;
  const ModelConfig grown = grown_config(
      config, layers,
      lora
          ? R"({"expansion": )" + std::to_string(kLoraFactor) +
                R"(, "expansion_method": "headwise", "expansion_activation": "identity", "subhead_division": false})"
          : R"({"num_heads": 1})");
  GrownTensors tensors(base, grown, seed);
  for (std::int64_t layer : layers) {
    const auto& m = std::get<LinearMixer>(config.layers[layer]);
    const std::string at = mixer_prefix(config, layer);
    if (m.expansion.factor != 1 || (!lora && m.heads == 1)) {
      throw Error(ErrorKind::kUsage, "layer " + std::to_string(layer) + ": found " + std::to_string(m.heads) +
                                         " heads and an expansion of " + std::to_string(m.expansion.factor) +
                                         ", wanted several heads and an expansion of 1");
    }
    if (lora) {
      for (const char* which : {"q", "k"}) {
        tensors.set(at + which + "_expand.weight", tensors.fresh(at + which + "_expand.weight"));
        for (const char* end : {"_conv1d.weight", "_conv1d.bias"}) {
          const std::string name = at + which + end;
          if (base.tensors.contains(name)) {
            tensors.set(name, repeat_blocks(tensors.base(name), m.key_dim, kLoraFactor));
          }
        }
      }
      // The map K -> 4 K behind the gate's own is one with it: 16 -> 4 H K. It begins with each channel's
      // gate four times.
      for (const char* name : {"gk_proj.1.weight", "gk_proj.1.bias"}) {
        tensors.set(at + name, repeat_blocks(tensors.base(at + name), m.key_dim, kLoraFactor));
      }
    } else if (variant == StateX::kMerge) {
      const std::string norm = at + m.norm_name + ".weight";
      if (m.norm_weight) tensors.set(norm, repeat_blocks(tensors.base(norm), m.value_dim, m.heads));
    } else {
      for (const TensorSpec& spec : tensor_specs(grown)) {
        const bool mixer =
            spec.name.starts_with(at) || spec.name == layer_prefix(config, layer) + "attn_norm.weight";
        if (mixer) tensors.set(spec.name, reinitialised(tensors, spec.name));
      }
    }
  }
  const std::string note = lora ? "the function changes: the maps on q and k begin random"
                           : variant == StateX::kMerge
                               ? "the function changes: each query now reads what every head wrote"
                               : "the function changes: the chosen mixers begin anew";
  return report_growth(base, tensors.finish(), layers, false, note);
}

/// Rows or channels of B or C: [G N, ...] to [G N', ...].
Tensor wider(const Tensor& old, std::int64_t groups, std::int64_t size, StateX variant, double deviation,
             Random& random) {
  std::vector<Tensor> parts;
  const std::int64_t before = old.shape[0] / groups;
  for (std::int64_t g = 0; g < groups; ++g) {
    const Tensor kept = rows_of(old, g * before, before);
    if (variant == StateX::kCopy) {
      parts.push_back(repeat_blocks(kept, before, size / before));
      continue;
    }
    Shape shape = old.shape;
    shape[0] = variant == StateX::kZero ? size - before : size;
    Tensor rest(DType::kF32, shape);
    if (variant == StateX::kZero) {
      parts.push_back(kept);
    } else {
      for (float& x : rest.as<float>()) x = static_cast<float>(deviation * random.normal());
    }
    parts.push_back(rest);
  }
  return stack_rows(parts);
}

Growth grow_mamba2(const Checkpoint& base, StateX variant, std::vector<std::int64_t> layers,
                   std::int64_t size, std::uint64_t seed) {
  const ModelConfig& config = base.config;
  if (layers.empty()) {
    for (std::size_t i = 0; i < config.layers.size(); ++i) layers.push_back(static_cast<std::int64_t>(i));
  }
  const ModelConfig grown = grown_config(config, layers, R"({"state_size": )" + std::to_string(size) + "}");
  GrownTensors tensors(base, grown, seed);
  for (std::int64_t layer : layers) {
    const auto& m = std::get<Mamba2Mixer>(config.layers[layer]);
    if (size <= m.state_size || (variant == StateX::kCopy && size % m.state_size != 0)) {
      throw Error(ErrorKind::kUsage, "state size: found " + std::to_string(size) + ", wanted more than the " +
                                         std::to_string(m.state_size) + " of layer " + std::to_string(layer) +
                                         (variant == StateX::kCopy ? " and a multiple of it" : ""));
    }
    const std::string at = mixer_prefix(config, layer);
    const std::int64_t inner = m.inner(), keys = m.groups * m.state_size;
    // Rows z x B C dt of the projection, channels x B C of the convolution: all but B and C are copied.
    const auto rewrite = [&](const std::string& name, std::int64_t before, std::int64_t behind,
                             double deviation) {
      if (!base.tensors.contains(at + name)) return;
      const Tensor old = tensors.base(at + name);
      std::vector<Tensor> parts = {rows_of(old, 0, before)};
      for (std::int64_t which : {0, 1}) {
        parts.push_back(wider(rows_of(old, before + which * keys, keys), m.groups, size, variant, deviation,
                              tensors.random()));
      }
      parts.push_back(rows_of(old, before + 2 * keys, behind));
      tensors.set(at + name, stack_rows(parts));
    };
    const double tap = 1 / std::sqrt(3.0 * static_cast<double>(m.conv_size));  // of uniform +-1/sqrt(size)
    rewrite("in_proj.weight", 2 * inner, m.heads, config.initializer_range);
    rewrite("in_proj.bias", 2 * inner, m.heads, 0);
    rewrite("conv1d.weight", inner, 0, tap);
    rewrite("conv1d.bias", inner, 0, 0);
    if (variant != StateX::kFresh) continue;
    for (const char* name : {"A_log", "norm.weight"}) tensors.set(at + name, tensors.fresh(at + name));
    Tensor steps(DType::kF32, {m.heads});
    std::ranges::fill(steps.as<float>(), 1.0f);
    tensors.set(at + "dt_bias", steps);
  }
  const bool unchanged = variant == StateX::kZero;
  const std::string note = unchanged ? "the function is unchanged: the new channels of B and C begin at zero"
                           : variant == StateX::kCopy
                               ? "the function changes: what is read grows by the number of copies"
                               : "the function changes: B, C and the decays begin anew";
  return report_growth(base, tensors.finish(), layers, unchanged, note);
}

}  // namespace

std::string_view name(StateX variant) {
  for (const auto& [value, text] : kNames) {
    if (value == variant) return text;
  }
  return "";
}

StateX parse_statex(std::string_view text) {
  std::string words;
  for (const auto& [value, word] : kNames) {
    if (word == text) return value;
    words += (words.empty() ? "" : ", ") + std::string(word);
  }
  throw Error(ErrorKind::kUsage, "variant: found '" + std::string(text) + "', wanted one of " + words);
}

Growth grow_statex(const Checkpoint& base, StateX variant, std::vector<std::int64_t> layers,
                   std::int64_t state_size, std::uint64_t seed) {
  layers = checked_layers(base.config, std::move(layers));
  const bool for_gla = variant <= StateX::kLora;
  if (base.config.model_type != (for_gla ? "gla" : "mamba2")) {
    throw Error(ErrorKind::kUsage, "variant '" + std::string(name(variant)) + "': found a " +
                                       base.config.model_type + ", wanted a " + (for_gla ? "gla" : "mamba2"));
  }
  return for_gla ? grow_gla(base, variant, std::move(layers), seed)
                 : grow_mamba2(base, variant, std::move(layers), state_size, seed);
}

}  // namespace statescope
