#include "runtime/vulkan_chunked_backward.h"

#include <algorithm>

namespace statescope::vulkan_chunked {
namespace {

// As in vulkan_chunked.cpp.
constexpr std::size_t kCellBytes = 16;
constexpr std::uint32_t kTile = 16;

constexpr std::uint32_t kChunks[] = {64, 32, 16};
constexpr std::uint32_t kKeyTiles[] = {128, 64, 32, 16};
constexpr std::uint32_t kWideKeyTile = 128;  // of gla alone, by twice the invocations
constexpr std::uint32_t kGlaColumns = 32;    // of V, twice on their way
constexpr std::uint32_t kValuesTiles[] = {64, 32, 16};
// Tiles of each sum that a team keeps: five sums at once in registers.
constexpr std::uint32_t kMatrixTeamTiles = 2, kTeamTiles = 1;

void count_bytes(const Problem& p, BackwardTiles& t) {
  const Tiles& f = t.forward;
  const bool gla = p.rule == Rule::kGla, delta = has_beta(p.rule);
  const bool ways = has_gate(p.rule) && !gla;
  const std::size_t chunk = f.chunk, key_dim = static_cast<std::size_t>(p.key_dim);
  const auto cells = [&](std::size_t rows, std::size_t columns) {
    return rows * (columns / (f.cooperative ? 8 : 4) + 1);
  };
  const std::size_t square = cells(chunk, chunk), keys = cells(chunk, key_dim);

  const std::size_t gates = 4 * (delta ? 3 * chunk : ways ? chunk : gla ? key_dim : 0);
  if (f.cooperative) {
    const std::size_t own = std::max(cells(kTile, key_dim), cells(kTile, chunk) + cells(chunk, kTile));
    t.reverse_bytes = (keys + t.reverse.columns / kTile * own + (delta ? square : 0)) * kCellBytes + gates;
  } else {
    const std::size_t outputs = cells(chunk, t.reverse.columns), state = cells(t.reverse.columns, key_dim);
    const std::size_t blocks = chunk / kTile * (t.reverse.columns / kTile) * cells(kTile, kTile);
    t.reverse_bytes = (outputs + (delta ? std::max(state, outputs) + blocks : state)) * kCellBytes + gates;
  }

  const std::size_t values = cells(chunk, t.columns) * (delta ? 2 : 1) + cells(t.columns, chunk);
  const std::size_t squares = delta ? 2 : 1;
  t.pairs_bytes =
      (std::max(values, ways ? chunk * (chunk / 4 + 1) : 0) + (f.cooperative || gla ? squares * square : 0)) *
          kCellBytes +
      (ways ? (1 + (delta ? 1 : 0) + 2 * chunk / kTile) * chunk * 4 : 0);

  const std::size_t states = cells(t.columns, t.key_tile), rows = cells(chunk, t.key_tile);
  const std::size_t column_step = t.teams / (chunk / kTile);
  if (gla) {
    const std::size_t fours = chunk / 4 * (t.key_tile / 4), blocks = f.cooperative ? 2 : 1;
    const std::size_t seen = cells(chunk, t.gradient_columns) + cells(t.gradient_columns, chunk) +
                             2 * cells(t.gradient_columns, t.key_tile);
    const std::size_t totals = std::max(rows + (f.cooperative ? square : 0) + fours, 2 * rows);
    t.gradients_bytes = std::max(seen, totals + fours + blocks * cells(chunk, kTile)) * kCellBytes;
  } else {
    const std::size_t slab =
        std::max(cells(t.gradient_columns, chunk) + cells(t.gradient_columns, t.key_tile),
                 values - cells(t.columns, chunk) + states);
    const std::size_t parts = chunk * (column_step * (f.cooperative ? 16 : 4) / 4 + 1);
    t.gradients_bytes = f.cooperative ? rows + std::max(slab, rows + std::max(parts, squares * square))
                                      : std::max(slab, parts);
    t.gradients_bytes *= kCellBytes;
  }
  if (ways) t.gradients_bytes += 4 * ((delta ? 3 : 2) * chunk + f.workgroup_size);

  const std::size_t outputs = cells(chunk, t.values_tile);
  t.values_bytes = std::max({keys, square, outputs}) * kCellBytes;
  if (f.cooperative) t.values_bytes += std::max(cells(t.values_tile, key_dim), outputs) * kCellBytes;
  if (p.rule == Rule::kSsd) t.values_bytes += chunk * 4;

  t.gate_gradients_bytes = t.gate_subheads * (4 * chunk + kThroughs) * 4;
}

}  // namespace

std::size_t largest_bytes(const Problem& p, const BackwardTiles& t) {
  return std::max({largest_bytes(p, t.forward), t.reverse_bytes, t.pairs_bytes, t.gradients_bytes,
                   has_beta(p.rule) ? 0 : t.values_bytes});
}

BackwardTiles backward_tiles_of(const Problem& p, const DeviceLimits& limits, bool cooperative) {
  const auto key_dim = static_cast<std::uint32_t>(p.key_dim),
             value_dim = static_cast<std::uint32_t>(p.value_dim);
  const auto fits = [&](std::size_t bytes) { return bytes <= limits.shared_memory_per_workgroup; };
  BackwardTiles t;
  for (std::uint32_t chunk : kChunks) {
    t.forward = tiles_of(p, limits, cooperative, chunk);
    if (t.forward.chunk < chunk) continue;
    t.teams = t.forward.workgroup_size / t.forward.team_size;
    t.columns = !cooperative ? 16 : value_dim % 64 == 0 ? 64 : value_dim % 32 == 0 ? 32 : 16;
    t.gate_subheads = static_cast<std::uint32_t>(p.expansion);
    while (t.gate_subheads > 1 && t.gate_subheads * chunk > t.forward.workgroup_size) t.gate_subheads -= 1;
    while (p.expansion % t.gate_subheads != 0) t.gate_subheads -= 1;
    t.values_tile = t.key_tile = kTile;
    t.reverse = serial_tile(p, t.forward, limits, [&](std::uint32_t columns) {
      t.reverse.columns = columns;
      count_bytes(p, t);
      return t.reverse_bytes;
    });
    const bool gla = p.rule == Rule::kGla;
    for (std::uint32_t tile : kKeyTiles) {
      const std::uint32_t times = tile == kWideKeyTile ? 2 : 1;
      t.key_tile = tile;
      t.gradients_size = times * t.forward.workgroup_size;
      t.gradient_columns = gla ? std::min(t.columns, kGlaColumns) : t.columns;
      count_bytes(p, t);
      const std::uint32_t column_step = t.gradients_size / t.forward.team_size / (chunk / kTile);
      const std::uint32_t team_tiles = (tile / kTile + column_step - 1) / column_step;
      const bool wide = gla && cooperative && t.gradients_size <= limits.max_workgroup_size;
      // Of gla an invocation has four channels of four tokens.
      const bool held = !gla || chunk / 4 * (tile / 4) <= t.gradients_size;
      if (key_dim % tile == 0 && (times == 1 || wide) && held &&
          team_tiles <= (cooperative ? kMatrixTeamTiles : kTeamTiles) && fits(t.gradients_bytes))
        break;
    }
    if (!gla && cooperative && value_dim % (2 * t.columns) == 0) {
      t.gradient_columns = 2 * t.columns;
      count_bytes(p, t);
      if (!fits(t.gradients_bytes)) t.gradient_columns = t.columns;
    }
    for (std::uint32_t tile : kValuesTiles) {
      t.values_tile = tile;
      count_bytes(p, t);
      if (value_dim % tile == 0 && tile / kTile <= t.teams && fits(t.values_bytes)) break;
    }
    if (fits(largest_bytes(p, t))) break;
  }
  return t;
}

}  // namespace statescope::vulkan_chunked
