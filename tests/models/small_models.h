// Configurations small enough that a test runs many of them.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>

#include <unistd.h>

#include "models/checkpoint.h"

namespace statescope {

inline constexpr const char* kSmallModels[] = {"gated_deltanet", "gla",    "mamba2",     "transformer",
                                               "delta_net",      "retnet", "linear_attn"};

/// Two layers, two heads of K = 16, 96 tokens of vocabulary.
inline ModelConfig small_config(const std::string& type, const std::string& patch = "{}") {
  std::string text = R"({"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 2, "intermediate_size": 48,
    "vocab_size": 96, "initializer_range": 0.2, "expand_v": 1.0})";
  text = patch_config(text, R"({"model_type": ")" + type + R"("})");
  if (type == "gated_deltanet") text = patch_config(text, R"({"head_dim": 16})");
  if (type == "gla") text = patch_config(text, R"({"expand_k": 1.0, "use_short_conv": true})");
  if (type == "linear_attn") text = patch_config(text, R"({"feature_map": "elu"})");
  if (type == "mamba2") {
    text =
        patch_config(text, R"({"num_heads": 4, "head_dim": 16, "state_size": 16, "n_groups": 2, "expand": 2,
      "conv_kernel": 4, "time_step_limit": [0.0, Infinity]})");
  }
  return parse_config(patch_config(text, patch));
}

/// A directory of its own, removed at the end.
struct TemporaryDirectory {
  std::filesystem::path path;

  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "statescope.XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
};

}  // namespace statescope
