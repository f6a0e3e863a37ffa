#include "runtime/vulkan_chunked.h"

#include <algorithm>
#include <bit>

namespace statescope::vulkan_chunked {
namespace {

// Shared memory is counted in cells of 16 bytes: four float32, or eight 16-bit elements of cooperative
// matrices.
constexpr std::size_t kCellBytes = 16;
constexpr std::uint32_t kTile = 16;
// Eight subgroups of 32, or 16 teams of 16 invocations: every device but the smallest has as many.
constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kTeamThreads = 16;
constexpr std::uint32_t kMatrixSubgroup = 32;
// The table of positions by which an invocation finds its elements of a cooperative matrix.
constexpr std::size_t kPositionBytes = 1024;
// 64 columns at K = 128 were slower on an H200 than twice the workgroups of 32.
constexpr std::uint32_t kStatesTiles[] = {32, 16};
constexpr std::uint32_t kOutputsTiles[] = {128, 64, 32, 16};
// Elements of a state that 256 invocations keep without cooperative matrices: 4 x 4 each. Twice as many spill
// on RDNA3.
constexpr std::int64_t kStateElements = 4096;
// 64 tokens: longer chunks only add work within the chunk, shorter ones states between them.
constexpr std::uint32_t kChunks[] = {64, 32, 16};
// Workgroups a multiprocessor that hide each other's waiting, where the figures are known.
constexpr std::uint32_t kWorkgroups = 2;

/// Cells of a tile of rows; one cell more a row puts rows in different banks.
std::size_t row_cells(const Tiles& tiles, std::size_t rows, std::size_t columns) {
  return rows * (columns / (tiles.cooperative ? 8 : 4) + 1);
}

void count_bytes(const Problem& p, Tiles& t) {
  const std::size_t chunk = t.chunk, key_dim = static_cast<std::size_t>(p.key_dim);
  const bool gla = p.rule == Rule::kGla, delta = p.rule == Rule::kGatedDelta;
  const std::size_t positions = t.cooperative ? kPositionBytes : 0;
  const std::size_t keys = row_cells(t, chunk, key_dim) * kCellBytes;
  const std::size_t gates = chunk * 4;

  const std::size_t square = row_cells(t, chunk, chunk) * kCellBytes;

  t.scores_bytes = positions + square;
  if (gla) t.scores_bytes += keys + 4 * std::size_t(t.workgroup_size);
  if (!gla && t.cooperative) t.scores_bytes += 2 * keys;
  if (!gla && has_gate(p.rule)) t.scores_bytes += gates;
  t.prepare_bytes = positions + (t.cooperative ? keys : 0) + 4 * chunk * (chunk + 4) + 2 * gates;

  const std::size_t blocks =
      chunk / kTile * (t.states_tile / kTile) * row_cells(t, kTile, kTile) * kCellBytes;
  const std::size_t state = row_cells(t, t.states_tile, key_dim) * kCellBytes;
  t.states_bytes = positions + (t.cooperative ? keys : 0) + blocks + std::max(state, blocks);
  if (delta && t.cooperative) t.states_bytes += square;
  if (has_gate(p.rule) && !gla) t.states_bytes += (delta ? 3 : 1) * gates;
  if (gla) t.states_bytes += 4 * key_dim;

  t.outputs_bytes = positions + std::max({keys, square, row_cells(t, chunk, t.outputs_tile) * kCellBytes});
  if (t.cooperative) t.outputs_bytes += row_cells(t, t.outputs_tile, std::max(key_dim, chunk)) * kCellBytes;
}

}  // namespace

std::size_t largest_bytes(const Problem& p, const Tiles& t) {
  return std::max({t.scores_bytes, has_beta(p.rule) ? t.prepare_bytes : 0, t.states_bytes, t.outputs_bytes});
}

Tiles tiles_of(const Problem& problem, const DeviceLimits& limits, bool cooperative) {
  const auto value_dim = static_cast<std::uint32_t>(problem.value_dim);
  Tiles t;
  t.cooperative = cooperative;
  t.workgroup_size = std::bit_floor(std::min(kThreads, limits.max_workgroup_size));
  t.subgroup_size = cooperative ? kMatrixSubgroup : 0;
  t.teams = t.workgroup_size / (cooperative ? kMatrixSubgroup : kTeamThreads);

  const auto chains = static_cast<std::uint32_t>(
      std::min<std::int64_t>(problem.sequences * problem.heads * problem.expansion, 1 << 20));
  const auto fits = [&](std::size_t bytes) { return bytes <= limits.shared_memory_per_workgroup; };
  for (std::uint32_t chunk : kChunks) {
    t.chunk = chunk;
    for (std::uint32_t tile : kStatesTiles) {
      t.states_tile = tile;
      count_bytes(problem, t);
      const bool enough = chains * (value_dim / tile) >= kWorkgroups * limits.multiprocessors;
      const bool in_registers = cooperative || problem.key_dim * tile <= kStateElements;
      if (value_dim % tile == 0 && fits(t.states_bytes) && enough && in_registers) break;
    }
    for (std::uint32_t tile : kOutputsTiles) {
      t.outputs_tile = tile;
      count_bytes(problem, t);
      if (value_dim % tile == 0 && tile / kTile <= t.teams && fits(t.outputs_bytes)) break;
    }
    if (fits(largest_bytes(problem, t))) break;
  }
  return t;
}

}  // namespace statescope::vulkan_chunked
