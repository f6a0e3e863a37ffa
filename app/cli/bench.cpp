// statescope bench: one configuration, timed properly, beside the device's own measured ceilings.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "profiler/case_file.h"
#include "profiler/ceilings.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  SizeOptions sizes;
  std::int64_t expansion = 8;
  std::string pass = "forward", division = "subheads", series = "production", input, json_file, baseline;
  double seconds = 1;
  bool front_end = false;
};

Problem problem_of(const DeviceInfo& info, const Options& options) {
  const SweepOptions sweep = sweep_options(options.sizes);
  const Series series = parse_series(options.series);
  const SweepSeries which = parse_division(options.division) == Division::kNaive ? SweepSeries::kNaive
                            : series == Series::kComparison                      ? SweepSeries::kSubheads
                                                                                 : SweepSeries::kProduction;
  Problem problem =
      cell_problem(base_problem(info, sweep), which, options.expansion, parse_pass(options.pass), sweep);
  if (options.front_end) problem = with_front_end(problem);
  check(problem);
  return problem;
}

/// The sizes are the file's; rule, type, form, pass, division and series are chosen as ever.
CaseRun run_of_file(const Options& options) {
  const SizeOptions& o = options.sizes;
  const CaseFile file = read_case_file(options.input);
  const DType dtype = o.dtype.empty() ? file.tensors[Slot::kQ].dtype : parse_run_dtype(o.dtype);
  CaseRun run = case_run(file, parse_pass(options.pass),
                         {rule_of(file, o.rule), std::nullopt, dtype, parse_division(options.division),
                          o.form.empty() ? Form::kAuto : parse_form(o.form)});
  run.problem.series = parse_series(options.series);
  return run;
}

json document_of(const DeviceInfo& info, const Problem& problem, const Measurement& m,
                 const Ceilings& ceilings) {
  json j = document("statescope.bench/1");
  j["device"] = to_json(info);
  j["ceilings"] = to_json(ceilings);
  j["problem"] = to_json(problem);
  j["measurement"] = to_json(m, ceilings);
  return j;
}

json read_baseline(const std::string& path) {
  json j = json::parse(read_text_file(path), nullptr, false);
  const auto is_time = [&](const char* which) {
    return j.value(json::json_pointer(std::string("/measurement/seconds/") + which), json()).is_number();
  };
  if (!j.is_object() || j.value("schema", json()) != "statescope.bench/1" || !is_time("median") ||
      !is_time("p10") || !is_time("p90")) {
    throw Error(ErrorKind::kUsage,
                path + ": found no statescope.bench/1 with times, wanted a file of bench --json");
  }
  return j;
}

void print_rate(const char* what, double rate, const char* unit, double ceiling, const char* ceiling_name) {
  std::cout << "  " << what << "  " << si(rate, unit);
  if (ceiling > 0)
    std::cout << ", " << percent(rate / ceiling) << " of the measured " << si(ceiling, unit) << " "
              << ceiling_name;
  std::cout << "\n";
}

void print(const DeviceInfo& info, const Measurement& m, const Ceilings& ceilings) {
  std::cout << describe(m.plan.problem) << " on " << info.name << " (" << info.description << ", "
            << info.driver << ")\n";
  std::cout << "  kernel      " << (m.plan.variant ? m.plan.variant->name : "cpu.reference") << ", "
            << name(m.plan.problem.form) << "\n";
  std::cout << "  errors     ";
  for (const OutputError& e : m.errors) {
    std::cout << " " << name(e.slot) << " " << scientific(e.error) << (e.ok() ? " <= " : " > ")
              << scientific(e.tolerance);
  }
  std::cout << (m.checked_whole ? "\n" : " (sampled rows and heads)\n");
  if (!m.verified) return;
  std::cout << "  time        median " << si(m.seconds.median, "s") << ", p10 " << si(m.seconds.p10, "s")
            << ", p90 " << si(m.seconds.p90, "s") << " over " << m.seconds.count << " runs, " << m.input_sets
            << " input sets in turn\n";
  std::cout << "  throughput  " << si(m.tokens_per_second, "token/s") << "\n";
  print_rate("arithmetic", m.flop_per_second, "flop/s", ceilings.f32_flop_per_second, "of float32");
  if (ceilings.matrix_flop_per_second > 0) {
    print_rate("          ", m.flop_per_second, "flop/s", ceilings.matrix_flop_per_second,
               "of the matrix units");
  }
  print_rate("traffic   ", m.bytes_per_second, "B/s", ceilings.copy_bytes_per_second, "of a copy");
  if (m.plan.launches.size() < 2) return;
  TextTable table({"  launch", ">median", ">p10", ">p90", ">shared memory"});
  for (std::size_t i = 0; i < m.plan.launches.size() && i < m.launches.size(); ++i) {
    table.add({"  " + m.plan.launches[i].kernel, si(m.launches[i].median, "s"), si(m.launches[i].p10, "s"),
               si(m.launches[i].p90, "s"), kib(m.plan.launches[i].shared_memory_bytes)});
  }
  table.print(std::cout);
}

/// Slower only when the spreads do not overlap: noise is no regression.
void print_comparison(const Measurement& m, const json& baseline) {
  const json& then = baseline["measurement"]["seconds"];
  const double median = then.value("median", 0.0);
  const bool slower = m.seconds.p10 > then.value("p90", 0.0), faster = m.seconds.p90 < then.value("p10", 0.0);
  std::cout << "  baseline    " << si(median, "s") << ": " << fixed(m.seconds.median / median, 3)
            << " times as long, "
            << (slower   ? "slower"
                : faster ? "faster"
                         : "within the spread of both")
            << "\n";
}

int bench(const Options& options) {
  const Watch job = watch();
  const std::optional<json> baseline =
      options.baseline.empty() ? std::nullopt : std::optional(read_baseline(options.baseline));
  if (!options.json_file.empty()) check_place(options.json_file);
  const auto device = open_device(discover(), options.sizes.device);
  const std::optional<CaseRun> file =
      options.input.empty() ? std::nullopt : std::optional(run_of_file(options));
  const Problem problem = file ? file->problem : problem_of(device->info(), options);
  if (baseline && (*baseline)["problem"] != to_json(problem)) {
    throw Error(ErrorKind::kUsage, options.baseline + ": another configuration, wanted " + describe(problem));
  }
  device->plan(problem);  // a refusal comes before any work
  job.say(device->info().name + ": measuring its ceilings");
  const Ceilings ceilings = ceilings_of(*device);
  job.say("reference of " + describe(problem));
  const Oracle oracle = file ? make_oracle(problem, file->inputs) : make_oracle(problem, 1);
  job.say(device->info().name + ": " + describe(problem));
  BenchOptions how;
  how.seconds = options.seconds;
  if (!device->info().hardware) how.rotate_bytes /= 8;  // host caches are tens of megabytes
  const Measurement m = measure(*device, problem, oracle, how, job);
  clear_progress();
  print(device->info(), m, ceilings);
  if (baseline && m.verified) print_comparison(m, *baseline);
  if (!options.json_file.empty()) {
    write_text(options.json_file, document_of(device->info(), problem, m, ceilings).dump(2) + "\n");
  }
  return m.verified ? 0 : 1;
}

}  // namespace

void add_bench(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("bench", "Time one configuration, after checking it");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->sizes.device,
                      "a device (default: the first GPU, llvmpipe or cpu)");
  command->add_option("--expansion", options->expansion, "E")->capture_default_str()->check(positive_count());
  add_size_options(*command, options->sizes);
  CLI::Option* input =
      command->add_option("--input", options->input, "time on the tensors of this safetensors file");
  command->add_flag("--front-end", options->front_end,
                    "from unexpanded q and k: expansion, convolution and norm are timed too");
  for (const char* size :
       {"--expansion", "--heads", "--key-dim", "--value-dim", "--seq-len", "--batch", "--front-end"})
    input->excludes(command->get_option(size));
  command->add_option("--pass", options->pass, "forward, backward or step")->capture_default_str();
  command->add_option("--division", options->division, "subheads or naive")->capture_default_str();
  command->add_option("--series", options->series, "production or comparison")->capture_default_str();
  command->add_option("--seconds", options->seconds, "about how long to time")
      ->capture_default_str()
      ->check(positive_number());
  command->add_option("--json", options->json_file, "write the measurement to this file");
  command->add_option("--baseline", options->baseline, "compare with a file that --json wrote");
  command->callback([&action, options] { action = [options] { return bench(*options); }; });
}

}  // namespace statescope::cli
