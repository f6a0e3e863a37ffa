#include "runtime/vulkan/chunked.h"

#include <algorithm>
#include <cmath>

#include <statescope/cost.h>
#include <statescope/error.h>

#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {
namespace {

using vulkan_chunked::Tiles;

constexpr std::uint32_t kTile = 16;
// Workgroups of scores a multiprocessor, two at a time: enough that the last ones do not leave others idle.
constexpr std::uint32_t kScoresWorkgroups = 8;

/// What a problem leaves between its kernels, bytes a slot (chunked.glsl).
struct SlotBytes {
  std::size_t gamma = 0, decayed = 0, whole = 0, scores = 0, system = 0, inverse = 0, states = 0,
              corrected = 0;
  std::size_t largest() const {
    return std::max({gamma, decayed, scores, system, inverse, states, corrected});
  }
};

SlotBytes slot_bytes(const Problem& p, const Tiles& tiles) {
  const auto parts = static_cast<std::size_t>(p.heads * p.expansion);
  const std::size_t chunk = tiles.chunk, element = size_of(p.dtype);
  const auto key_dim = static_cast<std::size_t>(p.key_dim), value_dim = static_cast<std::size_t>(p.value_dim);
  SlotBytes bytes;
  if (gate_per_channel(p.rule)) {
    bytes.decayed = parts * chunk * key_dim * element;
    bytes.whole = parts * key_dim * 4;
  } else if (has_gate(p.rule)) {
    bytes.gamma = parts * chunk * 4;
  }
  bytes.scores = parts * chunk * chunk * element;
  if (has_beta(p.rule)) {
    bytes.system = parts * chunk * chunk * (tiles.cooperative ? element : 4);
    bytes.inverse = bytes.scores;
  }
  bytes.states = parts * key_dim * value_dim * element;
  bytes.corrected =
      (has_beta(p.rule) ? parts : static_cast<std::size_t>(p.heads)) * chunk * value_dim * element;
  return bytes;
}

/// The most loop iterations of an invocation: a chunk of chunked_states.comp, a subhead of
/// chunked_outputs.comp.
struct LoopCount {
  std::int64_t states, outputs;
};

LoopCount loops_of(const Problem& p, const Tiles& t) {
  const std::int64_t pack = t.cooperative ? 8 : 4, depth = t.cooperative ? 16 : 4;
  const std::int64_t elements = 32;  // of a tile, in and out
  const std::int64_t row_tiles = t.chunk / kTile, key_tiles = p.key_dim / kTile;
  const std::int64_t states_columns = t.states.columns / kTile;
  const auto teams = [&](std::uint32_t workgroup) { return std::int64_t{workgroup / t.team_size}; };
  const auto stage = [&](std::int64_t columns, std::uint32_t workgroup) {
    return ceil_div(t.chunk * columns / pack, workgroup) + 1;
  };
  const std::int64_t values = ceil_div(row_tiles * states_columns, teams(t.states.invocations));
  const std::int64_t state = ceil_div(key_tiles * states_columns, teams(t.states.invocations));
  LoopCount loops;
  loops.states = stage(p.key_dim, t.states.invocations) + stage(t.states.columns, t.states.invocations) + 4 +
                 (state + 1) * (t.chunk / depth + 2 * elements) +
                 2 * values * ((p.key_dim + t.chunk) / depth + 2 * elements);
  const std::int64_t slabs = ceil_div(p.key_dim, vulkan_chunked::kSlab) + 1;
  loops.outputs = slabs * (2 * stage(vulkan_chunked::kSlab, t.workgroup_size) + 2 +
                           (row_tiles + 1) * ceil_div(vulkan_chunked::kSlab, depth));
  return loops;
}

/// Slots a launch, so that no bound is passed.
std::int64_t slots_per_launch(const Problem& p, const Tiles& tiles, std::int64_t slots,
                              const LaunchBounds& bounds) {
  // A state costs about half of all work, o the other half.
  const double launches = std::ceil(flop(p, Form::kChunked) / 2 / bounds.flop);
  const auto by_work = static_cast<std::int64_t>(std::ceil(static_cast<double>(slots) / launches));
  const auto by_bytes = static_cast<std::int64_t>(bounds.buffer_bytes / slot_bytes(p, tiles).largest());
  // A launch's slots are the same chunks of every sequence, or one sequence's chunks where they are packed.
  const std::int64_t chains = p.packed ? 1 : p.sequences;
  const std::int64_t by_loops = (bounds.loop_iterations - 1000) / loops_of(p, tiles).states * chains;
  const std::int64_t by_tokens = bounds.tokens / tiles.chunk * chains;
  const std::int64_t most = std::min({by_work, by_bytes, by_loops, by_tokens, kMostWorkgroups});
  return std::max<std::int64_t>(most / chains, 1) * chains;
}

}  // namespace

Dispatch chunked_dispatch(const Problem& p, const Choice& choice, const DeviceInfo& device,
                          const Tiles& tiles, const char* family, const std::string& kernel,
                          const Slots& slots, std::uint32_t workgroup_size, bool products) {
  Dispatch dispatch;
  dispatch.kernel = kernel_name(p, *choice.variant) + "." + kernel;
  if (slots.end - slots.begin < slots.all) dispatch.kernel += ".slots_" + std::to_string(slots.begin);
  dispatch.pipeline.module = module_name((std::string(family) + "_" + kernel).c_str(), p);
  dispatch.pipeline.workgroup_size = workgroup_size;
  dispatch.pipeline.subgroup_size = tiles.subgroup_size;
  dispatch.pipeline.constants = {{"KEY_DIM", word(p.key_dim)},
                                 {"CHUNK", tiles.chunk},
                                 {"TEAMS", workgroup_size / tiles.team_size},
                                 {"UNROLL", device.hardware}};
  const bool invert = kernel == "invert" && p.dtype != DType::kF32;  // in f16 whatever the problem's type
  const DType dtype = invert ? DType::kF16 : p.dtype;
  set_element_type(dispatch.pipeline, dtype);
  if (invert) dispatch.pipeline.constants["BFLOAT16_OUT"] = p.dtype == DType::kBf16;
  if (tiles.cooperative && products) use_matrices(dispatch.pipeline, dtype, device.limits);
  dispatch.push_constants = {
      {"seq_len", word(p.seq_len)},   {"sequences", word(p.sequences)}, {"heads", word(p.heads)},
      {"qk_heads", word(p.qk_heads)}, {"expansion", word(p.expansion)}, {"value_dim", word(p.value_dim)},
      {"packed", p.packed},           {"has_initial", p.initial_state}, {"slot_begin", word(slots.begin)},
      {"slot_end", word(slots.end)},  {"scale", word(p.scale)}};
  return dispatch;
}

std::array<std::uint32_t, 3> scores_workgroups(const Problem& p, const DeviceInfo& device, bool cooperative,
                                               std::uint32_t slots) {
  if (gate_per_channel(p.rule)) return {slots, word(p.heads * p.expansion), 1};
  if (!cooperative) return {slots, word(p.heads), word(p.expansion)};
  const std::int64_t wanted = std::int64_t{kScoresWorkgroups} * std::max(device.limits.multiprocessors, 1u);
  return {slots, word(p.heads), word(std::min(ceil_div(wanted, slots * p.heads), p.expansion))};
}

void set_gates(Dispatch& dispatch, std::uint32_t gates, std::uint32_t slots) {
  constexpr std::uint32_t kGates = 8, kStretches = 16;  // gates that share a sector, invocations a gate
  dispatch.workgroups = {word(ceil_div(gates, kGates)), slots, 1};
  dispatch.pipeline.workgroup_size = kGates * kStretches;
  dispatch.pipeline.constants["GATES"] = kGates;
  dispatch.pipeline.constants["STRETCHES"] = kStretches;
  dispatch.shared_memory_bytes = sizeof(float) * kGates * kStretches;
}

void set_serial_tile(Dispatch& dispatch, const Tiles& tiles, const vulkan_chunked::SerialTile& tile) {
  if (tiles.cooperative) {
    dispatch.pipeline.constants["SHARES"] = tile.shares;
  } else {
    dispatch.pipeline.constants["VALUE_TILE"] = tile.columns;
  }
}

Dispatches chunked(const Problem& p, const Choice& choice, const DeviceInfo& device,
                   const LaunchBounds& bounds) {
  const bool cooperative = choice.geometry.subgroup_size > 0;
  const Tiles tiles = vulkan_chunked::tiles_of(p, device.limits, cooperative);
  const std::int64_t loops = loops_of(p, tiles).outputs * p.expansion;
  if (loops > bounds.loop_iterations)
    throw Error(ErrorKind::kRefused, std::string(choice.variant->name) + ": " + std::to_string(loops) +
                                         " loop iterations an invocation > " +
                                         std::to_string(bounds.loop_iterations) + " on " + device.name);

  const std::int64_t chunks = ceil_div(p.seq_len, tiles.chunk);
  const std::int64_t slots = p.packed ? p.seq_len / tiles.chunk + p.sequences : chunks * p.sequences;
  const std::int64_t step = std::min(slots_per_launch(p, tiles, slots, bounds), slots);
  const SlotBytes bytes = slot_bytes(p, tiles);
  const auto count = static_cast<std::size_t>(step);
  Dispatches out;
  out.scratch = {{"gamma", bytes.gamma * count},        {"decayed_q", bytes.decayed * count},
                 {"decayed_k", bytes.decayed * count},  {"whole", bytes.whole * count},
                 {"scores", bytes.scores * count},      {"system", bytes.system * count},
                 {"inverse", bytes.inverse * count},    {"states", bytes.states * count},
                 {"corrected", bytes.corrected * count}};

  for (std::int64_t begin = 0; begin < slots; begin += step) {
    const std::int64_t end = std::min(begin + step, slots);
    const auto add = [&](const std::string& kernel, std::array<std::uint32_t, 3> workgroups,
                         std::uint32_t workgroup_size, std::size_t shared_bytes,
                         bool products = true) -> Dispatch& {
      out.list.push_back(chunked_dispatch(p, choice, device, tiles, "chunked", kernel, {begin, end, slots},
                                          workgroup_size, products));
      out.list.back().workgroups = workgroups;
      out.list.back().shared_memory_bytes = shared_bytes;
      return out.list.back();
    };
    const std::uint32_t here = word(end - begin), parts = word(p.heads * p.expansion);
    const std::uint32_t value_dim = word(p.value_dim);
    if (has_gate(p.rule) && !gate_per_channel(p.rule)) {
      set_gates(add("gates", {}, tiles.workgroup_size, 0, false), parts, here);
    }
    Dispatch& scores = add("scores", scores_workgroups(p, device, cooperative, here), tiles.workgroup_size,
                           tiles.scores_bytes);
    if (gate_per_channel(p.rule)) scores.pipeline.constants["LEVELS"] = tiles.scores_levels;
    if (has_beta(p.rule)) add("invert", {here, parts, 1}, tiles.invert_size, tiles.invert_bytes);
    Dispatch& states = add("states", {value_dim / tiles.states.columns, parts, word(p.sequences)},
                           tiles.states.invocations, tiles.states_bytes);
    set_serial_tile(states, tiles, tiles.states);
    Dispatch& outputs = add("outputs", {here, word(p.heads), value_dim / tiles.outputs_tile},
                            tiles.workgroup_size, tiles.outputs_bytes);
    outputs.pipeline.constants["VALUE_TILE"] = tiles.outputs_tile;
  }
  return out;
}

}  // namespace statescope::vulkan
