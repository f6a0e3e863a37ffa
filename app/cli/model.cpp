// statescope model: check a checkpoint against its own library's logits, count a configuration's parameters
// and state.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/model_run.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/accounting.h"
#include "models/model_check.h"
#include "models/presets.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct CheckOptions {
  std::string directory, device, dtype = "f32", form = "auto";
  bool json = false;
};

int check_command(const CheckOptions& options) {
  const ModelOptions run{parse_run_dtype(options.dtype), parse_form(options.form)};
  const ModelCheck result = check_model(options.directory, open_device(discover(), options.device), run);
  if (options.json) {
    json j = document("statescope.model_check/1");
    j["model"] = options.directory;
    j["model_type"] = result.model_type;
    j["device"] = result.device;
    j["dtype"] = options.dtype;
    j["batch"] = result.batch;
    j["tokens"] = result.tokens;
    j["error"] = result.error;
    j["tolerance"] = result.tolerance;
    j["ok"] = result.ok();
    std::cout << j.dump(2) << "\n";
  } else {
    TextTable table({"model", "device", "dtype", ">B", ">T", ">error", ">tolerance", ""});
    table.add({result.model_type, result.device, options.dtype, std::to_string(result.batch),
               std::to_string(result.tokens), scientific(result.error), scientific(result.tolerance),
               result.ok() ? "ok" : "MISS"});
    table.print(std::cout);
  }
  return result.ok() ? 0 : 1;
}

struct CountOptions {
  std::string config, directory, method = "headwise";
  std::int64_t expansion = 1, rank = 0, heads = 1, context = 2048;
  bool naive = false, json = false;
};

ModelConfig counted(const CountOptions& options) {
  if (options.config.empty() == options.directory.empty()) {
    throw Error(ErrorKind::kUsage, std::string("model count: wanted --config NAME or --model DIR") +
                                       (options.config.empty() ? "" : ", not both"));
  }
  if (!options.directory.empty()) {
    return parse_config(read_text_file(std::filesystem::path(options.directory) / "config.json"));
  }
  Expansion expansion;
  expansion.factor = options.expansion;
  expansion.method = parse_expansion_method(options.method);
  expansion.rank = options.rank;
  if (options.naive) expansion.division = Division::kNaive;
  return parse_config(preset_config(options.config, expansion, options.heads));
}

std::string millions(std::int64_t count) {
  return fixed(static_cast<double>(count) / 1e6, 1) + " M";
}

int count_command(const CountOptions& options) {
  const ModelConfig config = counted(options);
  const Accounting found = account(config, options.context);
  if (options.json) {
    json j = document("statescope.model_count/1");
    j["model"] = options.config.empty() ? options.directory : options.config;
    j["model_type"] = config.model_type;
    j["layers"] = config.layers.size();
    j["parameters"] = found.parameters;
    for (const auto& [part, count] : found.parts) j["parts"][std::string(name(part))] = count;
    j["layer_parameters"] = found.layer_parameters;
    j["state_elements"] = found.state;
    j["layer_state_elements"] = found.layer_state;
    j["convolution_state_elements"] = found.conv_state;
    j["equivalent_context_tokens"] = found.equivalent_context;
    j["query_key_ratio"] = found.query_key_ratio;
    std::cout << j.dump(2) << "\n";
    return 0;
  }
  TextTable table({"part", ">parameters", ">share"});
  for (const auto& [part, count] : found.parts) {
    table.add({std::string(name(part)), std::to_string(count),
               percent(static_cast<double>(count) / static_cast<double>(found.parameters))});
  }
  table.add({"all", std::to_string(found.parameters), millions(found.parameters)});
  table.print(std::cout);
  std::cout << "State: " << found.state << " elements a sequence over " << config.layers.size()
            << " layers; a Transformer's average at a context of " << fixed(found.equivalent_context, 0)
            << ".\nQueries and keys cost " << fixed(found.query_key_ratio, 3)
            << " times those without an expansion (table 1).\n";
  return 0;
}

std::string preset_list() {
  std::string list = "Configurations:\n";
  for (const Preset& preset : presets()) {
    list += "  " + preset.name + std::string(22 - preset.name.size(), ' ') + preset.note + "\n";
  }
  return list;
}

void add_check(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("check", "Run a checkpoint and compare with expected.safetensors");
  auto options = std::make_shared<CheckOptions>();
  command->add_option("directory", options->directory, "config.json, model.safetensors, expected.safetensors")
      ->required();
  command->add_option("--device", options->device,
                      "where the model runs (default: the first GPU, llvmpipe or cpu)");
  command->add_option("--dtype", options->dtype, "of weights and activations: f32, bf16 or f16")
      ->capture_default_str();
  command->add_option("--form", options->form, "auto, recurrent or chunked")->capture_default_str();
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return check_command(*options); }; });
}

void add_count(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("count", "Parameters and state of a configuration");
  auto options = std::make_shared<CountOptions>();
  command->footer(preset_list());
  CLI::Option* config =
      command->add_option("--config", options->config, "a named configuration, listed below");
  command->add_option("--model", options->directory, "a directory with config.json");
  command->add_option("--expansion", options->expansion, "E")->capture_default_str()->check(positive_count());
  command->add_option("--method", options->method, "headwise, low_rank, dpfp, lfm or naive")
      ->capture_default_str();
  command->add_option("--rank", options->rank, "of low_rank (default K / 4)")->check(positive_count());
  command->add_option("--heads-factor", options->heads, "times as many heads (table 8)")
      ->capture_default_str()
      ->check(positive_count());
  command->add_flag("--no-subheads", options->naive, "one state of E K x V, one gate a head");
  command->add_option("--context", options->context, "tokens in a softmax attention's cache")
      ->capture_default_str()
      ->check(positive_count());
  for (const char* change : {"--expansion", "--method", "--rank", "--heads-factor", "--no-subheads"})
    command->get_option(change)->needs(config);
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return count_command(*options); }; });
}

}  // namespace

void add_model(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("model", "Language models: check, count, create, generate");
  command->require_subcommand(1);
  add_check(*command, action);
  add_count(*command, action);
  add_create(*command, action);
  add_generate(*command, action);
}

}  // namespace statescope::cli
