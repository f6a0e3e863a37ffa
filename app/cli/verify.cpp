// statescope verify: every device against the float64 reference.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "profiler/export.h"
#include "profiler/verify.h"

namespace statescope::cli {
namespace {

struct Options {
  std::string device;
  std::vector<std::string> inputs;
  bool full = false, require_all = false, json = false;
};

std::string counts(const VerifyRow& row) {
  if (row.passed + row.failed == 0) return row.refused ? "0 of " + std::to_string(row.refused) : "-";
  std::string text = std::to_string(row.passed) + " of " + std::to_string(row.passed + row.failed);
  if (row.refused > 0) text += ", " + std::to_string(row.refused) + " refused";
  return text;
}

void print(const std::vector<VerifyRow>& rows) {
  TextTable table({"device", "source", "rule", "pass", "form", "type", "kernels", "status", ">sizes",
                   ">worst error", ">tolerance", "output", "detail"});
  for (const VerifyRow& row : rows) {
    const bool ran = row.passed + row.failed > 0;
    const std::string kernels = row.front_end                       ? "front end"
                                : row.series == Series::kProduction ? "production"
                                                                    : std::string(name(row.division));
    table.add({row.device, row.source, std::string(name(row.rule)), std::string(name(row.pass)),
               std::string(name(row.form)), std::string(name(row.dtype)), kernels,
               std::string(name(row.status)), counts(row), ran ? scientific(row.worst_error) : "-",
               ran ? scientific(row.tolerance) : "-", row.worst_slot, row.detail});
  }
  table.print(std::cout);
}

int summarise(const std::vector<VerifyRow>& rows, bool require_all) {
  const auto count = [&](VerifyStatus status) {
    return std::count_if(rows.begin(), rows.end(), [&](const VerifyRow& r) { return r.status == status; });
  };
  const auto failed = count(VerifyStatus::kFailed), missing = count(VerifyStatus::kMissing);
  std::cout << count(VerifyStatus::kPassed) << " rows passed, " << failed << " failed, " << missing
            << " missing\n";
  return failed > 0 || (require_all && missing > 0) ? 1 : 0;
}

int verify_command(const Options& options) {
  VerifyOptions what;
  what.full = options.full;
  what.inputs.assign(options.inputs.begin(), options.inputs.end());
  const auto devices = open_devices(options.device);
  std::vector<VerifyRow> rows;
  verify(
      devices, what, [&](const VerifyRow& row) { rows.push_back(row); }, watch());
  const auto rank = [&](const VerifyRow& row) {
    return std::find_if(devices.begin(), devices.end(),
                        [&](const auto& d) { return d->info().name == row.device; }) -
           devices.begin();
  };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const VerifyRow& a, const VerifyRow& b) { return rank(a) < rank(b); });
  clear_progress();
  if (!options.json) {
    print(rows);
    return summarise(rows, options.require_all);
  }
  nlohmann::json document = statescope::document("statescope.verify/1");
  document["devices"] = nlohmann::json::array();
  for (const auto& device : devices) document["devices"].push_back(to_json(device->info()));
  document["rows"] = nlohmann::json::array();
  for (const VerifyRow& row : rows) document["rows"].push_back(to_json(row));
  std::cout << document.dump(2) << "\n";
  return std::any_of(rows.begin(), rows.end(), [&](const VerifyRow& r) {
    return r.status == VerifyStatus::kFailed || (options.require_all && r.status == VerifyStatus::kMissing);
  });
}

}  // namespace

void add_verify(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("verify", "Hold devices against the float64 reference; exit 1 on a miss");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->device,
                      "a device, or all (default: the first GPU, llvmpipe or cpu)");
  command->add_option("--input", options->inputs,
                      "a file of a case, or a directory of them; may be repeated");
  command->add_flag("--full", options->full, "More sizes, and longer ones");
  command->add_flag("--require-all", options->require_all, "Fail on what a device lacks, too");
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return verify_command(*options); }; });
}

}  // namespace statescope::cli
