// statescope model create and generate: a model of random weights, and greedy generation with its speed.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/model_run.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/accounting.h"
#include "models/model.h"
#include "models/presets.h"
#include "models/tokens.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/files.h>

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
  const DType dtype = parse_run_dtype(options.dtype);
  make_directory(options.output);  // before the work, not after
  constexpr std::int64_t kShard = std::int64_t{4} << 30;
  save_checkpoint(random_checkpoint(config, static_cast<std::uint64_t>(options.seed), dtype), options.output,
                  kShard);
  std::cout << options.output << ": " << account(config).parameters << " random parameters\n";
  return 0;
}

struct GenerateOptions {
  std::string model, config, device, text = "\n", file, dtype = "f32";
  std::int64_t expansion = 1, count = 32, tokens = 0, runs = 1;
  bool json = false;
};

/// A directory's weights, or random ones of a named configuration.
Checkpoint checkpoint_of(const GenerateOptions& options) {
  if (options.config.empty() == options.model.empty()) {
    throw Error(ErrorKind::kUsage, std::string("model generate: wanted a directory or --config NAME") +
                                       (options.config.empty() ? "" : ", not both"));
  }
  if (!options.model.empty()) return load_checkpoint(options.model);
  Expansion expansion;
  expansion.factor = options.expansion;
  return random_checkpoint(parse_config(preset_config(options.config, expansion)), 1,
                           parse_run_dtype(options.dtype));
}

/// Text byte by byte, or as many bytes of it, repeated, as --prompt-tokens says.
std::vector<std::int32_t> prompt_of(const GenerateOptions& options) {
  std::vector<std::int32_t> ids =
      options.file.empty() ? byte_tokens(options.text) : tokens_of_file(options.file);
  if (ids.empty()) throw Error(ErrorKind::kUsage, "prompt: found no text, wanted --text or --text-file");
  if (options.tokens > 0) {
    const std::size_t length = ids.size();
    ids.resize(static_cast<std::size_t>(options.tokens));
    for (std::size_t i = length; i < ids.size(); ++i) ids[i] = ids[i - length];
  }
  return ids;
}

struct Generation {
  std::vector<std::int32_t> ids;
  double prefill_seconds = 0, decode_seconds = 0;  ///< to the first token, and from it to the last
};

Generation generate_once(Model& model, const std::vector<std::int32_t>& prompt, std::int64_t count,
                         const Watch& job) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  Generation run;
  ModelState state = model.start();
  const Clock::time_point start = Clock::now();
  Clock::time_point first = start, last = start;
  std::int64_t made = 0;
  run.ids = generate(model, state, prompt, count, [&](std::int32_t) {
    job.check();
    last = Clock::now();
    if (++made == 1) first = last;
    if (made % 16 == 0) job.say(std::to_string(made) + " tokens");
  });
  run.prefill_seconds = seconds(first - start);
  run.decode_seconds = seconds(last - first);
  return run;
}

/// The run of median speed in `what`; with several, the first does not count: it loads kernels.
double median(const std::vector<Generation>& runs, double Generation::*what) {
  std::vector<double> values;
  for (std::size_t i = runs.size() > 1 ? 1 : 0; i < runs.size(); ++i) values.push_back(runs[i].*what);
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int generate_command(const GenerateOptions& options) {
  const std::vector<std::int32_t> prompt = prompt_of(options);
  Model model(checkpoint_of(options), open_device(discover(), options.device),
              {parse_run_dtype(options.dtype), Form::kAuto});
  const std::size_t weight_bytes = model.compute().memory_bytes();
  const Watch job = watch();
  job.say("prefill of " + std::to_string(prompt.size()) + " tokens");
  std::vector<Generation> runs;
  for (std::int64_t i = 0; i < options.runs; ++i)
    runs.push_back(generate_once(model, prompt, options.count, job));
  clear_progress();
  const std::vector<std::int32_t>& ids = runs.front().ids;
  const double prefill_rate = static_cast<double>(prompt.size()) / median(runs, &Generation::prefill_seconds);
  const double decode_rate =
      ids.size() > 1 ? static_cast<double>(ids.size() - 1) / median(runs, &Generation::decode_seconds) : 0;
  const auto peak_bytes = static_cast<double>(model.compute().peak_memory_bytes());
  if (options.json) {
    json j = document("statescope.generate/1");
    j["model"] = options.model.empty() ? options.config : options.model;
    j["device"] = model.device().info().name;
    j["dtype"] = options.dtype;
    j["prompt_tokens"] = prompt.size();
    j["ids"] = ids;
    j["runs"] = options.runs;
    j["prefill_tokens_per_second"] = prefill_rate;
    j["decode_tokens_per_second"] = decode_rate;
    j["weight_bytes"] = weight_bytes;
    j["peak_memory_bytes"] = peak_bytes;
    std::cout << j.dump(2) << "\n";
    return 0;
  }
  for (std::size_t i = 0; i < ids.size(); ++i) std::cout << (i ? " " : "") << ids[i];
  std::cout << "\nOn " << model.device().info().name << " in " << options.dtype << ": prefill of "
            << prompt.size() << " tokens " << si(prefill_rate, "tokens/s") << ", decode "
            << si(decode_rate, "tokens/s") << ", memory of arrays " << si(peak_bytes, "B") << " (weights "
            << si(static_cast<double>(weight_bytes), "B") << ").\n";
  return 0;
}

}  // namespace

void add_create(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("create", "Write a checkpoint of random weights");
  auto options = std::make_shared<CreateOptions>();
  command->add_option("--config", options->config, "a named configuration (see model count --help)")
      ->required();
  command->add_option("--expansion", options->expansion, "E")->capture_default_str()->check(positive_count());
  command->add_option("--dtype", options->dtype, "of the weights: f32, bf16 or f16")->capture_default_str();
  command->add_option("--output", options->output, "directory")->required();
  command->add_option("--seed", options->seed, "of the weights")
      ->capture_default_str()
      ->check(positive_count());
  command->callback([&action, options] { action = [options] { return create(*options); }; });
}

void add_generate(CLI::App& model, Action& action) {
  CLI::App* command = model.add_subcommand("generate", "Greedy generation: prefill, then step by step");
  auto options = std::make_shared<GenerateOptions>();
  command->add_option("directory", options->model, "a checkpoint's directory");
  CLI::Option* config =
      command->add_option("--config", options->config,
                          "in its place random weights of a named configuration (see model count --help)");
  command->add_option("--expansion", options->expansion, "E of --config")
      ->capture_default_str()
      ->needs(config)
      ->check(positive_count());
  command->add_option("--text", options->text, "prompt, byte by byte (default: a newline)");
  command->add_option("--text-file", options->file,
                      "the same from a file, or input_ids [1, T] of a .safetensors file");
  command->add_option("--prompt-tokens", options->tokens, "cut or repeat the prompt to this length")
      ->check(positive_count());
  command->add_option("--count", options->count, "tokens to generate")
      ->capture_default_str()
      ->check(positive_count());
  command
      ->add_option("--runs", options->runs,
                   "the same again; of several, speeds are the median without the first")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--dtype", options->dtype, "of weights and activations: f32, bf16 or f16")
      ->capture_default_str();
  command->add_option("--device", options->device,
                      "where the model runs (default: the first GPU, llvmpipe or cpu)");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return generate_command(*options); }; });
}

}  // namespace statescope::cli
