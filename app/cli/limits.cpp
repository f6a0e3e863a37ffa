// statescope limits: where each division runs out of shared memory. Needs no device.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/numbers.h"
#include "app/cli/sizes.h"
#include "app/cli/text_table.h"
#include "profiler/export.h"
#include "profiler/limits.h"
#include "profiler/published.h"

namespace statescope::cli {
namespace {

struct Options {
  std::string device_db = "all", rule = "gated_delta", dtype = "bf16", expansions = "1,2,4,8,16";
  std::int64_t key_dim = 128, value_dim = 128;
  bool json = false;
};

Problem shape_of(const Options& options) {
  Problem shape;
  shape.rule = parse_rule(options.rule);
  shape.dtype = parse_run_dtype(options.dtype);
  shape.seq_len = 4096;
  shape.key_dim = options.key_dim;
  shape.value_dim = options.value_dim;
  shape.scale = default_scale(options.key_dim);
  return shape;
}

std::string bytes(const LimitCell& cell) {
  if (cell.geometry.shared_memory_bytes() == 0) return "-";
  return kib(cell.geometry.state_bytes) + " + " + kib(cell.geometry.tile_bytes);
}

/// What a workgroup takes and how many fit one multiprocessor, or why it does not run.
std::string verdict(const LimitCell& cell, std::size_t limit) {
  const std::size_t taken = cell.geometry.shared_memory_bytes();
  if (!cell.fits) return taken > limit ? kib(taken) + " OOM" : "refused";
  if (cell.occupancy.workgroups_per_multiprocessor == 0) return kib(taken);
  return kib(taken) + " x" + std::to_string(cell.occupancy.workgroups_per_multiprocessor) + " " +
         percent(cell.occupancy.fraction);
}

void print_cells(const std::vector<DeviceLimitsRow>& rows, const std::vector<std::int64_t>& expansions) {
  std::vector<std::string> headings{"device", "api", ">limit", "division"};
  for (std::int64_t expansion : expansions) headings.push_back(">E " + std::to_string(expansion));
  TextTable table(headings);
  std::string refusals;
  for (const DeviceLimitsRow& row : rows) {
    const std::size_t limit = row.device.limits.shared_memory_per_workgroup;
    for (const Division division : {Division::kNaive, Division::kSubheads}) {
      std::vector<std::string> cells{row.device.name, std::string(name(row.device.limits.api)), kib(limit),
                                     std::string(name(division))};
      for (const LimitCell& cell : row.cells) {
        if (cell.division != division) continue;
        cells.push_back(verdict(cell, limit));
        if (cells.back() == "refused") {
          refusals +=
              row.device.label() + " E " + std::to_string(cell.expansion) + ": " + cell.refusal + "\n";
        }
      }
      table.add(std::move(cells));
    }
  }
  table.print(std::cout);
  std::cout << "xN: workgroups that one multiprocessor holds by shared memory and threads, with the "
               "occupancy; OOM: beyond "
               "the limit.\n"
            << refusals;
}

void print_summary(const std::vector<DeviceLimitsRow>& rows) {
  TextTable table(
      {"device", "api", "driver", ">shared memory a workgroup", ">largest naive E", ">largest subhead E"});
  for (const DeviceLimitsRow& row : rows) {
    table.add({row.device.name, std::string(name(row.device.limits.api)), row.device.driver,
               kib(row.device.limits.shared_memory_per_workgroup),
               row.largest_naive > 0 ? std::to_string(row.largest_naive) : "none",
               row.subheads_fit ? "any" : "none"});
  }
  table.print(std::cout);
}

/// The paper's table 2 beside the same cells of our comparison kernels.
void print_published(const Problem& shape) {
  std::cout << "\nThe paper's table 2 (400M models in training, tokens/s, its kernels) beside our comparison "
               "kernels at "
               "K = "
            << shape.key_dim << ", V = " << shape.value_dim << ":\n";
  TextTable table({"device", "division", ">E", ">published", "our comparison kernel"});
  for (const PublishedDivision& cell : published_table_2()) {
    const auto devices = find_in_database(std::string(cell.device) + " (cuda)");
    for (const DeviceLimitsRow& row : compute_limits(shape, devices, {cell.expansion})) {
      for (const LimitCell& ours : row.cells) {
        if (ours.division != cell.division) continue;
        table.add({std::string(cell.device), std::string(name(cell.division)), std::to_string(cell.expansion),
                   cell.tokens_per_second ? std::to_string(*cell.tokens_per_second) : "OOM",
                   (ours.fits ? "fits: " : "does not fit: ") + bytes(ours) + (ours.fits ? " <= " : " > ") +
                       kib(row.device.limits.shared_memory_per_workgroup)});
      }
    }
  }
  table.print(std::cout);
  std::cout << "The paper's H800 ran naive at E 8 and 16 all the same: " << why_h800_ran_naive() << ".\n";
}

int limits(const Options& options) {
  const Problem shape = shape_of(options);
  const std::vector<std::int64_t> expansions = parse_numbers(options.expansions, "--expansion");
  const auto rows = compute_limits(shape, find_in_database(options.device_db), expansions);
  if (options.json) {
    std::cout << limits_document(shape, rows).dump(2) << "\n";
    return 0;
  }
  print_summary(rows);
  std::cout << "\nShared memory of our comparison kernels, " << options.rule << " " << options.dtype
            << ", one workgroup a (sub)head, float32 state, K = " << options.key_dim
            << ", V = " << options.value_dim << ":\n";
  print_cells(rows, expansions);
  print_published(shape);
  return 0;
}

}  // namespace

void add_limits(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "limits", "Shared memory, occupancy and the largest E of each division on the devices of the database");
  auto options = std::make_shared<Options>();
  command->add_option("--device-db", options->device_db, "part of a name in the database, or all")
      ->capture_default_str();
  command->add_option("--rule", options->rule, "linear, ssd, gla or gated_delta")->capture_default_str();
  command->add_option("--dtype", options->dtype, "f32, bf16 or f16")->capture_default_str();
  command->add_option("--expansion", options->expansions, "E, with commas between")->capture_default_str();
  command->add_option("--key-dim", options->key_dim, "K of a subhead")
      ->capture_default_str()
      ->check(positive_count());
  command->add_option("--value-dim", options->value_dim, "V of a head")
      ->capture_default_str()
      ->check(positive_count());
  command->add_flag("--json", options->json, "Machine-readable, on standard output");
  command->callback([&action, options] { action = [options] { return limits(*options); }; });
}

}  // namespace statescope::cli
