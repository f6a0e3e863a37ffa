#include "models/config.h"

#include <cmath>

#include "models/config_reader.h"

#include <statescope/error.h>

namespace statescope {
namespace {

/// floor(size * ratio) as the published classes compute it, and it must divide over the heads.
std::int64_t scaled_width(const ConfigReader& in, const char* key, std::int64_t size, double ratio,
                          std::int64_t heads) {
  const double width = static_cast<double>(size) * ratio;
  if (!(width >= 1 && width < 0x1p31)) in.fail(key, "a positive ratio");
  const auto whole = static_cast<std::int64_t>(width);
  if (whole % heads != 0) {
    in.fail(key, "a width of " + std::to_string(size) + " times it that " + std::to_string(heads) +
                     " heads divide");
  }
  return whole;
}

Activation parse_activation(const ConfigReader& in, const char* key, const std::string& preset) {
  const std::string word = in.word(key, preset);
  if (word == "silu" || word == "swish") return Activation::kSilu;
  if (word == "relu") return Activation::kRelu;
  if (word == "elu" || word == "1+elu") return Activation::kOnePlusElu;
  if (word == "identity") return Activation::kIdentity;
  in.fail(key, "silu, relu, elu or identity");
}

Expansion parse_expansion(const ConfigReader& in, std::int64_t key_dim) {
  Expansion expansion;
  expansion.factor = in.size("expansion", 1);
  expansion.method = parse_expansion_method(in.word("expansion_method", "headwise"));
  expansion.activation = parse_activation(in, "expansion_activation", "silu");
  expansion.division = in.flag("subhead_division", true) ? Division::kSubheads : Division::kNaive;
  if (expansion.method == ExpansionMethod::kLowRank) {
    expansion.rank = in.size("expansion_rank", std::max<std::int64_t>(1, key_dim / 4));
  }
  if (expansion.method == ExpansionMethod::kDpfp && expansion.factor >= key_dim) {
    in.fail("expansion",
            "less than K = " + std::to_string(key_dim) + " for dpfp: its rolls repeat from there");
  }
  return expansion;
}

/// Options of the published classes that would change the result and are not here.
void refuse(const ConfigReader& in, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (in.has(key) && in.json()[key] != false) in.fail(key, "nothing: this option is not supported");
  }
}

/// Widths that follow from hidden_size: what GLA, DeltaNet, RetNet and linear attention share.
LinearMixer ratio_mixer(const ConfigReader& in, std::int64_t hidden, std::int64_t heads, double expand_k,
                        double expand_v) {
  LinearMixer mixer;
  mixer.heads = mixer.qk_heads = in.size("num_heads", heads);
  if (in.integer("num_kv_heads", mixer.heads) != mixer.heads) {
    in.fail("num_kv_heads", std::to_string(mixer.heads) + " (num_heads): shared values are not supported");
  }
  mixer.key_dim =
      scaled_width(in, "expand_k", hidden, in.number("expand_k", expand_k), mixer.heads) / mixer.heads;
  mixer.value_dim =
      scaled_width(in, "expand_v", hidden, in.number("expand_v", expand_v), mixer.heads) / mixer.heads;
  mixer.conv_size = in.size("conv_size", 4);
  mixer.conv_bias = in.flag("conv_bias", false);
  return mixer;
}

LinearMixer gated_deltanet(const ConfigReader& in) {
  LinearMixer mixer;
  mixer.qk_heads = in.size("num_heads", 6);
  mixer.heads = in.size("num_v_heads", mixer.qk_heads);
  if (mixer.heads % mixer.qk_heads != 0) {
    in.fail("num_v_heads", "a multiple of num_heads = " + std::to_string(mixer.qk_heads));
  }
  mixer.key_dim = in.size("head_dim", 256);
  mixer.value_dim = scaled_width(in, "expand_v", mixer.key_dim, in.number("expand_v", 2.0), 1);
  mixer.decay = Decay::kScalar;
  mixer.delta = true;
  mixer.double_beta = in.flag("allow_neg_eigval", false);
  mixer.short_conv = in.flag("use_short_conv", true);
  mixer.conv_bias = in.flag("conv_bias", false);
  mixer.conv_size = in.size("conv_size", 4);
  mixer.qk_activation = mixer.v_activation = Activation::kSilu;
  mixer.l2_norm = true;
  mixer.output_gate = in.flag("use_gate", true);
  return mixer;
}

LinearMixer delta_net(const ConfigReader& in, std::int64_t hidden) {
  LinearMixer mixer = ratio_mixer(in, hidden, 16, 1.0, 1.0);
  mixer.delta = true;
  mixer.learned_beta = in.flag("use_beta", true);
  mixer.double_beta = in.flag("allow_neg_eigval", false);
  mixer.short_conv = in.flag("use_short_conv", true);
  mixer.qk_activation = parse_activation(in, "qk_activation", "silu");
  mixer.v_activation = Activation::kSilu;
  if (in.word("qk_norm", "l2") != "l2") in.fail("qk_norm", "\"l2\"");
  mixer.l2_norm = true;
  mixer.output_gate = in.flag("use_gate", false);
  return mixer;
}

/// GLA and RetNet name their output norm by whether it is fused with a gate.
void gated_norm(const ConfigReader& in, LinearMixer& mixer) {
  mixer.output_gate = in.flag("use_output_gate", true);
  mixer.norm_weight = in.flag("elementwise_affine", true);
  mixer.norm_name = in.flag("fuse_norm", true) && mixer.output_gate ? "g_norm_swish_gate" : "g_norm";
}

LinearMixer gla(const ConfigReader& in, std::int64_t hidden) {
  LinearMixer mixer = ratio_mixer(in, hidden, 4, 0.5, 1.0);
  mixer.decay = Decay::kChannel;
  mixer.short_conv = in.flag("use_short_conv", false);
  if (mixer.short_conv) mixer.qk_activation = mixer.v_activation = Activation::kSilu;
  if (in.has("feature_map")) {
    if (mixer.short_conv) in.fail("feature_map", "nothing beside use_short_conv");
    mixer.qk_activation = parse_activation(in, "feature_map", "identity");
  }
  mixer.gate_rank = in.size("gate_low_rank_dim", 16);
  if (in.has("clamp_min")) mixer.gate_floor = in.number("clamp_min", 0);
  gated_norm(in, mixer);
  return mixer;
}

LinearMixer retnet(const ConfigReader& in, std::int64_t hidden) {
  LinearMixer mixer = ratio_mixer(in, hidden, 8, 1.0, 2.0);
  mixer.decay = Decay::kRetention;
  mixer.short_conv = in.flag("use_short_conv", false);
  if (mixer.short_conv) mixer.qk_activation = mixer.v_activation = Activation::kSilu;
  if (in.has("feature_map")) in.fail("feature_map", "nothing");
  mixer.rotary = true;
  gated_norm(in, mixer);
  return mixer;
}

LinearMixer linear_attention(const ConfigReader& in, std::int64_t hidden) {
  LinearMixer mixer = ratio_mixer(in, hidden, 4, 1.0, 1.0);
  refuse(in, {"norm_q", "norm_k", "norm_feature_map"});
  mixer.qk_activation = parse_activation(in, "feature_map", "elementwise_product");
  mixer.norm_weight = in.flag("elementwise_affine", true);
  mixer.norm_name = "norm";
  return mixer;
}

AttentionMixer attention(const ConfigReader& in, std::int64_t hidden) {
  AttentionMixer mixer;
  mixer.heads = in.size("num_heads", 32);
  mixer.kv_heads = in.size("num_kv_heads", mixer.heads);
  if (hidden % mixer.heads != 0) in.fail("num_heads", "a divisor of hidden_size = " + std::to_string(hidden));
  if (mixer.heads % mixer.kv_heads != 0) {
    in.fail("num_kv_heads", "a divisor of num_heads = " + std::to_string(mixer.heads));
  }
  mixer.head_dim = hidden / mixer.heads;
  if (mixer.head_dim % 2 != 0) in.fail("num_heads", "heads of an even size: positions rotate pairs");
  if (in.has("window_size")) mixer.window = in.size("window_size");
  mixer.rope_theta = in.number("rope_theta", 10000);
  mixer.qkv_bias = in.flag("qkv_bias", false);
  mixer.qk_norm = in.flag("qk_norm", false);
  return mixer;
}

Mamba2Mixer mamba2(const ConfigReader& in, std::int64_t hidden) {
  Mamba2Mixer mixer;
  mixer.heads = in.size("num_heads", 128);
  mixer.head_dim = in.size("head_dim", 64);
  mixer.state_size = in.size("state_size", 128);
  mixer.groups = in.size("n_groups", 8);
  mixer.conv_size = in.size("conv_kernel", 4);
  mixer.bias = in.flag("use_bias", false);
  mixer.conv_bias = in.flag("use_conv_bias", true);
  if (in.number("expand", 2) * static_cast<double>(hidden) != static_cast<double>(mixer.inner())) {
    in.fail("expand", "num_heads head_dim / hidden_size = " + std::to_string(mixer.inner()) + " / " +
                          std::to_string(hidden));
  }
  if (mixer.heads % mixer.groups != 0) {
    in.fail("n_groups", "a divisor of num_heads = " + std::to_string(mixer.heads));
  }
  if (const std::string act = in.word("hidden_act", "silu"); act != "silu" && act != "swish") {
    in.fail("hidden_act", "\"silu\"");
  }
  mixer.step_max = INFINITY;
  if (in.has("time_step_limit")) {
    const ConfigJson& limit = in.json()["time_step_limit"];
    if (!limit.is_array() || limit.size() != 2) in.fail("time_step_limit", "a pair of numbers");
    mixer.step_min = in.number(limit[0], "time_step_limit");
    mixer.step_max = in.number(limit[1], "time_step_limit");
  }
  return mixer;
}

Mixer parse_mixer(const std::string& type, const ConfigReader& in, std::int64_t hidden) {
  if (type == "mamba2") return mamba2(in, hidden);
  if (type == "transformer") return attention(in, hidden);
  LinearMixer mixer;
  if (type == "gated_deltanet") {
    mixer = gated_deltanet(in);
  } else if (type == "gla") {
    mixer = gla(in, hidden);
  } else if (type == "delta_net") {
    mixer = delta_net(in, hidden);
  } else if (type == "retnet") {
    mixer = retnet(in, hidden);
  } else if (type == "linear_attn") {
    mixer = linear_attention(in, hidden);
  } else {
    in.fail("model_type", "gated_deltanet, gla, mamba2, transformer, delta_net, retnet or linear_attn");
  }
  mixer.expansion = parse_expansion(in, mixer.key_dim);
  return mixer;
}

std::int64_t swiglu_width(const ConfigReader& in, const std::string& type, std::int64_t hidden) {
  if (type == "mamba2") return 0;
  if (const std::string act = in.word("hidden_act", "swish"); act != "swish" && act != "silu") {
    in.fail("hidden_act", "\"swish\"");
  }
  if (in.has("intermediate_size")) return in.size("intermediate_size");
  const double ratio = in.number("hidden_ratio", type == "retnet" ? 2 : 4);
  const auto width = static_cast<std::int64_t>(static_cast<double>(hidden) * ratio * 2 / 3);
  if (width < 1) in.fail("hidden_ratio", "a positive ratio");
  return (width + 255) / 256 * 256;
}

}  // namespace

std::string_view name(ExpansionMethod method) {
  switch (method) {
    case ExpansionMethod::kHeadwise:
      return "headwise";
    case ExpansionMethod::kLowRank:
      return "low_rank";
    case ExpansionMethod::kDpfp:
      return "dpfp";
    case ExpansionMethod::kLfm:
      return "lfm";
    case ExpansionMethod::kNaive:
      return "naive";
  }
  return "";
}

ExpansionMethod parse_expansion_method(std::string_view text) {
  for (ExpansionMethod method : kExpansionMethods) {
    if (text == name(method)) return method;
  }
  throw Error(ErrorKind::kUsage, "expansion method: found '" + std::string(text) +
                                     "', wanted headwise, low_rank, dpfp, lfm or naive");
}

Rule LinearMixer::rule() const {
  if (delta) return Rule::kGatedDelta;
  if (decay == Decay::kChannel) return Rule::kGla;
  return decay == Decay::kNone ? Rule::kLinear : Rule::kSsd;
}

ModelConfig parse_config(const std::string& text) {
  const ConfigJson json = parse_config_json(text);
  const ConfigReader in(json);
  ModelConfig config;
  config.text = text;
  config.model_type = in.word("model_type", "");
  config.hidden = in.size("hidden_size", config.model_type == "mamba2" ? 4096 : 2048);
  config.vocab_size = in.size("vocab_size", config.model_type == "mamba2" ? 32768 : 32000);
  config.tied_embeddings = in.flag("tie_word_embeddings", false);
  config.norm_eps =
      config.model_type == "mamba2" ? in.number("layer_norm_epsilon", 1e-5) : in.number("norm_eps", 1e-6);
  config.initializer_range = in.number("initializer_range", config.model_type == "mamba2" ? 0.1 : 0.02);
  refuse(in, {"attn", "attnres_block_size", "use_gv"});

  const ConfigJson overrides = in.has("layer_overrides") ? json["layer_overrides"] : ConfigJson::object();
  if (!overrides.is_object()) in.fail("layer_overrides", "an object of objects");
  const std::int64_t count = in.size("num_hidden_layers");
  if (count > 10000) in.fail("num_hidden_layers", "at most 10000");
  for (const auto& [layer, patch] : overrides.items()) {
    const bool number =
        !layer.empty() && layer.size() < 6 && layer.find_first_not_of("0123456789") == layer.npos;
    if (!number || std::stol(layer) >= count || !patch.is_object()) {
      in.fail("layer_overrides", "layers from 0 to " + std::to_string(count - 1) + ", an object each");
    }
  }
  const Mixer common = parse_mixer(config.model_type, in, config.hidden);
  for (std::int64_t layer = 0; layer < count; ++layer) {
    const auto patch = overrides.find(std::to_string(layer));
    if (patch == overrides.end()) {
      config.layers.push_back(common);
      continue;
    }
    ConfigJson patched = json;
    patched.update(*patch);
    config.layers.push_back(parse_mixer(config.model_type, ConfigReader(patched), config.hidden));
  }
  config.intermediate = swiglu_width(in, config.model_type, config.hidden);
  return config;
}

std::string patch_config(const std::string& text, const std::string& patch) {
  ConfigJson json = parse_config_json(text);
  json.update(parse_config_json(patch));
  return dump_config_json(json);
}

}  // namespace statescope
