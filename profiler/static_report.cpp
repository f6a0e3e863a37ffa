#include "profiler/static_report.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <set>

#include <statescope/error.h>

#include "profiler/code_view.h"
#include "profiler/export.h"
#include "profiler/runtime_fields.h"
#include "profiler/subprocess.h"

namespace statescope {

template <typename Visit, MaybeConst<StaticKernel> P>
void visit_fields(Visit& visit, P& kernel) {
  visit("problem", kernel.problem);
  visit("refusal", kernel.refusal);
  visit("launch", kernel.launch);
  visit("subgroup_size", kernel.subgroup_size);
  visit("compiled", kernel.compiled);
}

template <typename Visit, MaybeConst<StaticReport> P>
void visit_fields(Visit& visit, P& report) {
  visit("target", report.target);
  visit("absent", report.absent);
  visit("device", report.device);
  visit("kernels", report.kernels);
}

namespace {

using json_fields::Json;

constexpr const char* kSchema = "statescope.static/1";

/// One problem a row, pass, type and form that a variant of the api covers.
std::vector<Problem> problems_of(Api api, const StaticOptions& options) {
  std::vector<Problem> problems;
  std::set<std::string> seen;
  for (const Variant& variant : variants()) {
    if (variant.api != api) continue;
    for (const Rule rule : kRules) {
      for (const Pass pass : options.passes) {
        for (const DType dtype : kRunTypes) {
          const bool wanted =
              (!options.rule || rule == *options.rule) && (!options.dtype || dtype == *options.dtype);
          if (!wanted || !has(variant.rules, rule) || !has(variant.passes, pass) ||
              !has(variant.dtypes, dtype))
            continue;
          Problem problem;
          problem.rule = rule;
          problem.pass = pass;
          problem.dtype = dtype;
          problem.form = variant.form;
          problem.series = variant.series;
          problem.seq_len = pass == Pass::kStep ? 1 : 1024;
          problem.initial_state = pass == Pass::kStep;
          problem.heads = problem.qk_heads = 8;
          problem.expansion = options.expansion;
          problem.key_dim = options.key_dim;
          problem.value_dim = options.value_dim;
          problem.scale = default_scale(problem.key_dim);
          check(problem);
          if (seen.insert(describe(problem) + std::string(name(problem.form)) +
                          std::string(name(problem.series)))
                  .second)
            problems.push_back(problem);
        }
      }
    }
  }
  return problems;
}

bool is_hash(const CompiledKernel::Statistic& statistic) {
  return statistic.name.find("Hash") != std::string::npos || statistic.name.find("hash") != std::string::npos;
}

/// The driver description file of RADV: among those that the environment names, else where loaders look.
std::optional<std::string> find_radv() {
  std::vector<std::filesystem::path> files;
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) {
    const char* value = std::getenv(variable);
    for (std::string rest = value ? value : ""; !rest.empty();) {
      const std::size_t colon = rest.find(':');
      files.emplace_back(rest.substr(0, colon));
      rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
  }
  for (const char* folder : {"/etc/vulkan/icd.d", "/usr/local/etc/vulkan/icd.d",
                             "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"}) {
    std::error_code error;
    for (const auto& file : std::filesystem::directory_iterator(folder, error)) files.push_back(file.path());
  }
  for (const std::filesystem::path& file : files) {
    const std::string name = file.filename().string();
    if (name.starts_with("radeon_icd") && name.ends_with(".json") && std::filesystem::exists(file))
      return file.string();
  }
  return std::nullopt;
}

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

StaticReport static_report(Device& device, const StaticOptions& options, const Watch& watch) {
  StaticReport report;
  report.target = device.info().name;
  report.device = device.info();
  for (const Problem& problem : problems_of(device.info().api, options)) {
    watch.check();
    watch.say("compiling " + describe(problem) + " for " + device.info().description);
    StaticKernel row;
    row.problem = problem;
    Plan plan;
    try {
      plan = device.plan(problem);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kRefused) throw;
      row.refusal = e.what();
      report.kernels.push_back(std::move(row));
      continue;
    }
    row.subgroup_size = plan.geometry.subgroup_size;
    for (CompiledKernel& compiled : device.compile(plan)) {
      const auto launch = std::ranges::find(plan.launches, compiled.kernel, &Launch::kernel);
      if (launch != plan.launches.end()) row.launch = *launch;
      std::erase_if(compiled.statistics, is_hash);
      if (options.code && compiled.kernel.find(*options.code) != std::string::npos) {
        add_disassembly(compiled);
      } else {
        compiled.representations.clear();
      }
      row.compiled = std::move(compiled);
      report.kernels.push_back(row);
    }
  }
  const bool any =
      std::ranges::any_of(report.kernels, [](const StaticKernel& k) { return k.refusal.empty(); });
  if (!any) {
    throw Error(ErrorKind::kRefused, device.info().name + ": no kernel to compile" +
                                         (report.kernels.empty() ? std::string(" and report")
                                                                 : ": " + report.kernels.front().refusal));
  }
  return report;
}

StaticReport static_report_of_target(const std::string& target, const std::vector<std::string>& arguments) {
  StaticReport report;
  report.target = target;
  const std::optional<std::string> driver = find_radv();
  if (!driver) {
    report.absent = "Mesa's RADV driver is not installed (no radeon_icd*.json)";
    return report;
  }
  // The old and the new name of one variable: a loader knows one or both.
  const auto result = run_process(
      arguments, {},
      {{"RADV_FORCE_FAMILY", target}, {"VK_ICD_FILENAMES", *driver}, {"VK_DRIVER_FILES", *driver}});
  if (!result) throw Error(ErrorKind::kDevice, arguments.front() + " cannot be started");
  if (result->exit_code != 0) {
    report.absent = last_line(result->err);
    if (result->signal != 0) report.absent += " (signal " + std::to_string(result->signal) + ")";
    return report;
  }
  std::vector<StaticReport> reports = parse_static_json(result->out);
  if (reports.size() != 1) throw Error(ErrorKind::kDevice, target + ": found no report, wanted one");
  reports.front().target = target;
  return reports.front();
}

std::string static_json(const std::vector<StaticReport>& reports) {
  Json file = document(kSchema);
  file["reports"] = json_fields::write(reports);
  return file.dump(1, ' ', false, Json::error_handler_t::replace);
}

std::vector<StaticReport> parse_static_json(const std::string& text) {
  const Json file = Json::parse(text, nullptr, false);
  if (!file.is_object() || !file.contains("schema") || file["schema"] != kSchema)
    throw Error(ErrorKind::kUsage, std::string("not a static report, wanted schema ") + kSchema);
  std::vector<StaticReport> reports;
  json_fields::Reader reader{file, ""};
  reader("reports", reports);
  return reports;
}

}  // namespace statescope
