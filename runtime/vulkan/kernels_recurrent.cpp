// recurrent.comp, recurrent_step.comp, recurrent_reverse.comp and recurrent_gradients.comp: every rule and
// pass, token by token.
#include <algorithm>

#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_tiles.h"

namespace statescope::vulkan {
namespace {

constexpr std::int64_t kChunk = vulkan_tiles::kGradientChunk;

/// The pipeline of a scan over tokens (recurrent_tile.glsl).
PipelineRequest scan_pipeline(const char* family, const Problem& p, const Geometry& g,
                              const DeviceInfo& device) {
  PipelineRequest request;
  request.module = module_name(family, p) + (device.limits.subgroup_shuffle ? ".shuffle" : "");
  request.workgroup_size = g.workgroup_size;
  request.subgroup_size = device.limits.subgroup_shuffle ? g.subgroup_size : 0;
  request.constants = {{"KEY_DIM", word(p.key_dim)}, {"VALUE_TILE", g.value_tile},
                       {"LANES", g.lanes},           {"SUBHEADS", g.subheads},
                       {"BLOCK", g.chunk},           {"UNROLL", device.hardware}};
  set_element_type(request, p.dtype);
  return request;
}

/// Rows twice and quads of rows once a token, two butterflies, the sum over subheads; backward also stores a
/// chunk's state.
TokenLoops scan_loops(const Problem& p, const Geometry& g) {
  const std::int64_t rows = p.key_dim / g.lanes + 4;
  return {3 * rows + rows / 4 + 2 * 6 + 2 * (g.subheads + 2), 2 * rows};
}

/// Calls add(subhead) for the first of the subheads of each launch.
template <typename Add>
void for_each_group(const Problem& p, const Geometry& g, Add add) {
  for (std::int64_t subhead = 0; subhead < p.expansion; subhead += g.subheads) add(subhead);
}

std::string group_suffix(const Problem& p, const Geometry& g, std::int64_t subhead) {
  return g.subheads < p.expansion ? ".subheads_" + std::to_string(subhead) : std::string();
}

Scratch running_sum(const Problem& p, const Geometry& g) {
  const bool several = g.subheads < p.expansion;
  return {"running_sum",
          several ? static_cast<std::size_t>(p.batch * p.seq_len * p.heads * p.value_dim) * 4 : 0};
}

}  // namespace

Dispatches recurrent(const Problem& p, const Choice& choice, const DeviceInfo& device,
                     const LaunchBounds& bounds) {
  const Geometry& g = choice.geometry;
  Dispatches out;
  out.scratch.push_back(running_sum(p, g));
  for_each_stretch(p, tokens_per_launch(p, scan_loops(p, g), bounds), [&](const Stretch& stretch) {
    for_each_group(p, g, [&](std::int64_t subhead) {
      Dispatch dispatch;
      dispatch.kernel = kernel_name(p, *choice.variant) + stretch.suffix + group_suffix(p, g, subhead);
      dispatch.pipeline = scan_pipeline("recurrent", p, g, device);
      dispatch.push_constants = sizes(p);
      dispatch.push_constants["subhead_begin"] = word(subhead);
      set_stretch(dispatch, p, stretch);
      dispatch.workgroups = g.workgroups;
      dispatch.shared_memory_bytes = g.shared_memory_bytes();
      out.list.push_back(std::move(dispatch));
    });
  });
  return out;
}

Dispatches recurrent_step(const Problem& p, const Choice& choice, const DeviceInfo& device) {
  const Geometry& g = choice.geometry;
  Dispatch dispatch;
  dispatch.kernel = kernel_name(p, *choice.variant);
  dispatch.pipeline.module = module_name("recurrent_step", p);
  dispatch.pipeline.workgroup_size = g.workgroup_size;
  dispatch.pipeline.constants = {{"KEY_DIM", word(p.key_dim)},
                                 {"VALUE_TILE", g.value_tile},
                                 {"GROUPS", g.lanes},
                                 {"SLICES", g.subheads},
                                 {"UNROLL", device.hardware}};
  set_element_type(dispatch.pipeline, p.dtype);
  dispatch.push_constants = sizes(p);
  dispatch.push_constants["subhead_begin"] = 0;
  set_stretch(dispatch, p, {0, p.seq_len, ""});
  dispatch.workgroups = g.workgroups;
  dispatch.shared_memory_bytes = g.shared_memory_bytes();
  return {{std::move(dispatch)}, {}};
}

// The scans keep the state before, and the gradient after, every chunk of 16 tokens. Where that is too much
// memory, or too long a launch, the sequences are cut into stretches: forward once to their ends, then one
// after the other from the last, each forward again with its chunks kept.
Dispatches recurrent_backward(const Problem& p, const Choice& choice, const DeviceInfo& device,
                              const LaunchBounds& bounds) {
  const Geometry& g = choice.geometry;
  const std::size_t chunk_bytes = states_bytes(p) / static_cast<std::size_t>(p.sequences);
  const auto chunks = [&](std::int64_t tokens) {  // as recurrence.glsl numbers them
    const std::int64_t slots = p.sequences * ((tokens + kChunk - 1) / kChunk);
    return p.packed ? std::min(slots, p.seq_len / kChunk + p.sequences) : slots;
  };
  std::int64_t length = tokens_per_launch(p, scan_loops(p, g), bounds, kChunk);
  while (length > kChunk && static_cast<std::size_t>(chunks(length)) * chunk_bytes > bounds.buffer_bytes)
    length = (length / 2 + kChunk - 1) / kChunk * kChunk;
  std::vector<Stretch> stretches;
  for_each_stretch(p, length, [&](const Stretch& stretch) { stretches.push_back(stretch); });
  const std::int64_t most_chunks = chunks(std::min(length, p.seq_len));

  Dispatches out;
  const std::size_t kept = static_cast<std::size_t>(most_chunks) * chunk_bytes;
  const bool delta = p.rule == Rule::kGatedDelta;
  const std::size_t corrections =
      delta ? static_cast<std::size_t>(p.batch * p.seq_len * p.heads * p.expansion * p.value_dim) * 4 : 0;
  const bool wants_dh0 = takes_part(p, Slot::kDh0);
  out.scratch = {{"states", kept},
                 {"gradients", kept},
                 {"w", corrections},
                 {"du", corrections},
                 {"boundaries", stretches.size() * states_bytes(p)},
                 {"running_gradient", wants_dh0 ? 0 : states_bytes(p)},
                 running_sum(p, g)};

  const auto dispatch_of = [&](const char* step, const Stretch& stretch, bool keep) {
    Dispatch dispatch;
    dispatch.kernel = kernel_name(p, *choice.variant) + "." + step + stretch.suffix;
    dispatch.push_constants = sizes(p);
    dispatch.push_constants["subhead_begin"] = 0;
    dispatch.push_constants["has_initial"] = 0;
    dispatch.push_constants["token_begin"] = word(stretch.begin);
    dispatch.push_constants["token_end"] = word(stretch.end);
    dispatch.push_constants["sequences"] = word(p.sequences);
    dispatch.push_constants["initial_slot"] = dispatch.push_constants["final_slot"] = 0;
    dispatch.push_constants["chunk_slots"] =
        keep ? word((stretch.end - stretch.begin + kChunk - 1) / kChunk) : 0;
    dispatch.aliases["d_o"] = "do";
    return dispatch;
  };
  const auto add_scan = [&](Dispatch dispatch, const char* family, std::size_t shared_memory_bytes) {
    dispatch.pipeline = scan_pipeline(family, p, g, device);
    dispatch.workgroups = g.workgroups;
    dispatch.shared_memory_bytes = shared_memory_bytes;
    const std::string kernel = dispatch.kernel;
    for_each_group(p, g, [&](std::int64_t subhead) {
      dispatch.kernel = kernel + group_suffix(p, g, subhead);
      dispatch.push_constants["subhead_begin"] = word(subhead);
      out.list.push_back(dispatch);
    });
  };
  const auto add_states = [&](std::size_t i, bool keep) {
    Dispatch states = dispatch_of(keep ? "states" : "boundaries", stretches[i], keep);
    states.aliases["initial"] = i > 0 ? "boundaries" : "h0";
    states.aliases["ht"] = "boundaries";
    states.push_constants["has_initial"] = i > 0 || p.initial_state;
    states.push_constants["initial_slot"] = i > 0 ? word(static_cast<std::int64_t>(i) - 1) : 0;
    states.push_constants["final_slot"] = word(static_cast<std::int64_t>(i));
    add_scan(std::move(states), "recurrent_states", 0);
  };

  for (std::size_t i = 0; i + 1 < stretches.size(); ++i) add_states(i, false);
  for (std::size_t i = stretches.size(); i-- > 0;) {
    add_states(i, true);

    const std::string running = wants_dh0 ? "dh0" : "running_gradient";
    const bool last = i + 1 == stretches.size();
    Dispatch reverse = dispatch_of("reverse", stretches[i], true);
    reverse.aliases["initial"] = last ? "dht" : running;
    reverse.aliases["ht"] = running;
    reverse.push_constants["has_initial"] = !last || p.final_state_gradient;
    add_scan(std::move(reverse), "recurrent_reverse", vulkan_tiles::partial_sum_bytes(g));

    Dispatch gradients = dispatch_of("gradients", stretches[i], true);
    gradients.pipeline.module = module_name("recurrent_gradients", p);
    gradients.pipeline.workgroup_size = static_cast<std::uint32_t>(p.key_dim);
    gradients.pipeline.constants = {{"KEY_DIM", word(p.key_dim)}, {"UNROLL", device.hardware}};
    set_element_type(gradients.pipeline, p.dtype);
    gradients.workgroups = {word(chunks(stretches[i].end - stretches[i].begin)), word(p.qk_heads),
                            word(p.expansion)};
    gradients.shared_memory_bytes = vulkan_tiles::gradient_bytes(p.key_dim);
    out.list.push_back(std::move(gradients));
  }
  return out;
}

}  // namespace statescope::vulkan
