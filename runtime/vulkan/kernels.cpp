#include "runtime/vulkan/kernels.h"

#include <algorithm>
#include <cmath>

#include <statescope/cost.h>

#include "runtime/vulkan/chunked.h"
#include "runtime/vulkan/front_end.h"
#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {
namespace {

// Of the small integrated GPU that LaunchBounds speaks of.
constexpr std::uint32_t kIntegratedMultiprocessors = 8;
constexpr std::uint32_t kTile = 16;  // of matrices.glsl

}  // namespace

std::uint32_t word(std::int64_t x) {
  return static_cast<std::uint32_t>(x);
}
std::uint32_t word(float x) {
  return std::bit_cast<std::uint32_t>(x);
}

std::string module_name(const char* family, const Problem& problem) {
  const int bits = static_cast<int>(8 * size_of(problem.dtype));
  return std::string(family) + "." + std::string(name(problem.rule)) + "." + std::to_string(bits);
}

std::string kernel_name(const Problem& p, const Variant& variant) {
  return std::string(variant.name) + "." + std::string(name(p.rule)) + "." + std::string(name(p.pass));
}

void set_element_type(PipelineRequest& request, DType dtype) {
  if (dtype != DType::kF32) request.constants["BFLOAT16"] = dtype == DType::kBf16;
}

void use_matrices(PipelineRequest& request, DType dtype, const DeviceLimits& limits) {
  const MatrixShape& shape = vulkan_chunked::matrix_shape(dtype, limits);
  const bool whole_tiles = shape.m == kTile && shape.n == kTile && shape.k == kTile;
  request.module += whole_tiles ? ".matrix" : ".matrices";
  request.subgroup_size = vulkan_chunked::matrix_subgroup(limits);
  request.bfloat16 = dtype == DType::kBf16;
  request.constants["TEAM_SIZE"] = request.subgroup_size;
  if (whole_tiles) return;
  request.constants["MATRIX_M"] = shape.m;
  request.constants["MATRIX_N"] = shape.n;
  request.constants["MATRIX_K"] = shape.k;
}

std::map<std::string, std::uint32_t> sizes(const Problem& p) {
  return {{"seq_len", word(p.seq_len)},     {"heads", word(p.heads)},         {"qk_heads", word(p.qk_heads)},
          {"expansion", word(p.expansion)}, {"value_dim", word(p.value_dim)}, {"packed", p.packed},
          {"scale", word(p.scale)}};
}

std::int64_t tokens_per_launch(const Problem& problem, const TokenLoops& loops, const LaunchBounds& bounds,
                               std::int64_t granule) {
  const double launches =
      std::max(std::ceil(flop(problem, Form::kRecurrent) / bounds.flop),
               std::ceil(static_cast<double>(problem.seq_len) / static_cast<double>(bounds.tokens)));
  const auto by_work = static_cast<std::int64_t>(std::ceil(static_cast<double>(problem.seq_len) / launches));
  const std::int64_t by_loops = (bounds.loop_iterations - loops.per_launch) / loops.per_token;
  return std::max<std::int64_t>(std::min((by_work + granule - 1) / granule, by_loops / granule), 1) * granule;
}

void set_stretch(Dispatch& dispatch, const Problem& problem, const Stretch& stretch) {
  const bool in_ht = stretch.begin > 0 || problem.pass == Pass::kStep;  // a step's state is in place
  dispatch.aliases["initial"] = in_ht ? "ht" : "h0";
  dispatch.push_constants["has_initial"] = in_ht || problem.initial_state;
  dispatch.push_constants["token_begin"] = word(stretch.begin);
  dispatch.push_constants["token_end"] = word(stretch.end);
}

std::size_t states_bytes(const Problem& p) {
  return static_cast<std::size_t>(p.sequences * p.heads * p.expansion * p.key_dim * p.value_dim) * 4;
}

LaunchBounds launch_bounds(const PhysicalDevice& physical) {
  LaunchBounds bounds;
  if (physical.driver == VK_DRIVER_ID_MESA_LLVMPIPE) bounds.loop_iterations = 65000;
  bounds.flop *= std::max(physical.info.limits.multiprocessors / kIntegratedMultiprocessors, 1u);
  bounds.buffer_bytes = physical.properties.limits.maxStorageBufferRange;
  if (physical.info.can_run)  // null hardware has no memory
    bounds.buffer_bytes = std::min<std::size_t>(bounds.buffer_bytes, device_memory_bytes(physical) / 8);
  return bounds;
}

Dispatches dispatches_of(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                         const LaunchBounds& bounds) {
  if (problem.front_end)
    return behind_front_end(problem, device, bounds,
                            dispatches_of(without_front_end(problem), choice, device, bounds));
  if (problem.series == Series::kComparison) return comparison(problem, choice, bounds);
  if (choice.variant->form == Form::kChunked)
    return problem.pass == Pass::kBackward ? chunked_backward(problem, choice, device, bounds)
                                           : chunked(problem, choice, device, bounds);
  switch (problem.pass) {
    case Pass::kBackward:
      return recurrent_backward(problem, choice, device, bounds);
    case Pass::kStep:
      return recurrent_step(problem, choice, device);
    default:
      return recurrent(problem, choice, device, bounds);
  }
}

}  // namespace statescope::vulkan
