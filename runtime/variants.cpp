// Picking a kernel variant, and saying in numbers why none fits.
#include <algorithm>
#include <vector>

#include <statescope/error.h>
#include <statescope/variants.h>

namespace statescope {
namespace {

std::span<const Variant> variants_of(Api api) {
  switch (api) {
    case Api::kCuda:
      return cuda_variants();
    case Api::kVulkan:
      return vulkan_variants();
    case Api::kCpu:
      return {};
  }
  return {};
}

/// Rule, pass, form, series and type; not sizes.
bool covers_kind(const Variant& v, const Problem& p) {
  return v.series == p.series && has(v.rules, p.rule) && has(v.passes, p.pass) && has(v.dtypes, p.dtype) &&
         (p.form == Form::kAuto || p.form == v.form) &&
         (!p.front_end || (has(front_end_passes(v.api), p.pass) && v.series == Series::kProduction));
}

std::string kind_of(const Problem& p) {
  std::string text =
      std::string(name(p.series)) + " " + std::string(name(p.rule)) + " " + std::string(name(p.pass));
  if (p.form != Form::kAuto) text += " " + std::string(name(p.form));
  text += " " + std::string(name(p.dtype));
  if (p.front_end) text += " with a front end";
  return p.history ? text + " and a history" : text;
}

std::string too_large(const Variant& v, const Problem& p, const Geometry& g, const DeviceLimits& limits,
                      std::string_view device) {
  std::string text = std::string(name(p.division)) + ": ";
  if (g.state_bytes > 0) text += "state " + std::to_string(g.state_bytes) + " B + ";
  return text + "tiles " + std::to_string(g.tile_bytes) + " B > " +
         std::to_string(limits.shared_memory_per_workgroup) + " B of shared memory on " +
         std::string(device) + " (" + std::string(v.name) + ")";
}

}  // namespace

std::span<const Variant> variants() {
  static const std::vector<Variant> all = [] {
    std::vector<Variant> joined(cuda_variants().begin(), cuda_variants().end());
    joined.insert(joined.end(), vulkan_variants().begin(), vulkan_variants().end());
    return joined;
  }();
  return all;
}

Choice choose_variant(const Problem& problem, const DeviceLimits& limits, std::string_view device) {
  check(problem);
  std::string nearest;  // the most preferred variant of the right kind that does not fit, and why
  for (const Variant& variant : variants_of(limits.api)) {
    if (!covers_kind(variant, problem)) continue;
    std::string why;
    if (!variant.key_dim.contains(problem.key_dim) || !variant.value_dim.contains(problem.value_dim)) {
      why = std::string(variant.name) + " takes K " + std::to_string(variant.key_dim.min) + " to " +
            std::to_string(variant.key_dim.max) + " and V " + std::to_string(variant.value_dim.min) + " to " +
            std::to_string(variant.value_dim.max) + ", found K " + std::to_string(problem.key_dim) +
            " and V " + std::to_string(problem.value_dim);
    } else {
      why = variant.missing(problem, limits);
      if (why.empty()) {
        const Geometry geometry = variant.geometry(problem, limits);
        if (geometry.shared_memory_bytes() > limits.shared_memory_per_workgroup) {
          why = too_large(variant, problem, geometry, limits, device);
        } else if (geometry.workgroup_size > limits.max_workgroup_size) {
          why = std::string(variant.name) + ": workgroup of " + std::to_string(geometry.workgroup_size) +
                " > " + std::to_string(limits.max_workgroup_size) + " invocations on " + std::string(device);
        } else {
          return {&variant, geometry};
        }
      } else {
        why = std::string(variant.name) + " " + why;
      }
    }
    if (nearest.empty()) nearest = why;
  }
  if (nearest.empty()) {
    nearest = "no " + std::string(name(limits.api)) + " kernel for " + kind_of(problem) + " on " +
              std::string(device);
  }
  throw Error(ErrorKind::kRefused, nearest);
}

bool is_implemented(const Problem& problem, const DeviceLimits& limits) {
  if (limits.api == Api::kCpu) return true;
  for (const Variant& variant : variants_of(limits.api)) {
    if (covers_kind(variant, problem) && variant.missing(problem, limits).empty()) return true;
  }
  return false;
}

Occupancy predict_occupancy(const Geometry& geometry, const DeviceLimits& limits) {
  if (limits.shared_memory_per_multiprocessor == 0 || limits.max_threads_per_multiprocessor == 0) return {};
  // 32 resident workgroups is what every multiprocessor in the database can hold at most.
  constexpr std::size_t kMostWorkgroups = 32;
  // CUDA keeps 1 KB of shared memory for itself in each block.
  const std::size_t reserved = limits.api == Api::kCuda ? 1024 : 0;
  const std::size_t by_memory = limits.shared_memory_per_multiprocessor /
                                std::max<std::size_t>(geometry.shared_memory_bytes() + reserved, 1);
  const std::size_t by_threads = limits.max_threads_per_multiprocessor / geometry.workgroup_size;
  const std::size_t count = std::min({by_memory, by_threads, kMostWorkgroups});
  Occupancy occupancy;
  occupancy.workgroups_per_multiprocessor = static_cast<int>(count);
  occupancy.fraction = static_cast<double>(count * geometry.workgroup_size) /
                       static_cast<double>(limits.max_threads_per_multiprocessor);
  occupancy.limited_by = count == by_memory    ? "shared memory"
                         : count == by_threads ? "threads"
                                               : "workgroups";
  return occupancy;
}

}  // namespace statescope
