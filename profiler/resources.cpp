#include "profiler/resources.h"

#include <algorithm>

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

}  // namespace

KernelResources resources_of(const Launch& launch, const DeviceLimits& limits) {
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
  return resources;
}

std::vector<KernelResources> resources_of(const Capture& capture) {
  std::vector<KernelResources> all;
  for (const CaptureEntry& entry : capture.entries) {
    const DeviceInfo& device = capture.devices[entry.device].info;
    for (const Launch& launch : entry.launches) {
      KernelResources resources = resources_of(launch, device.limits);
      resources.device = device.name;
      resources.problem = entry.problem;
      resources.expansion = entry.expansion;
      const auto compiled = std::ranges::find(entry.compiled, launch.kernel, &CompiledKernel::kernel);
      if (compiled != entry.compiled.end()) resources.statistics = compiled->statistics;
      all.push_back(std::move(resources));
    }
  }
  return all;
}

}  // namespace statescope
