// statescope expand: a checkpoint with a larger state, by StateX or by head-wise expansion.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/text_table.h"
#include "models/growth.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model, output, method = "headwise", variant, activation = "identity", layers;
  std::int64_t expansion = 2, state_size = 512, seed = 1;
  bool json = false;
};

/// "0,6,12"
std::vector<std::int64_t> parse_layers(const std::string& text) {
  std::vector<std::int64_t> layers;
  if (text.empty()) return layers;
  for (const std::string& word : split(text, "--layers")) {
    if (word.empty() || word.size() > 6 || word.find_first_not_of("0123456789") != word.npos) {
      throw Error(ErrorKind::kUsage, "--layers: found '" + word + "', wanted numbers with commas between");
    }
    layers.push_back(std::stol(word));
  }
  return layers;
}

Activation parse_activation(const std::string& text) {
  for (Activation activation : kActivations) {
    if (name(activation) == text) return activation;
  }
  throw Error(ErrorKind::kUsage, "--activation: found '" + text + "', wanted identity, silu, relu or 1+elu");
}

Growth grow(const Checkpoint& base, const Options& options) {
  const auto seed = static_cast<std::uint64_t>(options.seed);
  const std::vector<std::int64_t> layers = parse_layers(options.layers);
  if (options.method == "headwise") {
    return grow_headwise(base, options.expansion, parse_activation(options.activation), layers, seed);
  }
  if (options.method != "statex") {
    throw Error(ErrorKind::kUsage, "--method: found '" + options.method + "', wanted headwise or statex");
  }
  const bool mamba = base.config.model_type == "mamba2";
  const std::string variant = options.variant.empty() ? (mamba ? "fresh" : "reinitialise") : options.variant;
  return grow_statex(base, parse_statex(variant), layers, options.state_size, seed);
}

std::string growth(std::int64_t before, std::int64_t after) {
  return fixed(100.0 * static_cast<double>(after - before) / static_cast<double>(before), 2) + " %";
}

void print(const Growth& grown) {
  TextTable table({"layer", ">parameters", ">after", ">growth", ">state", ">after", ">growth"});
  const auto row = [&](const std::string& what, std::int64_t p, std::int64_t q, std::int64_t s,
                       std::int64_t t) {
    table.add({what, std::to_string(p), std::to_string(q), growth(p, q), std::to_string(s), std::to_string(t),
               growth(s, t)});
  };
  for (std::int64_t layer : grown.layers) {
    row(std::to_string(layer), grown.before.layer_parameters[layer], grown.after.layer_parameters[layer],
        grown.before.layer_state[layer], grown.after.layer_state[layer]);
  }
  row("all", grown.before.parameters, grown.after.parameters, grown.before.state, grown.after.state);
  table.print(std::cout);
  std::cout << "At the start " << grown.note << ".\n";
}

void print_json(const Growth& grown, const Options& options) {
  json j = document("statescope.expand/1");
  j["model"] = options.model;
  j["output"] = options.output;
  j["method"] = options.method;
  j["function_unchanged"] = grown.unchanged;
  j["note"] = grown.note;
  j["parameters"] = {grown.before.parameters, grown.after.parameters};
  j["state_elements"] = {grown.before.state, grown.after.state};
  j["layers"] = json::array();
  for (std::int64_t layer : grown.layers) {
    j["layers"].push_back(
        {{"layer", layer},
         {"parameters", {grown.before.layer_parameters[layer], grown.after.layer_parameters[layer]}},
         {"state_elements", {grown.before.layer_state[layer], grown.after.layer_state[layer]}}});
  }
  std::cout << j.dump(2) << "\n";
}

int expand(const Options& options) {
  std::error_code error;
  if (std::filesystem::equivalent(options.model, options.output, error)) {
    throw Error(ErrorKind::kUsage, "--output: found the model's own directory, wanted another");
  }
  const Checkpoint base = load_checkpoint(options.model);
  make_directory(options.output);  // before the work, not after
  const Growth grown = grow(base, options);
  save_checkpoint(grown.checkpoint, options.output);
  load_checkpoint(options.output);
  if (options.json) {
    print_json(grown, options);
  } else {
    print(grown);
  }
  return 0;
}

}  // namespace

void add_expand(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("expand", "A checkpoint with a larger state");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "a checkpoint's directory")->required();
  command->add_option("--output", options->output, "directory of the new checkpoint")->required();
  command->add_option("--method", options->method, "headwise (gated_deltanet, gla) or statex (gla, mamba2)")
      ->capture_default_str();
  command->add_option("--variant", options->variant,
                      "of statex: reinitialise, merge, lora_4 (gla); fresh, merge_copy, merge_zero (mamba2)");
  command->add_option("--expansion", options->expansion, "E of headwise")->capture_default_str();
  command
      ->add_option("--activation", options->activation,
                   "of headwise: identity keeps the function; silu, relu, 1+elu")
      ->capture_default_str();
  command->add_option("--state-size", options->state_size, "N of mamba2")->capture_default_str();
  command->add_option("--layers", options->layers,
                      "with commas between (default: as released; headwise: all)");
  command->add_option("--seed", options->seed, "of fresh weights")
      ->capture_default_str()
      ->check(positive_count());
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return expand(*options); }; });
}

}  // namespace statescope::cli
