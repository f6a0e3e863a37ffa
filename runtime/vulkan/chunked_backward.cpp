// The chunked backward as dispatches. How to read its kernels, in their order:
//   chunked_gates, chunked_scores, chunked_invert, chunked_states   as forward's: γ, P, the inverse, every
//   state chunked_reverse         serially from the last chunk: the gradient of the state after each
//   chunked_values          dv, summed over the subheads; of gated_delta chunked_corrections
//   chunked_pairs           M and N, by which tokens of a chunk take part in each other's gradients
//   chunked_gradients       dq, dk and the ways of dg and dbeta through the states
//   chunked_gate_gradients  dg and dbeta
// Where the states of all chunks are too much memory, or too long a launch, the slots are cut into stretches:
// forward once to their ends, then one after the other from the last, each forward again with its states
// kept.
#include <algorithm>
#include <cmath>

#include <statescope/cost.h>

#include "runtime/vulkan/chunked.h"
#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_chunked_backward.h"

namespace statescope::vulkan {
namespace {

using vulkan_chunked::BackwardTiles;
using vulkan_chunked::kThroughs;

constexpr std::int64_t kTile = 16;

/// What a problem leaves between its kernels, bytes a slot.
std::vector<Scratch> slot_bytes(const Problem& p, const BackwardTiles& tiles) {
  const auto heads = static_cast<std::size_t>(p.heads),
             parts = static_cast<std::size_t>(p.heads * p.expansion);
  const std::size_t chunk = tiles.forward.chunk, element = size_of(p.dtype);
  const auto key_dim = static_cast<std::size_t>(p.key_dim), value_dim = static_cast<std::size_t>(p.value_dim);
  const bool gla = p.rule == Rule::kGla, delta = has_beta(p.rule), ways = has_gate(p.rule) && !gla;
  const std::size_t square = chunk * chunk * element, state = key_dim * value_dim * element,
                    values = chunk * value_dim * element, keys = chunk * key_dim * element;
  const auto if_used = [](bool used, std::size_t bytes) { return used ? bytes : 0; };
  return {{"gamma", if_used(ways, parts * chunk * 4)},
          {"decayed_q", if_used(gla, parts * keys)},
          {"decayed_k", if_used(gla, parts * keys)},
          {"scores", parts * square},
          {"whole", if_used(gla, parts * key_dim * 4)},
          {"system", if_used(delta, parts * chunk * chunk * (tiles.forward.cooperative ? element : 4))},
          {"gram", if_used(delta, parts * square)},
          {"inverse", if_used(delta, parts * square)},
          {"states", parts * state},
          {"corrected", (delta ? parts : heads) * values},
          {"gradients", parts * state},
          {"corrections", if_used(delta, parts * values)},
          {"pairs", (ways ? parts : heads) * square},
          {"key_pairs", if_used(delta, parts * square)},
          {"pair_ways", if_used(ways, parts * 2 * chunk * 4)},
          {"state_ways", if_used(ways, parts * (key_dim / tiles.key_tile) * (2 * chunk + kThroughs) * 4)}};
}

/// The most loop iterations of an invocation of chunked_reverse.comp, a chunk: more than those of
/// chunked_states.comp.
std::int64_t reverse_loops(const Problem& p, const BackwardTiles& t) {
  const std::int64_t depth = t.forward.cooperative ? 16 : 4, pack = t.forward.cooperative ? 8 : 4;
  const std::int64_t chunk = t.forward.chunk, tile = t.reverse.columns, elements = 32;
  const auto stage = [&](std::int64_t cells) { return ceil_div(cells / pack, t.forward.workgroup_size) + 1; };
  const std::int64_t teams = t.reverse.invocations / t.forward.team_size;
  const std::int64_t state_tiles = ceil_div(p.key_dim / kTile * (tile / kTile), teams);
  const std::int64_t value_tiles = ceil_div(chunk / kTile * (tile / kTile), teams);
  return 2 * stage(chunk * p.key_dim) + 6 * stage(chunk * tile) + stage(tile * p.key_dim) + 4 +
         (state_tiles + 1) * (2 * chunk / depth + 2 * elements) +
         3 * value_tiles * ((p.key_dim + 2 * chunk) / depth + 2 * elements);
}

/// Slots a launch, so that no bound is passed: the same chunks of every sequence, or one sequence's chunks
/// where they are packed.
std::int64_t slots_per_launch(const Problem& p, const BackwardTiles& tiles, std::int64_t slots,
                              const LaunchBounds& bounds) {
  const double launches = std::ceil(flop(p, Form::kChunked) / 3 / bounds.flop);
  const auto by_work = static_cast<std::int64_t>(std::ceil(static_cast<double>(slots) / launches));
  std::size_t largest = 0;
  for (const Scratch& scratch : slot_bytes(p, tiles)) largest = std::max(largest, scratch.bytes);
  const auto by_bytes = static_cast<std::int64_t>(bounds.buffer_bytes / largest);
  const std::int64_t chains = p.packed ? 1 : p.sequences;
  const std::int64_t by_loops = (bounds.loop_iterations - 1000) / reverse_loops(p, tiles) * chains;
  const std::int64_t by_tokens = bounds.tokens / tiles.forward.chunk * chains;
  const std::int64_t most = std::min({by_work, by_bytes, by_loops, by_tokens, kMostWorkgroups});
  return std::max<std::int64_t>(most / chains, 1) * chains;
}

}  // namespace

Dispatches chunked_backward(const Problem& p, const Choice& choice, const DeviceInfo& device,
                            const LaunchBounds& bounds) {
  const bool cooperative = choice.geometry.subgroup_size > 0, delta = has_beta(p.rule);
  const bool gla = p.rule == Rule::kGla;
  const BackwardTiles tiles = vulkan_chunked::backward_tiles_of(p, device.limits, cooperative);
  const vulkan_chunked::Tiles& forward = tiles.forward;
  const std::int64_t chunks = ceil_div(p.seq_len, forward.chunk);
  const std::int64_t slots = p.packed ? p.seq_len / forward.chunk + p.sequences : chunks * p.sequences;
  const std::int64_t step = std::min(slots_per_launch(p, tiles, slots, bounds), slots);
  const std::int64_t stretches = ceil_div(slots, step);
  const bool wants_dh0 = takes_part(p, Slot::kDh0);

  Dispatches out;
  out.scratch = slot_bytes(p, tiles);
  for (Scratch& scratch : out.scratch) scratch.bytes *= static_cast<std::size_t>(step);
  out.scratch.push_back({"boundaries", static_cast<std::size_t>(stretches) * states_bytes(p)});
  out.scratch.push_back({"running_gradient", wants_dh0 ? 0 : states_bytes(p)});

  std::int64_t stretch = 0;
  const auto add = [&](const std::string& kernel, bool of_backward, std::array<std::uint32_t, 3> workgroups,
                       std::uint32_t workgroup_size, std::size_t shared_bytes,
                       bool products = true) -> Dispatch& {
    const Slots slots_here{stretch * step, std::min((stretch + 1) * step, slots), slots};
    Dispatch dispatch =
        chunked_dispatch(p, choice, device, forward, of_backward ? "chunked_backward" : "chunked", kernel,
                         slots_here, workgroup_size, products);
    if (of_backward) {
      dispatch.push_constants["has_final"] = p.final_state_gradient;
      dispatch.push_constants["stretch"] = word(stretch);
      dispatch.aliases = {
          {"d_o", "do"}, {"ht", "boundaries"}, {"running", wants_dh0 ? "dh0" : "running_gradient"}};
    }
    dispatch.workgroups = workgroups;
    dispatch.shared_memory_bytes = shared_bytes;
    out.list.push_back(std::move(dispatch));
    return out.list.back();
  };
  const std::uint32_t parts = word(p.heads * p.expansion), value_dim = word(p.value_dim),
                      size = forward.workgroup_size;
  const auto slot_count = [&] { return word(std::min((stretch + 1) * step, slots) - stretch * step); };
  const auto add_states = [&](bool last) {
    const std::uint32_t here = slot_count();
    if (has_gate(p.rule) && !gla) {
      set_gates(add("gates", false, {}, size, 0, false), parts, here);
    }
    if (last || delta || gla) {
      Dispatch& scores =
          add("scores", delta, scores_workgroups(p, device, cooperative, here), size, forward.scores_bytes);
      if (gla) scores.pipeline.constants["LEVELS"] = forward.scores_levels;
    }
    if (delta) add("invert", false, {here, parts, 1}, forward.invert_size, forward.invert_bytes);
    Dispatch& states = add("states", true, {value_dim / forward.states.columns, parts, word(p.sequences)},
                           forward.states.invocations, forward.states_bytes);
    set_serial_tile(states, forward, forward.states);
  };

  for (stretch = 0; stretch + 1 < stretches; ++stretch) add_states(false);
  for (stretch = stretches - 1; stretch >= 0; --stretch) {
    add_states(true);
    const std::uint32_t here = slot_count();
    Dispatch& reverse = add("reverse", true, {value_dim / tiles.reverse.columns, parts, word(p.sequences)},
                            tiles.reverse.invocations, tiles.reverse_bytes);
    set_serial_tile(reverse, forward, tiles.reverse);
    if (delta) {
      const std::int64_t quads = std::int64_t(forward.chunk) * p.value_dim / 4;
      add("corrections", true, {word(ceil_div(quads, size)), here, word(p.heads)}, size, 0, false);
    } else {
      // The tiles of V of a chunk read the same rows of k.
      add("values", true, {value_dim / tiles.values_tile, word(p.heads), here}, size, tiles.values_bytes)
          .pipeline.constants["VALUE_TILE"] = tiles.values_tile;
    }
    Dispatch& pairs = add("pairs", true, {here, has_gate(p.rule) && !gla ? parts : word(p.heads), 1}, size,
                          tiles.pairs_bytes);
    pairs.pipeline.constants["VALUE_DIM"] = value_dim;
    pairs.pipeline.constants["VALUE_TILE"] = tiles.columns;
    // The tiles of K of a chunk read the same rows, the subheads neighbouring ones: they come one after the
    // other.
    Dispatch& gradients =
        add("gradients", true, {word(p.key_dim) / tiles.key_tile, word(p.qk_heads * p.expansion), here},
            tiles.gradients_size, tiles.gradients_bytes);
    gradients.pipeline.constants["VALUE_TILE"] = gla ? tiles.gradient_columns : tiles.columns;
    if (!gla) {
      gradients.pipeline.constants["VALUE_DIM"] = value_dim;
      gradients.pipeline.constants["GRADIENT_TILE"] = tiles.gradient_columns;
    }
    gradients.pipeline.constants["KEY_TILE"] = tiles.key_tile;
    gradients.pipeline.constants["GROUP"] = word(p.heads / p.qk_heads);
    if (has_gate(p.rule) && !gla) {
      Dispatch& gates = add("gate_gradients", true, {here, parts / tiles.gate_subheads, 1}, size,
                            tiles.gate_gradients_bytes, false);
      gates.pipeline.workgroup_size = forward.chunk * tiles.gate_subheads;
      gates.pipeline.constants["SUBHEADS"] = tiles.gate_subheads;
      gates.pipeline.constants["KEY_TILE"] = tiles.key_tile;
    }
  }
  return out;
}

}  // namespace statescope::vulkan
