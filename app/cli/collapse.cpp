// statescope collapse: what a model's states do over a long input, and what mitigations make of it.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/numbers.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/collapse.h"
#include "models/tokens.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model, device, text, mitigation = "none";
  std::int64_t tokens = 4096, trained = 0, every = 128, window = 0, interval = 1;
  double norm = 0, factor = 10;
  bool json = false;
};

/// The text, repeated as often as it takes; the papers' probe, newlines, when there is none.
std::vector<std::int32_t> input_of(const Options& options) {
  const std::vector<std::int32_t> text =
      options.text.empty() ? byte_tokens("\n") : tokens_of_file(options.text);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(options.tokens));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = text[i % text.size()];
  return ids;
}

json record_json(const StateRecord& record) {
  json j{{"tokens", record.tokens}, {"loss", record.loss}, {"heads", json::array()}};
  for (std::size_t layer = 0; layer < record.layers.size(); ++layer) {
    for (std::size_t head = 0; head < record.layers[layer].size(); ++head) {
      const HeadStatistics& s = record.layers[layer][head];
      j["heads"].push_back({{"layer", layer},
                            {"head", head},
                            {"mean", s.mean},
                            {"variance", s.variance},
                            {"rms", s.rms},
                            {"median", s.median},
                            {"max", s.max},
                            {"log_decay", s.log_decay}});
    }
  }
  return j;
}

void print_json(const Model& model, const Options& options, const std::vector<StateRecord>& records,
                const Collapse& found) {
  json j = document("statescope.collapse/1");
  j["model"] = options.model;
  j["device"] = model.device().info().name;
  j["trained"] = options.trained;
  j["mitigation"] = options.mitigation;
  j["loss_collapsed"] = found.loss;
  j["collapsed_heads"] = json::array();
  for (const Collapse::Head& head : found.heads) {
    j["collapsed_heads"].push_back({{"layer", head.layer},
                                    {"head", head.head},
                                    {"variance_ratio", head.variance_ratio},
                                    {"never_forgets", head.never_forgets}});
  }
  j["records"] = json::array();
  for (const StateRecord& record : records) j["records"].push_back(record_json(record));
  std::cout << j.dump(2) << "\n";
}

void print(const Options& options, const std::vector<StateRecord>& records, const Collapse& found) {
  TextTable table({">tokens", ">loss", ">smallest rms", ">largest rms", ">largest |x|"});
  for (const StateRecord& record : records) {
    double least = 0, most = 0, peak = 0;
    bool first = true;
    for (const auto& layer : record.layers) {
      for (const HeadStatistics& s : layer) {
        least = first ? s.rms : std::min(least, s.rms);
        most = std::max(most, s.rms);
        peak = std::max(peak, s.max);
        first = false;
      }
    }
    table.add({std::to_string(record.tokens), fixed(record.loss, 3), scientific(least), scientific(most),
               scientific(peak)});
  }
  table.print(std::cout);
  std::cout << "Loss past " << options.trained << " tokens: "
            << (found.loss ? "more than twice the largest within: collapse"
                           : "within twice the largest before")
            << ".\nHeads whose variance grew more than " << fixed(options.factor, 0)
            << " times: " << found.heads.size() << "\n";
  for (const Collapse::Head& head : found.heads) {
    std::cout << "  layer " << head.layer << " head " << head.head << ": " << fixed(head.variance_ratio, 1)
              << " times" << (head.never_forgets ? ", never forgets" : "") << "\n";
  }
}

int collapse(const Options& options) {
  ModelOptions run;
  run.mitigation.kind = parse_mitigation(options.mitigation);
  run.mitigation.window = options.window;
  run.mitigation.norm = options.norm;
  run.mitigation.every = options.interval;
  if (options.trained <= 0 || options.trained >= options.tokens) {
    throw Error(ErrorKind::kUsage, "--trained: found " + std::to_string(options.trained) +
                                       ", wanted a length below --tokens " + std::to_string(options.tokens));
  }
  Model model(load_checkpoint(options.model), open_device(discover(), options.device), run);
  const Watch job = watch();
  const auto records = record_states(model, input_of(options), options.every, [&](const StateRecord& record) {
    job.check();
    job.say(std::to_string(record.tokens) + " of " + std::to_string(options.tokens) + " tokens");
  });
  const Collapse found = find_collapse(records, options.trained, options.factor);
  clear_progress();
  if (options.json) {
    print_json(model, options, records, found);
  } else {
    print(options, records, found);
  }
  return 0;
}

}  // namespace

void add_collapse(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("collapse", "States over a long input, and state collapse");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "a checkpoint's directory")->required();
  command->add_option("--trained", options->trained, "tokens of the model's training length")->required();
  command->add_option("--tokens", options->tokens, "of the input")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--text", options->text,
                      "a text file, read byte by byte, or input_ids [1, T] in a .safetensors file; repeated "
                      "(default: newlines)");
  command->add_option("--every", options->every, "tokens between records")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--factor", options->factor, "growth of the variance that counts as collapse")
      ->capture_default_str()
      ->check(positive_number());
  command
      ->add_option("--mitigation", options->mitigation,
                   "none, forget-more, window (mamba2, retnet) or normalise")
      ->capture_default_str();
  command->add_option("--window", options->window, "r of window, tokens");
  command->add_option("--norm", options->norm, "p of normalise");
  command->add_option("--norm-every", options->interval, "tokens between normalisations")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--device", options->device,
                      "where the model runs (default: the first GPU, llvmpipe or cpu)");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return collapse(*options); }; });
}

}  // namespace statescope::cli
