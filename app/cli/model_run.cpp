// statescope model create and generate: a model of random weights, and greedy generation with its speed.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/model_run.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/accounting.h"
#include "models/model.h"
#include "models/presets.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct CreateOptions {
  std::string config, output, dtype = "f32";
  std::int64_t expansion = 1, seed = 1;
};

int create(const CreateOptions& options) {
  Expansion expansion;
  expansion.factor = options.expansion;
  const ModelConfig config = parse_config(preset_config(options.config, expansion));
  constexpr std::int64_t kShard = std::int64_t{4} << 30;
  save_checkpoint(
      random_checkpoint(config, static_cast<std::uint64_t>(options.seed), parse_dtype(options.dtype)),
      options.output, kShard);
  std::cout << options.output << ": " << account(config).parameters << " random parameters\n";
  return 0;
}

struct GenerateOptions {
  std::string model, device, text, file, dtype = "f32";
  std::int64_t count = 32, tokens = 0;
  bool json = false;
};

/// Text byte by byte, or as many bytes of it, repeated, as --prompt-tokens says.
std::vector<std::int32_t> prompt_of(const GenerateOptions& options) {
  const std::string text = options.file.empty() ? options.text : read_text_file(options.file);
  std::vector<std::int32_t> ids = byte_tokens(text);
  if (ids.empty()) throw Error(ErrorKind::kUsage, "prompt: found no text, wanted --text or --text-file");
  if (options.tokens > 0) {
    const std::size_t length = ids.size();
    ids.resize(static_cast<std::size_t>(options.tokens));
    for (std::size_t i = length; i < ids.size(); ++i) ids[i] = ids[i - length];
  }
  return ids;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int generate_command(const GenerateOptions& options) {
  Model model(load_checkpoint(options.model), open_device(discover(), options.device),
              {parse_dtype(options.dtype), Form::kAuto});
  const std::vector<std::int32_t> prompt = prompt_of(options);
  const Watch job = watch();
  ModelState state = model.start();
  job.say("prefill of " + std::to_string(prompt.size()) + " tokens");
  auto start = std::chrono::steady_clock::now();
  std::vector<std::int32_t> ids = generate(model, state, prompt, 1);
  const double prefill = seconds_since(start);
  start = std::chrono::steady_clock::now();
  while (static_cast<std::int64_t>(ids.size()) < options.count) {
    job.check();
    job.say(std::to_string(ids.size()) + " tokens");
    ids.push_back(generate(model, state, std::span(ids).last(1), 1).front());
  }
  const double decode = seconds_since(start);
  clear_progress();
  const double prefill_rate = static_cast<double>(prompt.size()) / prefill;
  const double decode_rate = ids.size() > 1 ? static_cast<double>(ids.size() - 1) / decode : 0;
  if (options.json) {
    json j = document("statescope.generate/1");
    j["model"] = options.model;
    j["device"] = model.device().info().name;
    j["dtype"] = options.dtype;
    j["prompt_tokens"] = prompt.size();
    j["ids"] = ids;
    j["prefill_tokens_per_second"] = prefill_rate;
    j["decode_tokens_per_second"] = decode_rate;
    std::cout << j.dump(2) << "\n";
    return 0;
  }
  for (std::size_t i = 0; i < ids.size(); ++i) std::cout << (i ? " " : "") << ids[i];
  std::cout << "\nPrefill: " << prompt.size() << " tokens, " << si(prefill_rate, "tokens/s")
            << ". Decode: " << si(decode_rate, "tokens/s") << ". Recurrence on " << model.device().info().name
            << ", everything else on the host.\n";
  return 0;
}

}  // namespace

void add_create(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("create", "Write a checkpoint of random weights");
  auto options = std::make_shared<CreateOptions>();
  command->add_option("--config", options->config, "a named configuration (see model count --help)")
      ->required();
  command->add_option("--expansion", options->expansion, "E")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--dtype", options->dtype, "of the weights: f32, bf16 or f16")->capture_default_str();
  command->add_option("--output", options->output, "directory")->required();
  command->add_option("--seed", options->seed, "of the weights")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->callback([&action, options] { action = [options] { return create(*options); }; });
}

void add_generate(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("generate", "Greedy generation: prefill, then step by step");
  auto options = std::make_shared<GenerateOptions>();
  command->add_option("directory", options->model, "a checkpoint's directory")->required();
  command->add_option("--text", options->text, "prompt, byte by byte");
  command->add_option("--text-file", options->file, "the same from a file");
  command->add_option("--prompt-tokens", options->tokens, "cut or repeat the prompt to this length")
      ->check(CLI::PositiveNumber);
  command->add_option("--count", options->count, "tokens to generate")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--dtype", options->dtype, "of the recurrence: f32, bf16 or f16")
      ->capture_default_str();
  command->add_option("--device", options->device,
                      "where the recurrence runs (default: the first GPU, llvmpipe or cpu)");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return generate_command(*options); }; });
}

}  // namespace statescope::cli
