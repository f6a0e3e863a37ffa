#include "runtime/vulkan/kernels.h"

#include <algorithm>
#include <cmath>

#include <statescope/cost.h>

namespace statescope::vulkan {
namespace {

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

/// Only modules of 16-bit elements have the constant that tells the two types apart.
void set_element_type(PipelineRequest& request, DType dtype) {
  if (dtype != DType::kF32) request.constants["BFLOAT16"] = dtype == DType::kBf16;
}

/// What recurrence.glsl asks for.
std::map<std::string, std::uint32_t> sizes(const Problem& p) {
  return {{"seq_len", word(p.seq_len)},     {"heads", word(p.heads)},         {"qk_heads", word(p.qk_heads)},
          {"expansion", word(p.expansion)}, {"value_dim", word(p.value_dim)}, {"packed", p.packed},
          {"scale", word(p.scale)}};
}

/// The most loop iterations of an invocation: some a token, and some for the state's way in and out.
struct LoopCount {
  std::int64_t per_token, per_launch;
};

/// Tokens a launch, so that no bound is passed.
std::int64_t tokens_per_launch(const Problem& problem, const LoopCount& loops, const LaunchBounds& bounds) {
  const double launches =
      std::max(std::ceil(flop(problem, Form::kRecurrent) / bounds.flop),
               std::ceil(static_cast<double>(problem.seq_len) / static_cast<double>(bounds.tokens)));
  const auto by_work = static_cast<std::int64_t>(std::ceil(static_cast<double>(problem.seq_len) / launches));
  const std::int64_t by_loops = (bounds.loop_iterations - loops.per_launch) / loops.per_token;
  return std::max<std::int64_t>(std::min(by_work, by_loops), 1);
}

/// Calls add(first token, end, name) for each stretch of tokens; the name is empty where there is only one.
template <typename Add>
void for_each_stretch(const Problem& problem, const LoopCount& loops, const LaunchBounds& bounds, Add add) {
  const std::int64_t step = tokens_per_launch(problem, loops, bounds);
  for (std::int64_t begin = 0; begin < problem.seq_len; begin += step) {
    const std::int64_t end = std::min(begin + step, problem.seq_len);
    add(begin, end, step < problem.seq_len ? ".tokens_" + std::to_string(begin) : std::string());
  }
}

void set_stretch(Dispatch& dispatch, const Problem& problem, std::int64_t begin, std::int64_t end) {
  const bool in_ht = problem.pass == Pass::kStep || begin > 0;
  dispatch.aliases["initial"] = in_ht ? "ht" : "h0";
  dispatch.push_constants["has_initial"] = in_ht || problem.initial_state;
  dispatch.push_constants["token_begin"] = word(begin);
  dispatch.push_constants["token_end"] = word(end);
}

std::string kernel_name(const Problem& p, const Variant& variant) {
  return std::string(variant.name) + "." + std::string(name(p.rule)) + "." + std::string(name(p.pass));
}

std::size_t float_o_bytes(const Problem& p) {
  return static_cast<std::size_t>(p.batch * p.seq_len * p.heads * p.value_dim) * 4;
}

Dispatches recurrent(const Problem& p, const Choice& choice, const DeviceInfo& device,
                     const LaunchBounds& bounds) {
  const Geometry& g = choice.geometry;
  Dispatches out;
  const bool several = g.subheads < p.expansion;
  // recurrent.comp: rows twice and quads of rows once a token, two butterflies, the sum over subheads.
  const std::int64_t rows = p.key_dim / g.lanes + 4;
  const LoopCount loops{2 * rows + rows / 4 + 2 * 6 + 2 * (g.subheads + 2), 2 * rows};
  out.scratch.push_back({"running_sum", several ? float_o_bytes(p) : 0});
  for_each_stretch(p, loops, bounds, [&](std::int64_t begin, std::int64_t end, const std::string& suffix) {
    for (std::int64_t subhead = 0; subhead < p.expansion; subhead += g.subheads) {
      Dispatch dispatch;
      dispatch.kernel = kernel_name(p, *choice.variant) + suffix;
      if (several) dispatch.kernel += ".subheads_" + std::to_string(subhead);
      dispatch.pipeline.module =
          module_name("recurrent", p) + (device.limits.subgroup_shuffle ? ".shuffle" : "");
      dispatch.pipeline.workgroup_size = g.workgroup_size;
      dispatch.pipeline.subgroup_size = device.limits.subgroup_shuffle ? g.subgroup_size : 0;
      dispatch.pipeline.constants = {{"KEY_DIM", word(p.key_dim)}, {"VALUE_TILE", g.value_tile},
                                     {"LANES", g.lanes},           {"SUBHEADS", g.subheads},
                                     {"BLOCK", g.chunk},           {"UNROLL", device.hardware}};
      set_element_type(dispatch.pipeline, p.dtype);
      dispatch.push_constants = sizes(p);
      dispatch.push_constants["subhead_begin"] = word(subhead);
      set_stretch(dispatch, p, begin, end);
      dispatch.workgroups = g.workgroups;
      dispatch.shared_memory_bytes = g.shared_memory_bytes();
      out.list.push_back(std::move(dispatch));
    }
  });
  return out;
}

Dispatches comparison(const Problem& p, const Choice& choice, const LaunchBounds& bounds) {
  const Geometry& g = choice.geometry;
  Dispatches out;
  const bool several = p.expansion > 1;
  // comparison.comp: its rows twice a token, staging them, two sums over the segments.
  const std::int64_t rows = p.key_dim / g.lanes + 1;
  const LoopCount loops{2 * rows + 13 * (p.key_dim / 4 / g.workgroup_size + 1) + 2 * g.lanes + 2, 2 * rows};
  out.scratch.push_back(
      {"subhead_o", several ? float_o_bytes(p) * static_cast<std::size_t>(p.expansion) : 0});
  for_each_stretch(p, loops, bounds, [&](std::int64_t begin, std::int64_t end, const std::string& suffix) {
    Dispatch dispatch;
    dispatch.kernel = kernel_name(p, *choice.variant) + suffix;
    dispatch.pipeline.module = module_name("comparison", p);
    dispatch.pipeline.workgroup_size = g.workgroup_size;
    dispatch.pipeline.constants = {
        {"KEY_DIM", word(p.key_dim)}, {"VALUE_DIM", word(p.value_dim)}, {"SEGMENTS", g.lanes}};
    set_element_type(dispatch.pipeline, p.dtype);
    dispatch.push_constants = sizes(p);
    dispatch.push_constants["subhead_begin"] = 0;
    set_stretch(dispatch, p, begin, end);
    dispatch.workgroups = g.workgroups;
    dispatch.shared_memory_bytes = g.shared_memory_bytes();
    out.list.push_back(std::move(dispatch));
  });
  if (several) {
    constexpr std::uint32_t kThreads = 128;  // the most that every device has
    const std::uint32_t quads = word(p.batch * p.seq_len * p.heads * p.value_dim / 4);
    Dispatch sum;
    sum.kernel = kernel_name(p, *choice.variant) + ".sum_subheads";
    sum.pipeline.module = "sum_subheads." + std::to_string(8 * size_of(p.dtype));
    sum.pipeline.workgroup_size = kThreads;
    set_element_type(sum.pipeline, p.dtype);
    sum.push_constants = {{"quads", quads},
                          {"expansion", word(p.expansion)},
                          {"value_dim", word(p.value_dim)},
                          {"scale", word(p.scale)}};
    sum.workgroups = {std::min((quads + kThreads - 1) / kThreads, 65535u), 1, 1};
    out.list.push_back(std::move(sum));
  }
  return out;
}

}  // namespace

LaunchBounds launch_bounds(const PhysicalDevice& physical) {
  LaunchBounds bounds;
  if (physical.driver == VK_DRIVER_ID_MESA_LLVMPIPE) bounds.loop_iterations = 65000;
  return bounds;
}

Dispatches dispatches_of(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                         const LaunchBounds& bounds) {
  return problem.series == Series::kComparison ? comparison(problem, choice, bounds)
                                               : recurrent(problem, choice, device, bounds);
}

}  // namespace statescope::vulkan
