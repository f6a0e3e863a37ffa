// comparison.comp and sum_subheads.comp.
#include <algorithm>

#include "runtime/vulkan/kernel_parts.h"

namespace statescope::vulkan {

Dispatches comparison(const Problem& p, const Choice& choice, const LaunchBounds& bounds) {
  const Geometry& g = choice.geometry;
  Dispatches out;
  const bool several = p.expansion > 1;
  // comparison.comp: its rows twice a token, staging them, two sums over the segments.
  const std::int64_t rows = p.key_dim / g.lanes + 1;
  const TokenLoops loops{2 * rows + 13 * (p.key_dim / 4 / g.workgroup_size + 1) + 2 * g.lanes + 2, 2 * rows};
  const auto subhead_o_bytes =
      static_cast<std::size_t>(p.batch * p.seq_len * p.heads * p.expansion * p.value_dim) * 4;
  out.scratch.push_back({"subhead_o", several ? subhead_o_bytes : 0});
  for_each_stretch(p, tokens_per_launch(p, loops, bounds), [&](const Stretch& stretch) {
    Dispatch dispatch;
    dispatch.kernel = kernel_name(p, *choice.variant) + stretch.suffix;
    dispatch.pipeline.module = module_name("comparison", p);
    dispatch.pipeline.workgroup_size = g.workgroup_size;
    dispatch.pipeline.constants = {
        {"KEY_DIM", word(p.key_dim)}, {"VALUE_DIM", word(p.value_dim)}, {"SEGMENTS", g.lanes}};
    set_element_type(dispatch.pipeline, p.dtype);
    dispatch.push_constants = sizes(p);
    dispatch.push_constants["subhead_begin"] = 0;
    set_stretch(dispatch, p, stretch);
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

}  // namespace statescope::vulkan
