// statescope eval: recall tasks, accuracy against context length.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/eval_report.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/accounting.h"
#include "models/tasks.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model, device, output, task = "passkey", lengths = "512,1024,1536,2048";
  std::int64_t samples = 10, pairs = 16, seed = 1;
  bool json = false;
};

double score(Model& model, const Options& options, std::int64_t length, std::int64_t i) {
  const auto seed = static_cast<std::uint64_t>(options.seed + i);
  if (options.task == "mqar") {
    return recall_accuracy(model, multi_query_recall(length, options.pairs, seed, model.config().vocab_size));
  }
  if (options.task == "passkey") {
    return solves(model,
                  passkey_sample(length, i, options.samples, static_cast<std::uint64_t>(options.seed)));
  }
  if (options.task == "s-niah") return solves(model, single_needle(length, seed));
  if (options.task == "m-niah") return solves(model, multi_needle(length, seed));
  throw Error(ErrorKind::kUsage,
              "--task: found '" + options.task + "', wanted passkey, s-niah, m-niah or mqar");
}

EvalResult evaluate(Model& model, const Options& options, const std::vector<std::int64_t>& lengths) {
  const Watch job = watch();
  EvalResult result;
  result.model = options.model;
  result.device = model.device().info().description;
  result.task = options.task;
  result.unit = options.task == "mqar" ? "tokens" : "bytes";
  result.samples = options.samples;
  result.lengths = lengths;
  for (std::int64_t length : lengths) {
    double sum = 0;
    for (std::int64_t i = 0; i < options.samples; ++i) {
      job.check();
      job.say(options.task + ", length " + std::to_string(length) + ", sample " + std::to_string(i + 1) +
              " of " + std::to_string(options.samples));
      sum += score(model, options, length, i);
    }
    result.accuracy.push_back(sum / static_cast<double>(options.samples));
  }
  clear_progress();
  result.state_millions = static_cast<double>(account(model.config()).state) / 1e6;
  return result;
}

void print_json(const EvalResult& result, const std::string& device, std::int64_t seed) {
  json j = document("statescope.eval/1");
  j["model"] = result.model;
  j["device"] = device;
  j["task"] = result.task;
  j["samples"] = result.samples;
  j["seed"] = seed;
  j["length_unit"] = result.unit;
  j["lengths"] = result.lengths;
  j["accuracy"] = result.accuracy;
  for (double t : kThresholds)
    j["longest_above"][fixed(t, 1)] = longest_above(result.lengths, result.accuracy, t);
  j["state_elements_millions"] = result.state_millions;
  j["fit_forget_thousand_tokens"] = forget_length(result.state_millions);
  j["fit_recall_thousand_tokens"] = recall_length(result.state_millions);
  std::cout << j.dump(2) << "\n";
}

void print(const EvalResult& result) {
  TextTable table({">length", ">accuracy"});
  for (std::size_t i = 0; i < result.lengths.size(); ++i)
    table.add({std::to_string(result.lengths[i]), percent(result.accuracy[i])});
  table.print(std::cout);
  for (double t : kThresholds) {
    const std::int64_t longest = longest_above(result.lengths, result.accuracy, t);
    std::cout << "Longest with an accuracy of " << fixed(t, 1) << ": "
              << (longest > 0 ? std::to_string(longest) + " " + result.unit : std::string("none")) << "\n";
  }
  std::cout << "Capacity fits of trained models at " << fixed(result.state_millions, 2)
            << " M state elements: forget " << fixed(forget_length(result.state_millions), 1) << ", recall "
            << fixed(recall_length(result.state_millions), 1)
            << " thousand tokens (negative: below the fits' range).\n";
}

int eval(const Options& options) {
  std::vector<std::int64_t> lengths = parse_numbers(options.lengths, "--lengths");
  std::ranges::sort(lengths);
  Model model(load_checkpoint(options.model), open_device(discover(), options.device));
  if (!options.output.empty()) make_directory(options.output);  // before the work, not after
  const EvalResult result = evaluate(model, options, lengths);
  if (options.json) {
    print_json(result, model.device().info().name, options.seed);
  } else {
    print(result);
  }
  std::cout.flush();
  if (!options.output.empty()) {
    write_text(std::filesystem::path(options.output) / "eval.html", eval_html(result));
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("eval", "Recall tasks: accuracy against context length");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "a checkpoint's directory")->required();
  command
      ->add_option("--task", options->task, "passkey, s-niah, m-niah (text, byte by byte) or mqar (tokens)")
      ->capture_default_str();
  command->add_option("--lengths", options->lengths, "bytes of text, tokens of mqar, with commas between")
      ->capture_default_str();
  command->add_option("--samples", options->samples, "a length")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--pairs", options->pairs, "of mqar")->capture_default_str()->check(positive_count());
  command->add_option("--seed", options->seed, "of the first sample")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--device", options->device,
                      "where the model runs (default: the first GPU, llvmpipe or cpu)");
  command->add_option("--output", options->output,
                      "directory for eval.html: the measurement beside published fits of capacity");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return eval(*options); }; });
}

}  // namespace statescope::cli
