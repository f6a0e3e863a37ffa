// statescope profile: a sweep whose every run, launch and resource is kept in one capture; or, with --static,
// what compilers make of the kernels for GPUs that need not be here.
#include <algorithm>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "profiler/capture.h"
#include "profiler/capture_export.h"
#include "profiler/export.h"
#include "profiler/kernel_table.h"
#include "profiler/resources.h"
#include "profiler/roofline.h"
#include "profiler/static_report.h"

#include <statescope/error.h>
#include <statescope/files.h>

namespace statescope::cli {
namespace {

struct Options {
  SweepWords what;
  std::string output, trace, csv, targets, code;
  int min_runs = 12;
  bool with_code = false, static_only = false, json = false;
  // Whether these were typed: --static has defaults of its own.
  bool expansions_given = false, passes_given = false;
};

template <typename T>
std::string or_dash(const std::optional<T>& value) {
  return value ? std::to_string(*value) : "-";
}

std::string or_dash(std::string text) {
  return text.empty() ? "-" : text;
}

/// What writing threw, kept until the tables are printed: a full disk does not cost the measurement, nor a
/// reader that stops early the files.
template <typename Write>
std::exception_ptr failure_of(Write write) {
  try {
    write();
  } catch (const Error&) {
    return std::current_exception();
  }
  return nullptr;
}

void print_kernels(const Capture& capture) {
  TextTable table({"device", "kernels", ">E", "kernel", ">calls", ">total", ">share", ">min", ">median",
                   ">p95", ">max", ">flop/s", ">of roof", ">B/s", ">of copy"});
  for (const KernelRow& row : kernel_table(capture)) {
    const CaptureEntry& entry = capture.entries[row.entry];
    const bool part = !row.whole_run && !row.flop_per_second;
    const auto rate = [](const std::optional<double>& x) { return x ? si(*x, "") : "-"; };
    const auto share = [](const std::optional<double>& x) { return x ? percent(*x) : "-"; };
    table.add({capture.devices[entry.device].info.name, std::string(name(entry.series)),
               std::to_string(entry.expansion), (part ? "  " : "") + row.kernel, std::to_string(row.calls),
               si(row.total, "s"), percent(row.share), si(row.seconds.min, "s"), si(row.seconds.median, "s"),
               si(row.p95, "s"), si(row.seconds.max, "s"), rate(row.flop_per_second),
               share(row.share_of_compute), rate(row.bytes_per_second), share(row.share_of_copy)});
  }
  table.print(std::cout);
}

void print_resources(const Capture& capture) {
  TextTable table({"device", "kernel", ">E", ">workgroup", ">shared, predicted", ">reported", ">registers",
                   ">spilled", ">occupancy, predicted", "limited by", ">reported", "limited by"});
  for (const KernelResources& r : resources_of(capture)) {
    const bool known = r.workgroups_per_multiprocessor > 0;
    const auto& reported_memory = r.launch.reported_shared_memory_bytes;
    table.add({r.device, r.launch.kernel, std::to_string(r.expansion),
               std::to_string(r.launch.workgroup_size), kib(r.launch.shared_memory_bytes),
               reported_memory ? kib(*reported_memory) : "-", or_dash(r.launch.registers),
               r.launch.spill_bytes ? std::to_string(*r.launch.spill_bytes) + " B" : "-",
               known ? percent(r.occupancy) : "-", or_dash(std::string(r.limited_by)),
               r.reported ? percent(r.reported->fraction) : "-",
               or_dash(r.reported ? r.reported->limited_by : "")});
  }
  table.print(std::cout);
}

void print_roofline(const Capture& capture) {
  const std::vector<RooflinePoint> points = roofline(capture);
  for (std::size_t device = 0; device < capture.devices.size(); ++device) {
    const std::string chart = draw_roofline(capture, points, device);
    if (chart.empty()) continue;
    std::cout << "\nRoofline of " << capture.devices[device].info.name << ", by its measured ceilings\n"
              << chart;
    TextTable table({"", "kernel", "kernels", ">E", ">flop/B", ">flop/s", ">of the roof", "bound by"});
    std::size_t index = 0;
    for (const RooflinePoint& p : points) {
      if (p.device != device) continue;
      const std::string roof = p.bound == "memory" ? "memory" : std::string(p.compute_roof) + " units";
      table.add({std::string(1, roofline_mark(index++)), p.kernel, std::string(name(p.series)),
                 std::to_string(p.expansion), fixed(p.intensity, 2), si(p.flop_per_second, ""),
                 p.ceiling > 0 ? percent(p.share()) : "-", roof});
    }
    table.print(std::cout);
  }
}

void print_refusals(const Capture& capture) {
  for (const CaptureEntry& entry : capture.entries) {
    if (entry.status == SweepStatus::kMeasured) continue;
    std::cout << name(entry.status) << ": " << capture.devices[entry.device].info.name << " "
              << name(entry.series) << " E " << entry.expansion << ": " << entry.reason << "\n";
  }
}

/// The capture first: it holds all that the others are made from.
void write_files(const Options& options, const Capture& capture) {
  write_capture(options.output, capture);
  if (!options.trace.empty()) write_text(options.trace, chrome_trace(capture));
  if (!options.csv.empty()) write_text(options.csv, kernel_csv(capture));
}

int profile_command(const Options& options) {
  ProfileOptions what;
  what.sweep = sweep_options(options.what);
  what.sweep.min_runs = what.sweep.min_slow_runs = options.min_runs;
  what.code = options.with_code;
  const auto devices = open_devices(options.what.sizes.device);
  const Watch job = watch();
  const Capture capture = profile(devices, what, job);
  clear_progress();
  const std::exception_ptr full_disk = failure_of([&] { write_files(options, capture); });
  job.check();  // interrupted: what was measured is kept
  if (options.json) {
    std::cout << capture_json(capture) << "\n";
  } else {
    print_kernels(capture);
    std::cout << "\n";
    print_resources(capture);
    print_roofline(capture);
    std::cout << "\n";
    print_refusals(capture);
  }
  std::cout.flush();
  if (full_disk) std::rethrow_exception(full_disk);
  if (options.json) return exit_code(capture);
  std::cout << "wrote " << options.output;
  if (!options.trace.empty()) std::cout << ", " << options.trace;
  if (!options.csv.empty()) std::cout << ", " << options.csv;
  std::cout << "\n";
  return exit_code(capture);
}

// ---- --static

StaticOptions static_options(const Options& options) {
  const SweepOptions typed = sweep_options(options.what);
  StaticOptions what;
  what.rule = typed.rule;
  what.dtype = typed.dtype;
  if (options.passes_given) what.passes = typed.passes;
  if (options.expansions_given) what.expansion = typed.expansions.front();
  what.key_dim = typed.key_dim.value_or(what.key_dim);
  what.value_dim = typed.value_dim.value_or(what.value_dim);
  if (!options.code.empty()) what.code = options.code;
  return what;
}

/// The command line of the child that compiles for one target: the same problems, as JSON.
std::vector<std::string> child_arguments(const Options& options) {
  std::vector<std::string> line{"/proc/self/exe", "profile", "--static", "--json", "--device", "vulkan:0"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) line.insert(line.end(), {option, value});
  };
  const auto add_number = [&](const char* option, std::int64_t value) {
    if (value > 0) add(option, std::to_string(value));
  };
  const SizeOptions& sizes = options.what.sizes;
  add("--rule", sizes.rule);
  add("--dtype", sizes.dtype);
  add_number("--key-dim", sizes.key_dim);
  add_number("--value-dim", sizes.value_dim);
  if (options.passes_given) add("--pass", options.what.passes);
  if (options.expansions_given) add("--expansion", options.what.expansions);
  add("--code", options.code);
  return line;
}

void print_code(const StaticKernel& kernel) {
  for (const CompiledKernel::Representation& text : kernel.compiled.representations) {
    std::cout << "\n==== " << kernel.compiled.kernel << " " << name(kernel.problem.dtype) << ": " << text.name
              << "\n"
              << text.text << (text.text.ends_with('\n') ? "" : "\n");
  }
}

/// A figure under the name that RADV or that NVIDIA gives it.
std::string figure(const StaticKernel& kernel, std::initializer_list<std::string_view> names) {
  double sum = 0;
  bool any = false;
  for (const std::string_view one : names) {
    if (const auto value = statistic_of(kernel.compiled.statistics, one)) {
      sum += *value;
      any = true;
    }
  }
  return any ? fixed(sum, 0) : "-";
}

void print_static(const StaticReport& report) {
  std::cout << "\n" << report.target << ": ";
  if (!report.absent.empty()) {
    std::cout << "not compiled, " << report.absent << "\n";
    return;
  }
  std::cout << report.device.description << ", " << report.device.driver << "\n";
  TextTable table({"kernel", "type", ">workgroup", ">subgroup", ">VGPR", ">SGPR", ">spilled", ">scratch B",
                   ">LDS B", ">predicted B", ">occupancy", "limited by", ">code B"});
  for (const StaticKernel& kernel : report.kernels) {
    if (!kernel.refusal.empty()) continue;
    const KernelResources r =
        resources_of(kernel.launch, kernel.compiled.statistics, kernel.subgroup_size, report.device.limits);
    table.add(
        {kernel.compiled.kernel, std::string(name(kernel.problem.dtype)),
         std::to_string(kernel.launch.workgroup_size),
         kernel.subgroup_size > 0 ? std::to_string(kernel.subgroup_size) : "any",
         figure(kernel, {"VGPRs", "Register Count", "registers"}), figure(kernel, {"SGPRs"}),
         figure(kernel, {"Spilled SGPRs", "Spilled VGPRs"}),
         figure(kernel, {"Scratch size", "Local Memory Size", "local memory bytes"}),
         figure(kernel, {"LDS size", "Shared Memory Size"}),
         std::to_string(kernel.launch.shared_memory_bytes), r.reported ? percent(r.reported->fraction) : "-",
         or_dash(r.reported ? r.reported->limited_by : ""), figure(kernel, {"Code size", "Binary Size"})});
  }
  table.print(std::cout);
  for (const StaticKernel& kernel : report.kernels) {
    if (!kernel.refusal.empty())
      std::cout << "refused: " << describe(kernel.problem) << ": " << kernel.refusal << "\n";
  }
  for (const StaticKernel& kernel : report.kernels) print_code(kernel);
}

int static_command(const Options& options) {
  const Watch job = watch();
  const StaticOptions what = static_options(options);
  std::vector<StaticReport> reports;
  if (options.targets.empty()) {
    reports.push_back(static_report(*open_device(discover(), options.what.sizes.device), what, job));
  } else {
    for (const std::string& target : split(options.targets, "--target")) {
      job.check();
      job.say("compiling for " + target);
      reports.push_back(static_report_of_target(target, child_arguments(options)));
    }
  }
  clear_progress();
  const auto shows_code = [](const StaticReport& report) {
    return std::ranges::any_of(report.kernels,
                               [](const StaticKernel& k) { return !k.compiled.representations.empty(); });
  };
  const bool none =
      std::ranges::all_of(reports, [](const StaticReport& report) { return !report.absent.empty(); });
  if (!options.code.empty() && !none && std::ranges::none_of(reports, shows_code)) {
    throw Error(ErrorKind::kUsage,
                "--code: no kernel whose name contains '" + options.code + "' was compiled");
  }
  const std::exception_ptr full_disk = failure_of([&] {
    if (!options.output.empty()) write_text(options.output, static_json(reports) + "\n");
  });
  if (options.json) {
    std::cout << static_json(reports) << "\n";
  } else {
    for (const StaticReport& report : reports) print_static(report);
  }
  std::cout.flush();
  if (full_disk) std::rethrow_exception(full_disk);
  return none ? statescope::exit_code(ErrorKind::kNoDevice) : 0;
}

void check_words(const Options& options) {
  if (!options.static_only && options.output.empty())
    throw Error(ErrorKind::kUsage, "profile: wanted --output FILE for the capture, or --static");
  if (!options.static_only && (!options.targets.empty() || !options.code.empty()))
    throw Error(ErrorKind::kUsage, "profile: --target and --code go with --static");
  if (options.static_only && (!options.trace.empty() || !options.csv.empty() || options.with_code))
    throw Error(ErrorKind::kUsage, "profile: --trace, --csv and --with-code go without --static");
}

}  // namespace

void add_profile(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "profile", "Capture every run and launch of a sweep; or compile kernels for GPUs that are not here");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->what.sizes.device,
                      "a device, or all (default: the first GPU, llvmpipe or cpu)");
  add_sweep_options(*command, options->what);
  command->add_option("--min-runs", options->min_runs, "fewest runs of a kernel; comparing wants 8 or more")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--output", options->output, "the capture (with --static: the report as JSON)");
  command->add_option("--trace", options->trace, "the timeline as Chrome trace JSON, for Perfetto");
  command->add_option("--csv", options->csv, "the kernel table as CSV");
  command->add_flag("--with-code", options->with_code, "keep each kernel's code in the capture");
  command->add_flag("--json", options->json, "the file on standard output in place of the tables");
  command->add_flag("--static", options->static_only, "compile only: registers, spills, occupancy, code");
  command->add_option(
      "--target", options->targets,
      "with --static: AMD GPUs that need not be here, as Mesa's RADV names them (navi21,gfx1100)");
  command->add_option("--code", options->code,
                      "with --static: print the code of kernels whose name contains this");
  command->callback([&action, options, command] {
    options->expansions_given = command->count("--expansion") > 0;
    options->passes_given = command->count("--pass") > 0;
    action = [options] {
      check_words(*options);
      for (const std::string& file : {options->output, options->trace, options->csv}) {
        if (!file.empty()) check_place(file);
      }
      return options->static_only ? static_command(*options) : profile_command(*options);
    };
  });
}

}  // namespace statescope::cli
