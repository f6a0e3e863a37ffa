// statescope compare: two captures, kernel by kernel; exit 1 when one got slower beyond the noise of both.
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/text_table.h"
#include "profiler/compare.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string before, after, threshold = "5%";
  bool json = false;
};

/// "5%" or "0.05".
double parse_threshold(const std::string& text) {
  const bool in_percent = text.ends_with('%');
  const char* const end = text.data() + text.size() - (in_percent ? 1 : 0);
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= 0) || value > 1e6)
    throw Error(ErrorKind::kUsage, "--threshold: found '" + text + "', wanted a share such as 5% or 0.05");
  return in_percent ? value / 100 : value;
}

json to_json(const MedianInterval& interval) {
  return {{"low", interval.low}, {"median", interval.median}, {"high", interval.high}};
}

json to_json(const Comparison& comparison) {
  json j = document("statescope.compare/1");
  j["threshold"] = comparison.threshold;
  j["warnings"] = comparison.warnings;
  j["rows"] = json::array();
  for (const CompareRow& row : comparison.rows) {
    j["rows"].push_back({{"device", row.device},
                         {"problem", row.problem},
                         {"kernel", row.kernel},
                         {"before_s", to_json(row.before)},
                         {"after_s", to_json(row.after)},
                         {"ratio", row.ratio},
                         {"ratio_low", row.ratio_low},
                         {"ratio_high", row.ratio_high},
                         {"verdict", name(row.verdict)},
                         {"note", row.note}});
  }
  return j;
}

void print(const Comparison& comparison) {
  for (const std::string& warning : comparison.warnings) std::cout << "warning: " << warning << "\n";
  TextTable table(
      {"verdict", ">ratio", ">interval", ">before", ">after", "device", "kernel", "configuration", "note"});
  for (const CompareRow& row : comparison.rows) {
    const bool both = row.ratio > 0;
    table.add({std::string(name(row.verdict)), both ? fixed(row.ratio, 3) : "-",
               both ? fixed(row.ratio_low, 3) + ".." + fixed(row.ratio_high, 3) : "-",
               row.before.median > 0 ? si(row.before.median, "s") : "-",
               row.after.median > 0 ? si(row.after.median, "s") : "-", row.device, row.kernel, row.problem,
               row.note});
  }
  table.print(std::cout);
}

int compare_command(const Options& options) {
  const double threshold = parse_threshold(options.threshold);
  const Comparison comparison = compare(read_capture(options.before), read_capture(options.after), threshold);
  if (options.json) {
    std::cout << to_json(comparison).dump(2) << "\n";
  } else {
    print(comparison);
  }
  return exit_code(comparison);
}

}  // namespace

void add_compare(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "compare",
      "Compare two captures: exit 1 when a kernel got slower, beyond the noise of both, or is gone");
  auto options = std::make_shared<Options>();
  command->add_option("before", options->before, "the baseline, a capture of profile")->required();
  command->add_option("after", options->after, "the capture to hold against it")->required();
  command->add_option("--threshold", options->threshold, "how much slower is too slow")
      ->capture_default_str();
  command->add_flag("--json", options->json, "the table as JSON");
  command->callback([&action, options] { action = [options] { return compare_command(*options); }; });
}

}  // namespace statescope::cli
