// statescope devices: what is here, and why what is not is not.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/command.h"
#include "app/cli/text_table.h"
#include "profiler/export.h"

namespace statescope::cli {
namespace {

std::string kind(const DeviceInfo& info) {
  if (!info.can_run) return "compiles only";
  return info.hardware ? "hardware" : info.api == Api::kCpu ? "reference" : "software";
}

int print(const DeviceList& list, bool json) {
  if (json) {
    std::cout << devices_document(list).dump(2) << "\n";
    return 0;
  }
  TextTable table({"device", "kind", "description", "driver", ">shared memory", ">subgroup"});
  for (const DeviceEntry& entry : list.devices) {
    const DeviceLimits& l = entry.info.limits;
    const bool gpu = entry.info.api != Api::kCpu;
    const std::string subgroup = l.subgroup_min == l.subgroup_max
                                     ? std::to_string(l.subgroup_min)
                                     : std::to_string(l.subgroup_min) + ".." + std::to_string(l.subgroup_max);
    table.add({entry.info.name, kind(entry.info), entry.info.description, entry.info.driver,
               gpu ? kib(l.shared_memory_per_workgroup) : "-", gpu ? subgroup : "-"});
  }
  table.print(std::cout);
  for (const DeviceEntry& entry : list.devices) {
    for (const std::string& note : entry.info.notes) std::cout << entry.info.name << ": " << note << "\n";
  }
  for (const BackendStatus& status : list.backends) {
    if (!status.available) std::cout << name(status.api) << ": absent, " << status.reason << "\n";
  }
  return 0;
}

}  // namespace

void add_devices(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("devices", "List the devices, and why a backend has none");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Machine-readable, on standard output");
  command->callback([&action, json] { action = [json] { return print(discover(), *json); }; });
}

}  // namespace statescope::cli
