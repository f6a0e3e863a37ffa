// statescope sweep: the main job. Every device, every expansion, verified, timed, and drawn.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/sizes.h"
#include "app/cli/sweep_report.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "profiler/export.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope::cli {
namespace {

struct Options {
  SweepWords what;
  std::string output;
  bool json = false;
};

std::string sizes_of(const Problem& p) {
  return "B " + std::to_string(p.batch) + ", T " + std::to_string(p.seq_len) + ", H " +
         std::to_string(p.heads) + ", K " + std::to_string(p.key_dim) + ", V " + std::to_string(p.value_dim) +
         ", " + std::string(name(p.dtype));
}

void print(const SweepResult& result, const SweepOptions& what) {
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
  const bool wanted = std::ranges::find(what.series, SweepSeries::kSubheads) != what.series.end();
  for (const SweepDevice& device : result.devices) {
    if (wanted && !has_series(device.info, SweepSeries::kSubheads)) {
      std::cout << "no subheads rows of " << device.info.name
                << ": one text serves both series of subheads there, and stands as production\n";
    }
  }
}

/// Where the report's recall runs: a device that got through the sweep, else the first, whose refusals the
/// report then shows.
Device& sound_device(const std::vector<std::shared_ptr<Device>>& devices, const SweepResult& result) {
  for (std::size_t d = 0; d < devices.size(); ++d) {
    const bool failed = std::any_of(result.rows.begin(), result.rows.end(), [&](const SweepRow& row) {
      return row.device == d && row.status == SweepStatus::kFailed;
    });
    if (!failed) return *devices[d];
  }
  return *devices.front();
}

int sweep_command(const Options& options) {
  const SweepOptions what = sweep_options(options.what);
  const Watch job = watch();
  if (!options.output.empty()) make_directory(options.output);  // before the minute, not after
  const auto devices = open_devices(options.what.sizes.device);
  const SweepResult result = sweep(devices, what, job);
  clear_progress();
  if (options.json) {
    std::cout << sweep_document(result).dump(2) << "\n";
  } else {
    print(result, what);
  }
  std::cout.flush();
  if (!options.output.empty()) {
    const std::filesystem::path directory = options.output;
    write_text(directory / "sweep.json", sweep_document(result).dump(2) + "\n");
    write_text(directory / "sweep.csv", sweep_csv(result));
    job.check();  // interrupted: what was measured is kept, without the report
    const ReportInputs inputs = report_inputs(result, sound_device(devices, result), what.expansions, job);
    write_text(directory / "report.html", report_html(inputs));
    clear_progress();
    if (!options.json) std::cout << "\nwrote " << options.output << "/{report.html,sweep.json,sweep.csv}\n";
  }
  job.check();
  return exit_code(result);
}

}  // namespace

void add_sweep(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "sweep",
      "Sweep the expansion factor over every device: a table, report.html, sweep.json and sweep.csv");
  auto options = std::make_shared<Options>();
  options->what.sizes.device = "all";
  command->add_option("--device", options->what.sizes.device, "a device, or all")->capture_default_str();
  add_sweep_options(*command, options->what);
  command->add_option("--output", options->output, "directory for report.html, sweep.json and sweep.csv");
  command->add_flag("--json", options->json, "sweep.json on standard output in place of the table");
  command->callback([&action, options] { action = [options] { return sweep_command(*options); }; });
}

}  // namespace statescope::cli
