// statescope sweep: the main job. Every device, every expansion, verified, timed, and drawn.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/sizes.h"
#include "app/cli/sweep_report.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

struct Options {
  SizeOptions sizes;
  std::string expansions = "1,2,4,8,16", passes = "forward", division = "both", output;
  double seconds = 0.25;
  bool json = false;
};

std::vector<SweepSeries> series_of(const std::string& division) {
  if (division == "both") return {std::begin(kSweepSeries), std::end(kSweepSeries)};
  if (division == "naive") return {SweepSeries::kNaive};
  if (division == "subheads") return {SweepSeries::kSubheads, SweepSeries::kProduction};
  throw Error(ErrorKind::kUsage, "--division: found '" + division + "', wanted both, naive or subheads");
}

SweepOptions what_of(const Options& options) {
  SweepOptions what = sweep_options(options.sizes);
  what.expansions = parse_numbers(options.expansions, "--expansion");
  what.passes.clear();
  for (const std::string& pass : split(options.passes)) what.passes.push_back(parse_pass(pass));
  what.series = series_of(options.division);
  what.seconds_per_cell = options.seconds;
  return what;
}

std::string sizes_of(const Problem& p) {
  return "B " + std::to_string(p.batch) + ", T " + std::to_string(p.seq_len) + ", H " +
         std::to_string(p.heads) + ", K " + std::to_string(p.key_dim) + ", V " + std::to_string(p.value_dim) +
         ", " + std::string(name(p.dtype));
}

void print(const SweepResult& result) {
  for (const SweepDevice& device : result.devices) {
    std::cout << device.info.name << ": " << device.info.description << ", " << device.info.driver << "; "
              << name(device.base.rule) << ", " << sizes_of(device.base) << "; ceilings: copy "
              << si(device.ceilings.copy_bytes_per_second, "B/s") << ", float32 "
              << si(device.ceilings.f32_flop_per_second, "flop/s");
    if (device.ceilings.matrix_flop_per_second > 0) {
      std::cout << ", matrix units " << si(device.ceilings.matrix_flop_per_second, "flop/s");
    }
    std::cout << "\n";
  }
  std::cout << "\n";
  TextTable table({"device", "pass", "kernels", ">E", "status", ">time", ">token/s", ">flop/s", ">B/s",
                   ">shared memory", ">error", ">tolerance", "reason"});
  for (const SweepRow& row : result.rows) {
    std::vector<std::string> cells{result.devices[row.device].info.name, std::string(name(row.problem.pass)),
                                   std::string(name(row.series)), std::to_string(row.expansion),
                                   std::string(name(row.status))};
    const Measurement* m = row.measurement ? &*row.measurement : nullptr;
    const bool timed = m && m->verified;
    cells.push_back(timed ? si(m->seconds.median, "s") : "-");
    cells.push_back(timed ? si(m->tokens_per_second, "") : "-");
    cells.push_back(timed ? si(m->flop_per_second, "") : "-");
    cells.push_back(timed ? si(m->bytes_per_second, "") : "-");
    cells.push_back(m && m->plan.variant ? kib(m->plan.geometry.shared_memory_bytes()) : "-");
    cells.push_back(m ? scientific(worst(m->errors).error) : "-");
    cells.push_back(m ? scientific(worst(m->errors).tolerance) : "-");
    cells.push_back(row.reason);
    table.add(std::move(cells));
  }
  table.print(std::cout);
}

/// All three are made before the first is written.
void write_files(const SweepResult& result, const std::string& report,
                 const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw Error(ErrorKind::kDevice, directory.string() + ": cannot be made, " + error.message());
  write_text(directory / "sweep.json", sweep_document(result).dump(2) + "\n");
  write_text(directory / "sweep.csv", sweep_csv(result));
  write_text(directory / "report.html", report);
}

int sweep_command(const Options& options) {
  const SweepOptions what = what_of(options);
  const Watch job = watch();
  const auto devices = open_devices(options.sizes.device);
  const SweepResult result = sweep(devices, what, job);
  clear_progress();
  if (options.json) {
    std::cout << sweep_document(result).dump(2) << "\n";
  } else {
    print(result);
  }
  std::cout.flush();
  if (!options.output.empty()) {
    write_files(result, report_html(report_inputs(result, *devices.front(), what.expansions, job)),
                options.output);
    clear_progress();
    if (!options.json) std::cout << "\nwrote " << options.output << "/{report.html,sweep.json,sweep.csv}\n";
  }
  return exit_code(result);
}

}  // namespace

void add_sweep(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "sweep",
      "Sweep the expansion factor over every device: a table, report.html, sweep.json and sweep.csv");
  auto options = std::make_shared<Options>();
  options->sizes.device = "all";
  command->add_option("--device", options->sizes.device, "a device, or all")->capture_default_str();
  command->add_option("--expansion", options->expansions, "E, with commas between")->capture_default_str();
  add_size_options(*command, options->sizes);
  command->add_option("--pass", options->passes, "forward, backward, step, with commas between")
      ->capture_default_str();
  command->add_option("--division", options->division, "both, naive or subheads")->capture_default_str();
  command->add_option("--seconds", options->seconds, "about how long to time a cell")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--output", options->output, "directory for report.html, sweep.json and sweep.csv");
  command->add_flag("--json", options->json, "sweep.json on standard output in place of the table");
  command->callback([&action, options] { action = [options] { return sweep_command(*options); }; });
}

}  // namespace statescope::cli
