// statescope dilution: how much a state that stores n pairs returns of the wrong ones, measured beside
// theory.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/dilution_model.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/dilution.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string device, rule = "linear", expansions = "1,2,4,8,16", pairs = "16,64,256", input, model, text;
  std::int64_t key_dim = 0, value_dim = 0, row = 0, head = 0, trials = 8, seed = 1;
  bool json = false;
};

std::vector<DilutionPoint> generated(Device& device, const Options& options, const Watch& job) {
  const std::int64_t dim = device.info().hardware ? 128 : 64;
  DilutionOptions what;
  what.key_dim = options.key_dim > 0 ? options.key_dim : dim;
  what.value_dim = options.value_dim > 0 ? options.value_dim : dim;
  what.rule = parse_rule(options.rule);
  what.trials = static_cast<int>(options.trials);
  what.seed = static_cast<std::uint64_t>(options.seed);
  std::vector<DilutionPoint> points;
  for (KeySource source : kKeySources) {
    for (std::int64_t pairs : parse_numbers(options.pairs, "--pairs")) {
      for (std::int64_t expansion : parse_numbers(options.expansions, "--expansion")) {
        job.check();
        job.say(std::string(name(source)) + " keys, n " + std::to_string(pairs) + ", E " +
                std::to_string(expansion));
        what.pairs = pairs;
        what.expansion = expansion;
        points.push_back(measure_dilution(device, source, what));
      }
    }
  }
  return points;
}

json gram_json(const Keys& keys) {
  const std::vector<double> gram = gram_matrix(keys);
  return {{"gram", gram},
          {"cosine_histogram", cosine_histogram(gram, keys.pairs)},
          {"interference_per_key", interference(gram, keys.pairs)}};
}

json point_json(const DilutionPoint& p) {
  return {{"keys", name(p.source)},
          {"pairs", p.pairs},
          {"expansion", p.expansion},
          {"key_dim", p.key_dim},
          {"interference", p.interference},
          {"interference_spread", p.interference_spread},
          {"independent_expectation", p.theory},
          {"recall_at_1", p.recall}};
}

json document_of(Device& device, const Options& options) {
  json j = document("statescope.dilution/1");
  j["device"] = to_json(device.info());
  j["rule"] = options.rule;
  j["trials"] = options.trials;
  j["seed"] = options.seed;
  return j;
}

int generated_keys(Device& device, const Options& options) {
  const auto points = generated(device, options, watch());
  clear_progress();
  if (options.json) {
    json j = document_of(device, options);
    j["points"] = json::array();
    for (const DilutionPoint& point : points) j["points"].push_back(point_json(point));
    std::cout << j.dump(2) << "\n";
    return 0;
  }
  TextTable table({"keys", ">n", ">E", ">K", ">interference", ">spread", ">(n-1)/(EK)", ">recall@1"});
  for (const DilutionPoint& p : points) {
    table.add({std::string(name(p.source)), std::to_string(p.pairs), std::to_string(p.expansion),
               std::to_string(p.key_dim), fixed(p.interference, 3), fixed(p.interference_spread, 3),
               p.source == KeySource::kIndependent ? fixed(p.theory, 3) : "-", percent(p.recall)});
  }
  table.print(std::cout);
  std::cout << "(n-1)/(EK) is the expectation for independent isotropic subkeys only. Recall: "
            << options.rule << " on " << device.info().name << ", " << options.trials << " trials.\n";
  return 0;
}

/// The keys of a file, as a checkpoint or a capture wrote them.
int captured_keys(Device& device, const Options& options) {
  const SafetensorsFile file(options.input);
  if (!file.contains("k"))
    throw Error(ErrorKind::kUsage, options.input + ": no tensor 'k', wanted [B, T, Hq, E, K]");
  const Watch job = watch();
  json points = json::array();
  TextTable table({"keys", ">n", ">E", ">K", ">interference", ">(n-1)/(EK)", ">recall@1"});
  for (std::int64_t pairs : parse_numbers(options.pairs, "--pairs")) {
    job.check();
    const Keys keys = keys_from_tensor(file.view("k"), options.row, options.head, pairs);
    double mean = 0;
    for (double x : interference(gram_matrix(keys), pairs)) mean += x / static_cast<double>(pairs);
    const double recall =
        recall_at_1(device, parse_rule(options.rule), {&keys, 1},
                    options.value_dim > 0 ? options.value_dim : 64, static_cast<std::uint64_t>(options.seed));
    const double expected = independent_expectation(pairs, keys.expansion, keys.key_dim);
    table.add({"file", std::to_string(pairs), std::to_string(keys.expansion), std::to_string(keys.key_dim),
               fixed(mean, 3), fixed(expected, 3), percent(recall)});
    json point{{"keys", "file"}, {"pairs", pairs}, {"expansion", keys.expansion}, {"key_dim", keys.key_dim}};
    point["interference"] = mean;
    point["independent_expectation"] = expected;
    point["recall_at_1"] = recall;
    point.update(gram_json(keys));
    points.push_back(point);
  }
  clear_progress();
  if (options.json) {
    json j = document_of(device, options);
    j["points"] = points;
    std::cout << j.dump(2) << "\n";
  } else {
    table.print(std::cout);
  }
  return 0;
}

int dilution(const Options& options) {
  parse_rule(options.rule);
  const auto device = open_device(discover(), options.device);
  if (!options.model.empty()) {
    if (options.text.empty()) throw Error(ErrorKind::kUsage, "--model: wanted --text FILE beside it");
    const std::vector<std::int64_t> pairs = parse_numbers(options.pairs, "--pairs");
    return dilution_of_model(device,
                             {options.model, options.text, *std::ranges::max_element(pairs),
                              options.value_dim > 0 ? options.value_dim : 64, options.seed, options.json});
  }
  return options.input.empty() ? generated_keys(*device, options) : captured_keys(*device, options);
}

}  // namespace

void add_dilution(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("dilution", "Attention dilution: interference and recall of stored pairs");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->device,
                      "where recall runs (default: the first GPU, llvmpipe or cpu)");
  command->add_option("--rule", options->rule, "of the recall run")->capture_default_str();
  command->add_option("--expansion", options->expansions, "E, with commas between")->capture_default_str();
  command->add_option("--pairs", options->pairs, "n, stored pairs, with commas between")
      ->capture_default_str();
  command->add_option("--key-dim", options->key_dim, "K (default 128 on GPUs, 64 on software devices)")
      ->check(positive_count());
  command->add_option("--value-dim", options->value_dim, "V (default 128, 64)")->check(positive_count());
  command->add_option("--trials", options->trials, "draws of keys to average over")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--seed", options->seed, "of the first draw")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--input", options->input,
                      "safetensors file with k [B, T, Hq, E, K], in place of generated keys");
  command->add_option("--row", options->row, "batch row of the file")->capture_default_str();
  command->add_option("--head", options->head, "head of the file")->capture_default_str();
  command->add_option(
      "--model", options->model,
      "a checkpoint's directory, in place of generated keys: each layer and head on --text, at the "
      "largest of --pairs");
  command->add_option("--text", options->text,
                      "a text file, read byte by byte, or input_ids [1, T] in a .safetensors file");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return dilution(*options); }; });
}

}  // namespace statescope::cli
