#include "profiler/resources.h"

#include <algorithm>
#include <cmath>

namespace statescope {
namespace {

/// Workgroups whose registers fit one multiprocessor; nothing when a figure is unknown. NVIDIA hands
/// registers to a warp in units of 256 (CUDA C++ Programming Guide, technical specifications).
std::optional<int> workgroups_by_registers(const Launch& launch, const DeviceLimits& limits) {
  if (!launch.registers || *launch.registers <= 0 || limits.registers_per_multiprocessor == 0)
    return std::nullopt;
  if (limits.api != Api::kCuda) return std::nullopt;
  constexpr std::uint32_t kWarp = 32, kUnit = 256;
  const std::uint32_t warps = (launch.workgroup_size + kWarp - 1) / kWarp;
  const auto registers = static_cast<std::uint32_t>(*launch.registers);
  const std::uint32_t warp_registers = (registers * kWarp + kUnit - 1) / kUnit * kUnit;
  return static_cast<int>(limits.registers_per_multiprocessor / (warp_registers * warps));
}

/// RADV reports "Subgroups per SIMD", on RDNA in subgroups of 32. What limits them is found by working out
/// what shared memory alone would allow: 64 KB for the four SIMDs of a GCN compute unit, 128 KB for the four
/// of an RDNA workgroup processor, shared out in whole subgroups (Mesa, radv_get_max_waves).
std::optional<ReportedOccupancy> occupancy_on_amd(const Launch& launch,
                                                  const std::vector<CompiledKernel::Statistic>& statistics,
                                                  std::uint32_t subgroup_size, const DeviceLimits& limits) {
  const std::optional<double> subgroups = statistic_of(statistics, "Subgroups per SIMD");
  if (!subgroups || limits.max_threads_per_multiprocessor == 0) return std::nullopt;
  const bool rdna = limits.subgroup_min == 32;
  const std::uint32_t simds = rdna ? 2 : 4;  // of a compute unit
  const std::uint32_t unit = rdna ? 32 : 64;
  const double most = limits.max_threads_per_multiprocessor / (simds * unit);
  ReportedOccupancy reported{*subgroups / most, ""};
  if (*subgroups >= most) return reported;
  reported.limited_by = "registers";
  const double shared = statistic_of(statistics, "LDS size").value_or(0);
  if (shared > 0) {
    const std::uint32_t size = subgroup_size > 0 ? subgroup_size : 64;
    const double per_subgroup = shared / ((launch.workgroup_size + size - 1) / size);
    const double by_memory = std::ceil((rdna ? 32768 : 16384) / per_subgroup) * (rdna ? size / 32 : 1);
    if (by_memory <= *subgroups) reported.limited_by = "shared memory";
  }
  return reported;
}

}  // namespace

std::optional<double> statistic_of(const std::vector<CompiledKernel::Statistic>& statistics,
                                   std::string_view name) {
  const auto found = std::ranges::find(statistics, name, &CompiledKernel::Statistic::name);
  return found == statistics.end() ? std::nullopt : std::optional(found->value);
}

KernelResources resources_of(const Launch& launch, const std::vector<CompiledKernel::Statistic>& statistics,
                             std::uint32_t subgroup_size, const DeviceLimits& limits) {
  KernelResources resources;
  resources.launch = launch;
  Geometry geometry;
  geometry.workgroup_size = launch.workgroup_size;
  geometry.tile_bytes = launch.shared_memory_bytes;
  const Occupancy predicted = predict_occupancy(geometry, limits);
  resources.workgroups_per_multiprocessor = predicted.workgroups_per_multiprocessor;
  resources.occupancy = predicted.fraction;
  resources.limited_by = predicted.limited_by;
  const std::optional<int> by_registers = workgroups_by_registers(launch, limits);
  if (by_registers && predicted.workgroups_per_multiprocessor > *by_registers) {
    resources.workgroups_per_multiprocessor = *by_registers;
    resources.occupancy = static_cast<double>(*by_registers) * launch.workgroup_size /
                          static_cast<double>(limits.max_threads_per_multiprocessor);
    resources.limited_by = "registers";
  }
  if (launch.reported_shared_memory_bytes)
    resources.shared_memory_agrees = *launch.reported_shared_memory_bytes == launch.shared_memory_bytes;
  resources.reported = occupancy_on_amd(launch, statistics, subgroup_size, limits);
  if (!resources.reported && launch.occupancy) resources.reported = ReportedOccupancy{*launch.occupancy, ""};
  return resources;
}

std::vector<KernelResources> resources_of(const Capture& capture) {
  std::vector<KernelResources> all;
  for (const CaptureEntry& entry : capture.entries) {
    const DeviceInfo& device = capture.devices[entry.device].info;
    for (const Launch& launch : entry.launches) {
      const auto compiled = std::ranges::find(entry.compiled, launch.kernel, &CompiledKernel::kernel);
      const auto statistics =
          compiled == entry.compiled.end() ? std::vector<CompiledKernel::Statistic>{} : compiled->statistics;
      KernelResources resources =
          resources_of(launch, statistics, entry.geometry.subgroup_size, device.limits);
      resources.device = device.name;
      resources.problem = entry.problem;
      resources.expansion = entry.expansion;
      all.push_back(std::move(resources));
    }
  }
  return all;
}

}  // namespace statescope
