#include "models/layout.h"

namespace statescope {
namespace {

/// Appends tensors of one module to the table.
struct Table {
  std::vector<TensorSpec>& specs;
  std::string prefix;
  int layer = -1;

  void add(const std::string& name, Shape shape, Part part, Init init = Init::kNormal) {
    specs.push_back({prefix + name, std::move(shape), part, init, false, layer});
  }
};

void add_expansion(Table& table, const std::string& name, const LinearMixer& m) {
  const Expansion& e = m.expansion;
  if (e.factor == 1) return;
  const std::int64_t wide = e.factor * m.key_dim;
  switch (e.method) {
    case ExpansionMethod::kHeadwise:
      table.add(name + ".weight", {m.qk_heads, m.key_dim, wide}, Part::kExpansion, Init::kExpansion);
      break;
    case ExpansionMethod::kLowRank:
      table.add(name + ".down.weight", {m.qk_heads, m.key_dim, e.rank}, Part::kExpansion, Init::kExpansion);
      table.add(name + ".up.weight", {m.qk_heads, e.rank, wide}, Part::kExpansion, Init::kExpansion);
      break;
    case ExpansionMethod::kLfm:
      table.add(name + ".weight", {m.qk_heads, e.factor}, Part::kExpansion, Init::kExpansion);
      break;
    case ExpansionMethod::kDpfp:
    case ExpansionMethod::kNaive:
      break;
  }
}

void add_mixer(Table& table, const LinearMixer& m, std::int64_t hidden) {
  const std::int64_t factor = m.expansion.factor;
  const std::int64_t projected = m.expansion.method == ExpansionMethod::kNaive ? factor : 1;
  const std::int64_t query = m.qk_heads * m.key_dim * projected;  // width of W_q and W_k
  const std::int64_t key = m.qk_heads * m.key_dim * factor;       // and once expanded
  const std::int64_t value = m.heads * m.value_dim;
  const std::int64_t gates = m.heads * m.states();
  table.add("q_proj.weight", {query, hidden}, Part::kQueryKey);
  table.add("k_proj.weight", {query, hidden}, Part::kQueryKey);
  table.add("v_proj.weight", {value, hidden}, Part::kValue);
  add_expansion(table, "q_expand", m);
  add_expansion(table, "k_expand", m);
  if (m.short_conv) {
    for (const auto& [name, width] : {std::pair("q", key), std::pair("k", key), std::pair("v", value)}) {
      const std::string conv = std::string(name) + "_conv1d.";
      table.add(conv + "weight", {width, 1, m.conv_size}, Part::kConvolution, Init::kFanIn);
      if (m.conv_bias) table.add(conv + "bias", {width}, Part::kConvolution, Init::kZeros);
    }
  }
  if (m.decay == Decay::kScalar) {
    table.add("a_proj.weight", {gates, hidden}, Part::kGate);
    table.add("A_log", {gates}, Part::kGate, Init::kDecay);
    table.add("dt_bias", {gates}, Part::kGate, Init::kStep);
  }
  if (m.decay == Decay::kChannel) {
    const std::int64_t channels = m.heads * m.key_dim * factor;
    table.add("gk_proj.0.weight", {m.gate_rank, hidden}, Part::kGate);
    table.add("gk_proj.1.weight", {channels, m.gate_rank}, Part::kGate);
    table.add("gk_proj.1.bias", {channels}, Part::kGate, Init::kZeros);
  }
  if (m.delta && m.learned_beta) table.add("b_proj.weight", {gates, hidden}, Part::kGate);
  if (m.output_gate) table.add("g_proj.weight", {value, hidden}, Part::kOutput);
  if (m.norm_weight) table.add(m.norm_name + ".weight", {m.value_dim}, Part::kNorm, Init::kOnes);
  table.add("o_proj.weight", {hidden, value}, Part::kOutput);
}

void add_mixer(Table& table, const Mamba2Mixer& m, std::int64_t hidden) {
  table.add("in_proj.weight", {m.inner() + m.conv_dim() + m.heads, hidden}, Part::kValue);
  if (m.bias) table.add("in_proj.bias", {m.inner() + m.conv_dim() + m.heads}, Part::kValue, Init::kZeros);
  table.add("conv1d.weight", {m.conv_dim(), 1, m.conv_size}, Part::kConvolution, Init::kFanIn);
  if (m.conv_bias) table.add("conv1d.bias", {m.conv_dim()}, Part::kConvolution, Init::kZeros);
  table.add("A_log", {m.heads}, Part::kGate, Init::kRamp);
  table.add("dt_bias", {m.heads}, Part::kGate, Init::kStep);
  table.add("D", {m.heads}, Part::kGate, Init::kOnes);
  table.add("norm.weight", {m.inner()}, Part::kNorm, Init::kOnes);
  table.add("out_proj.weight", {hidden, m.inner()}, Part::kOutput);
  if (m.bias) table.add("out_proj.bias", {hidden}, Part::kOutput, Init::kZeros);
}

void add_mixer(Table& table, const AttentionMixer& m, std::int64_t hidden) {
  const std::int64_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
  for (const auto& [name, width, part] :
       {std::tuple("q_proj.", query, Part::kQueryKey), std::tuple("k_proj.", key, Part::kQueryKey),
        std::tuple("v_proj.", key, Part::kValue)}) {
    table.add(std::string(name) + "weight", {width, hidden}, part);
    if (m.qkv_bias) table.add(std::string(name) + "bias", {width}, part, Init::kZeros);
  }
  if (m.qk_norm) {
    table.add("q_norm.weight", {m.head_dim}, Part::kNorm, Init::kOnes);
    table.add("k_norm.weight", {m.head_dim}, Part::kNorm, Init::kOnes);
  }
  table.add("o_proj.weight", {hidden, query}, Part::kOutput);
}

bool is_mamba(const ModelConfig& config) {
  return config.model_type == "mamba2";
}

}  // namespace

std::string_view name(Part part) {
  switch (part) {
    case Part::kEmbedding:
      return "embeddings";
    case Part::kNorm:
      return "norms";
    case Part::kQueryKey:
      return "queries and keys";
    case Part::kExpansion:
      return "expansion";
    case Part::kConvolution:
      return "convolutions";
    case Part::kGate:
      return "gates";
    case Part::kValue:
      return "values";
    case Part::kOutput:
      return "output";
    case Part::kFeedForward:
      return "feed-forward";
  }
  return "";
}

std::string layer_prefix(const ModelConfig& config, std::int64_t layer) {
  return (is_mamba(config) ? "backbone.layers." : "model.layers.") + std::to_string(layer) + ".";
}

std::string mixer_prefix(const ModelConfig& config, std::int64_t layer) {
  return layer_prefix(config, layer) + (is_mamba(config) ? "mixer." : "attn.");
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  const std::int64_t d = config.hidden;
  std::vector<TensorSpec> specs;
  Table outside{specs, is_mamba(config) ? "backbone." : "model."};
  outside.add("embeddings.weight", {config.vocab_size, d}, Part::kEmbedding);
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const int layer = static_cast<int>(i);
    Table block{specs, layer_prefix(config, layer), layer};
    block.add(is_mamba(config) ? "norm.weight" : "attn_norm.weight", {d}, Part::kNorm, Init::kOnes);
    Table mixer{specs, mixer_prefix(config, layer), layer};
    std::visit([&](const auto& m) { add_mixer(mixer, m, d); }, config.layers[i]);
    if (config.intermediate == 0) continue;
    block.add("mlp_norm.weight", {d}, Part::kNorm, Init::kOnes);
    block.add("mlp.gate_proj.weight", {config.intermediate, d}, Part::kFeedForward);
    block.add("mlp.up_proj.weight", {config.intermediate, d}, Part::kFeedForward);
    block.add("mlp.down_proj.weight", {d, config.intermediate}, Part::kFeedForward);
  }
  outside.add(is_mamba(config) ? "norm_f.weight" : "norm.weight", {d}, Part::kNorm, Init::kOnes);
  outside.prefix = "";
  outside.add("lm_head.weight", {config.vocab_size, d}, Part::kEmbedding);
  specs.back().optional = config.tied_embeddings;
  return specs;
}

}  // namespace statescope
