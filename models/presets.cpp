#include "models/presets.h"

#include "models/config_reader.h"

#include <statescope/error.h>

namespace statescope {
namespace {

struct Size {
  const char* name;
  std::int64_t hidden, head_dim, intermediate;
};
constexpr std::int64_t kHeads = 8;
constexpr Size kSizes[] = {{"400m", 1024, 128, 2816}, {"1.5b", 2048, 256, 5632}};  // table 12

struct Family {
  const char* name;
  const char* model_type;
  const char* patch;  // keys beside the sizes
  std::int64_t layers;
};
// Transformer++ has fewer parameters a layer, so it has 26 of them (appendix A.3.1). Its heads are as many as
// the recurrent models' (the paper does not say).
constexpr Family kFamilies[] = {
    {"gdn", "gated_deltanet", R"({"expand_v": 1.0, "use_gate": true, "use_short_conv": true})", 24},
    {"gla", "gla", R"({"expand_k": 1.0, "expand_v": 1.0, "use_short_conv": true})", 24},
    {"transformer", "transformer", R"({})", 26},
    {"deltanet", "delta_net", R"({"expand_k": 1.0, "expand_v": 1.0, "use_gate": true})", 24},
    {"retnet", "retnet", R"({"expand_k": 1.0, "expand_v": 1.0})", 24},
    {"linear", "linear_attn", R"({"feature_map": "elu"})", 24},
};

bool take_suffix(std::string& text, const std::string& suffix) {
  if (!text.ends_with(suffix)) return false;
  text.resize(text.size() - suffix.size());
  return true;
}

std::string known() {
  std::string names;
  for (const Preset& preset : presets()) names += (names.empty() ? "" : ", ") + preset.name;
  return names;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {"gdn-400m", "Gated DeltaNet, 24 layers of 8 heads, K = V = 128"},
      {"gdn-400m-l", "the same with 28 layers"},
      {"gdn-400m-h2", "the same with 16 heads"},
      {"gdn-1.5b", "Gated DeltaNet, 24 layers of 8 heads, K = V = 256"},
      {"gdn-1.5b-l", "the same with 28 layers"},
      {"gla-400m", "gated linear attention at the sizes of gdn-400m"},
      {"gla-400m-l", "the same with 28 layers"},
      {"transformer-400m", "Transformer++, 26 layers"},
      {"transformer-1.5b", "Transformer++, 26 layers"},
      {"transformer-1.5b-2k", "the same with a sliding window of 2048 tokens"},
      {"deltanet-400m", "DeltaNet at the sizes of gdn-400m"},
      {"retnet-400m", "RetNet at the sizes of gdn-400m"},
      {"linear-400m", "linear attention, 1+ELU, at the sizes of gdn-400m"},
  };
  return all;
}

std::string preset_config(const std::string& name, const Expansion& expansion, std::int64_t heads_factor) {
  std::string rest = name;
  const bool window = take_suffix(rest, "-2k");
  const bool deep = take_suffix(rest, "-l");
  if (take_suffix(rest, "-h2")) heads_factor *= 2;
  for (const Family& family : kFamilies) {
    for (const Size& size : kSizes) {
      if (rest != std::string(family.name) + "-" + size.name) continue;
      const bool softmax = std::string_view(family.model_type) == "transformer";
      if (window && !softmax) break;
      if (softmax && (expansion.factor != 1 || heads_factor != 1)) {
        throw Error(ErrorKind::kUsage,
                    name + ": softmax attention has no state to expand, wanted an expansion of 1");
      }
      ConfigJson json = {{"model_type", family.model_type},
                         {"hidden_size", size.hidden},
                         {"num_hidden_layers", deep ? 28 : family.layers},
                         {"num_heads", kHeads * heads_factor},
                         {"intermediate_size", size.intermediate},
                         {"vocab_size", 32000},
                         {"tie_word_embeddings", false}};
      json.update(ConfigJson::parse(family.patch));
      if (json["model_type"] == "gated_deltanet") {
        json["head_dim"] = size.head_dim;
      } else if (!softmax) {
        json["expand_k"] = json["expand_v"] = heads_factor;
      }
      if (window) json["window_size"] = 2048;
      if (expansion.factor != 1) {
        json["expansion"] = expansion.factor;
        json["expansion_method"] = statescope::name(expansion.method);
        json["expansion_activation"] = statescope::name(expansion.activation);
        json["subhead_division"] = expansion.division == Division::kSubheads;
        if (expansion.rank > 0) json["expansion_rank"] = expansion.rank;
      }
      return dump_config_json(json);
    }
  }
  throw Error(ErrorKind::kUsage, "configuration: found '" + name + "', wanted one of " + known());
}

}  // namespace statescope
