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
// NVIDIA's and AMD's newer; Intel's matrices are made for 8 or 16, and take 32.
constexpr std::uint32_t kMatrixSubgroup = 32;
constexpr std::uint32_t kMatrixTeams = 8;        // subgroups a workgroup, at most
constexpr std::uint32_t kFewestMatrixTeams = 4;  // a row of a chunk's tiles each
// The table of positions by which an invocation finds its elements of a cooperative matrix.
constexpr std::size_t kPositionBytes = 1024;
// Of cooperative matrices four teams carry 64 columns, or share fewer. K = V = 128 on an H200 (ms): at E 8 64
// columns 0.57, 32 0.78; at E 1, 32 chains, 0.191, 0.168, and 16 columns 0.157.
constexpr std::uint32_t kSerialColumns[] = {64, 32, 16};
constexpr std::uint32_t kSerialTeams = kFewestMatrixTeams;
constexpr std::uint32_t kOutputsTiles[] = {128, 64, 32, 16};
// Levels of gla's pairs whose rows a workgroup makes at a time.
constexpr std::uint32_t kScoresLevels = 2;
// Two teams merge a chunk's inverse, and 64 invocations take a row each.
constexpr std::uint32_t kInvertThreads = 64;
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

  if (gla) {
    const std::size_t fours = chunk / 4, panel = std::min(key_dim, 4 * (t.workgroup_size / fours));
    const std::size_t tiles_of_rows = t.scores_levels * row_cells(t, chunk, panel);
    const std::size_t near = 3 * chunk * kTile / (t.cooperative ? 8 : 4);
    const std::size_t own = chunk * panel / 16;
    t.scores_bytes =
        std::max(tiles_of_rows * kCellBytes, square + (near + own) * kCellBytes) + 4 * fours * panel;
  } else {
    t.scores_bytes = positions + square;
    if (t.cooperative) t.scores_bytes += keys + (delta ? std::max(keys, 4 * chunk * (chunk + 4)) : keys);
    if (has_gate(p.rule)) t.scores_bytes += gates;
  }
  t.invert_bytes = square + gates;

  const std::size_t columns = t.states.columns;
  if (t.cooperative) {
    const std::size_t own = std::max(row_cells(t, kTile, key_dim), 2 * row_cells(t, kTile, chunk));
    t.states_bytes = keys + columns / kTile * own * kCellBytes + (delta ? square : 0);
  } else {
    const std::size_t state = row_cells(t, columns, key_dim) * kCellBytes;
    const std::size_t blocks = chunk / kTile * (columns / kTile) * row_cells(t, kTile, kTile) * kCellBytes;
    t.states_bytes = blocks + std::max(state, blocks);
  }
  if (has_gate(p.rule) && !gla) t.states_bytes += (delta ? 3 : 1) * gates;
  if (gla) t.states_bytes += 4 * key_dim;

  t.outputs_bytes = std::max(row_cells(t, chunk, kSlab), row_cells(t, chunk, t.outputs_tile)) * kCellBytes;
  if (t.cooperative) t.outputs_bytes += row_cells(t, t.outputs_tile, kSlab) * kCellBytes;
}

}  // namespace

SerialTile serial_tile(const Problem& p, const Tiles& t, const DeviceLimits& limits,
                       const std::function<std::size_t(std::uint32_t columns)>& bytes) {
  const auto workgroups = [&](std::uint32_t columns) {
    return p.sequences * p.heads * p.expansion * p.value_dim / columns;
  };
  const std::int64_t wanted = std::int64_t{kWorkgroups} * limits.multiprocessors;
  const auto shares = [&](std::uint32_t columns) {
    std::uint32_t most = kSerialTeams * kTile / columns;
    while (t.chunk / kTile % most != 0 || p.key_dim / kTile % most != 0) most /= 2;
    return most;
  };
  SerialTile tile;
  for (const std::uint32_t columns : kSerialColumns) {
    tile = {columns, 1, t.workgroup_size};
    if (t.cooperative) {
      tile.shares = shares(columns);
      tile.invocations = columns / kTile * tile.shares * t.team_size;
    }
    const bool fits = bytes(columns) <= limits.shared_memory_per_workgroup;
    if (!fits || p.value_dim % columns != 0) continue;
    if (!t.cooperative) {
      if (workgroups(columns) >= wanted && p.key_dim * columns <= kStateElements) break;
    } else if (columns == kTile || shares(columns / 2) == tile.shares || workgroups(columns / 2) > wanted) {
      break;
    }
  }
  return tile;
}

std::size_t largest_bytes(const Problem& p, const Tiles& t) {
  return std::max({t.scores_bytes, has_beta(p.rule) ? t.invert_bytes : 0, t.states_bytes, t.outputs_bytes});
}

std::string matrices_missing(DType dtype, const DeviceLimits& limits) {
  const std::string type(name(dtype));
  if (dtype == DType::kF32) return "needs elements of 16 bits, found " + type;
  const bool bfloat16 = dtype == DType::kBf16;
  if (!(bfloat16 ? limits.cooperative_matrix_bf16 : limits.cooperative_matrix_f16))
    return "needs cooperative matrices of " + type + ", which the device has not";
  const MatrixShape& shape = matrix_shape(dtype, limits);
  if (!makes_tiles(shape))
    return "needs cooperative matrices with sides of 8 or 16, has " + std::to_string(shape.m) + "x" +
           std::to_string(shape.n) + "x" + std::to_string(shape.k);
  const std::uint32_t subgroup = matrix_subgroup(limits);
  if (kFewestMatrixTeams * subgroup > limits.max_workgroup_size)
    return "needs workgroups of " + std::to_string(kFewestMatrixTeams) + " subgroups of " +
           std::to_string(subgroup) + ", has " + std::to_string(limits.max_workgroup_size) + " invocations";
  // The inverse of gated_delta's chunks is f16 whatever the type.
  return bfloat16 ? matrices_missing(DType::kF16, limits) : "";
}

const MatrixShape& matrix_shape(DType dtype, const DeviceLimits& limits) {
  return dtype == DType::kBf16 ? limits.matrix_bf16 : limits.matrix_f16;
}

bool makes_tiles(const MatrixShape& shape) {
  const auto fits = [](std::uint32_t side) { return side == kTile || side == kTile / 2; };
  return fits(shape.m) && fits(shape.n) && fits(shape.k);
}

std::uint32_t matrix_subgroup(const DeviceLimits& limits) {
  return std::clamp(kMatrixSubgroup, limits.subgroup_min, limits.subgroup_max);
}

Tiles tiles_of(const Problem& problem, const DeviceLimits& limits, bool cooperative,
               std::uint32_t most_chunk) {
  const auto value_dim = static_cast<std::uint32_t>(problem.value_dim);
  Tiles t;
  t.cooperative = cooperative;
  const std::uint32_t subgroup = matrix_subgroup(limits);
  t.workgroup_size = std::bit_floor(std::min(kThreads, limits.max_workgroup_size));
  if (cooperative) t.workgroup_size = std::min(t.workgroup_size, kMatrixTeams * subgroup);
  t.subgroup_size = cooperative ? subgroup : 0;
  t.team_size = cooperative ? subgroup : kTeamThreads;
  t.invert_size = kInvertThreads;

  const auto fits = [&](std::size_t bytes) { return bytes <= limits.shared_memory_per_workgroup; };
  for (std::uint32_t chunk : kChunks) {
    if (chunk > most_chunk) continue;
    t.chunk = chunk;
    for (t.scores_levels = kScoresLevels; t.scores_levels > 1; --t.scores_levels) {
      count_bytes(problem, t);
      if (fits(t.scores_bytes)) break;
    }
    t.states = serial_tile(problem, t, limits, [&](std::uint32_t columns) {
      t.states.columns = columns;
      count_bytes(problem, t);
      return t.states_bytes;
    });
    for (std::uint32_t tile : kOutputsTiles) {
      t.outputs_tile = tile;
      count_bytes(problem, t);
      if (value_dim % tile == 0 && tile / kTile <= t.workgroup_size / t.team_size && fits(t.outputs_bytes))
        break;
    }
    if (fits(largest_bytes(problem, t))) break;
  }
  return t;
}

}  // namespace statescope::vulkan_chunked
