// Vulkan kernels: GLSL compute shaders of shaders/.
#include <algorithm>
#include <bit>

#include <statescope/variants.h>

#include "runtime/vulkan_tiles.h"

#include "runtime/vulkan_chunked.h"
#include "runtime/vulkan_chunked_backward.h"

namespace statescope {
namespace {

constexpr std::uint32_t kEveryRule = bits(Rule::kLinear, Rule::kSsd, Rule::kGla, Rule::kGatedDelta);
constexpr std::uint32_t kEveryType = bits(DType::kF32, DType::kBf16, DType::kF16);

constexpr std::uint32_t round_up(std::uint32_t x, std::uint32_t to) {
  return (x + to - 1) / to * to;
}

// --- recurrent.comp
// ---------------------------------------------------------------------------------------------

// 32 is the width of NVIDIA's and of AMD's newer subgroups, and a fair middle of Intel's.
constexpr std::uint32_t kSubgroup = 32;
// Eight rows a lane: two vector loads of k and of q, and a butterfly of at most five steps.
constexpr std::uint32_t kRowsPerLane = 8;
// Four columns a lane, one vector: with eight rows, 32 registers of state.
constexpr std::uint32_t kColumns = 4;
// 16 columns a workgroup: the largest tile that divides every V, and 64 bytes of each row of the state.
constexpr std::uint32_t kValueTile = 16;
// 512 threads leave 128 registers each on every GPU; 1024 would leave 64 and spill.
constexpr std::uint32_t kMostThreads = 512;
// Partial o of a block of tokens: small beside the 16 KB that every device has, so that two workgroups fit;
// at least one barrier in 16 tokens.
constexpr std::uint32_t kPartialBytes = 8192;
constexpr std::uint32_t kMostBlock = 16;

Geometry recurrent_geometry(const Problem& problem, const DeviceLimits& limits) {
  const auto key_dim = static_cast<std::uint32_t>(problem.key_dim);
  const auto value_dim = static_cast<std::uint32_t>(problem.value_dim);
  const auto expansion = static_cast<std::uint32_t>(problem.expansion);
  Geometry g;
  g.subgroup_size = std::clamp(kSubgroup, limits.subgroup_min, limits.subgroup_max);
  g.lanes = limits.subgroup_shuffle
                ? std::bit_floor(std::clamp(key_dim / kRowsPerLane, 1u, std::min(g.subgroup_size, kSubgroup)))
                : 1;
  g.columns = kColumns;

  const std::uint32_t most_threads = std::min(kMostThreads, limits.max_workgroup_size);
  const auto threads = [&](std::uint32_t tile) { return g.lanes * tile / g.columns; };  // of one subhead
  g.value_tile = kValueTile;
  // Rather half a tile than subheads in two launches.
  if (threads(kValueTile) * expansion > most_threads) g.value_tile = kValueTile / 2;
  // Rather a larger tile than idle lanes.
  while (value_dim % (2 * g.value_tile) == 0 && threads(g.value_tile) * expansion < g.subgroup_size)
    g.value_tile *= 2;

  // Subheads that do not fit run in further launches, evenly spread.
  const std::uint32_t most_subheads = std::max(most_threads / threads(g.value_tile), 1u);
  const std::uint32_t launches = (expansion + most_subheads - 1) / most_subheads;
  g.subheads = (expansion + launches - 1) / launches;
  g.workgroup_size = round_up(g.subheads * threads(g.value_tile), g.subgroup_size);
  g.workgroups = {value_dim / g.value_tile, static_cast<std::uint32_t>(problem.heads),
                  static_cast<std::uint32_t>(problem.sequences)};

  const std::uint32_t bytes_a_token = g.subheads * g.value_tile * 4;
  g.chunk =
      std::clamp(std::bit_floor(kPartialBytes / std::min(bytes_a_token, kPartialBytes)), 1u, kMostBlock);
  g.tile_bytes = vulkan_tiles::partial_sum_bytes(g);
  return g;
}

std::string recurrent_missing(const Problem& problem, const DeviceLimits&) {
  return problem.division == Division::kNaive
             ? "runs the subheads division; the naive one has comparison kernels"
             : "";
}

// A whole cache line of each row.
constexpr std::uint32_t kStepTile = 32;
// Rows a thread: 64 registers of state, all on their way at once.
constexpr std::uint32_t kStepRows = 16;
// Eight subheads side by side at K = 128: with four the step takes 4 % longer on an H200.
constexpr std::uint32_t kStepThreads = 512;

Geometry recurrent_step_geometry(const Problem& problem, const DeviceLimits& limits) {
  const auto key_dim = static_cast<std::uint32_t>(problem.key_dim);
  const auto value_dim = static_cast<std::uint32_t>(problem.value_dim);
  Geometry g;
  g.subgroup_size = std::clamp(kSubgroup, limits.subgroup_min, limits.subgroup_max);
  g.columns = kColumns;
  g.value_tile = value_dim % kStepTile == 0 ? kStepTile : kStepTile / 2;
  const std::uint32_t quads = g.value_tile / g.columns;
  g.lanes = std::bit_ceil((key_dim + kStepRows - 1) / kStepRows);  // threads that share a column
  while (g.lanes * quads > limits.max_workgroup_size) g.lanes /= 2;
  g.subheads = std::clamp(std::min(kStepThreads, limits.max_workgroup_size) / (g.lanes * quads), 1u,
                          static_cast<std::uint32_t>(problem.expansion));
  // Whole subgroups: teams without a subhead go along.
  g.workgroup_size = round_up(g.subheads * g.lanes * quads, g.subgroup_size);
  g.subheads = g.workgroup_size / (g.lanes * quads);
  g.workgroups = {value_dim / g.value_tile, static_cast<std::uint32_t>(problem.heads),
                  static_cast<std::uint32_t>(problem.sequences)};
  g.tile_bytes = std::size_t(2) * g.workgroup_size * 16;  // a quad a thread, twice
  return g;
}

// The scans as forward's; a block divides a chunk, whose gradients a kernel of K threads takes then.
Geometry recurrent_backward_geometry(const Problem& problem, const DeviceLimits& limits) {
  static_assert(kMostBlock == vulkan_tiles::kGradientChunk);
  Geometry g = recurrent_geometry(problem, limits);
  g.tile_bytes = std::max(g.tile_bytes, vulkan_tiles::gradient_bytes(problem.key_dim));
  return g;
}

std::string recurrent_backward_missing(const Problem& problem, const DeviceLimits& limits) {
  if (problem.key_dim > limits.max_workgroup_size)
    return "needs workgroups of K = " + std::to_string(problem.key_dim) + ", has " +
           std::to_string(limits.max_workgroup_size);
  return recurrent_missing(problem, limits);
}

// --- comparison.comp
// --------------------------------------------------------------------------------------------

// Threads a workgroup: enough to hide shared memory's latency, and every device has 256.
constexpr std::uint32_t kComparisonThreads = 256;
// Beyond 16 rows in parallel, adding up the segments costs more than it saves.
constexpr std::uint32_t kMostSegments = 16;

Geometry comparison_geometry(const Problem& problem, const DeviceLimits& limits) {
  const auto key_dim = static_cast<std::uint32_t>(problem.key_dim);
  const auto value_dim = static_cast<std::uint32_t>(problem.value_dim);
  const std::uint32_t threads = std::min(kComparisonThreads, limits.max_workgroup_size);
  Geometry g;
  g.value_tile = value_dim;
  g.columns = 4;
  g.lanes = std::bit_floor(std::clamp(threads / (value_dim / g.columns), 1u, kMostSegments));
  g.workgroup_size = value_dim / g.columns * g.lanes;
  g.workgroups = {static_cast<std::uint32_t>(problem.expansion), static_cast<std::uint32_t>(problem.heads),
                  static_cast<std::uint32_t>(problem.sequences)};
  g.state_bytes = std::size_t(4) * key_dim * value_dim;
  const std::size_t key_vectors = gate_per_channel(problem.rule) ? 3 : 2;  // k, q and gla's decays
  g.tile_bytes = 4 * (key_vectors * key_dim + std::size_t(g.lanes) * value_dim);
  return g;
}

// --- chunked*.comp
// -----------------------------------------------------------------------------------------------

template <bool cooperative>
Geometry chunked_geometry(const Problem& problem, const DeviceLimits& limits) {
  const vulkan_chunked::Tiles tiles = vulkan_chunked::tiles_of(problem, limits, cooperative);
  Geometry g;
  g.workgroup_size = tiles.workgroup_size;
  g.subgroup_size = tiles.subgroup_size;
  g.chunk = tiles.chunk;
  g.value_tile = tiles.states.columns;
  // Of the kernel that carries the states.
  g.workgroups = {static_cast<std::uint32_t>(problem.value_dim) / tiles.states.columns,
                  static_cast<std::uint32_t>(problem.heads * problem.expansion),
                  static_cast<std::uint32_t>(problem.sequences)};
  g.tile_bytes = vulkan_chunked::largest_bytes(problem, tiles);
  return g;
}

template <bool cooperative>
Geometry chunked_backward_geometry(const Problem& problem, const DeviceLimits& limits) {
  const auto tiles = vulkan_chunked::backward_tiles_of(problem, limits, cooperative);
  Geometry g;
  g.workgroup_size = tiles.forward.workgroup_size;
  g.subgroup_size = tiles.forward.subgroup_size;
  g.chunk = tiles.forward.chunk;
  g.value_tile = tiles.reverse.columns;
  // Of the kernel that carries the states' gradients.
  g.workgroups = {static_cast<std::uint32_t>(problem.value_dim) / tiles.reverse.columns,
                  static_cast<std::uint32_t>(problem.heads * problem.expansion),
                  static_cast<std::uint32_t>(problem.sequences)};
  g.tile_bytes = vulkan_chunked::largest_bytes(problem, tiles);
  return g;
}

std::string chunked_missing(const Problem& problem, const DeviceLimits&) {
  if (problem.division == Division::kNaive)
    return "runs the subheads division; the naive one has comparison kernels";
  if (problem.dtype != DType::kF32 && problem.seq_len < vulkan_chunked::kFewestTokens)
    return "takes " + std::to_string(vulkan_chunked::kFewestTokens) + " tokens or more of " +
           std::string(name(problem.dtype)) + ", found " + std::to_string(problem.seq_len);
  return "";
}

std::string matrix_chunked_missing(const Problem& problem, const DeviceLimits& limits) {
  const std::string missing = vulkan_chunked::matrices_missing(problem.dtype, limits);
  return missing.empty() ? chunked_missing(problem, limits) : missing;
}

std::string nothing_missing(const Problem&, const DeviceLimits&) {
  return "";
}

}  // namespace

std::span<const Variant> vulkan_variants() {
  static constexpr Variant kVariants[] = {
      {"vulkan.chunked.matrix",
       Api::kVulkan,
       Series::kProduction,
       Form::kChunked,
       kEveryRule,
       bits(Pass::kForward),
       bits(DType::kBf16, DType::kF16),
       {16, 256},
       {16, 256},
       matrix_chunked_missing,
       chunked_geometry<true>,
       "chunks of 64 tokens, or what shared memory holds, as 16 x 16 products of cooperative matrices"},
      {"vulkan.recurrent",
       Api::kVulkan,
       Series::kProduction,
       Form::kRecurrent,
       kEveryRule,
       bits(Pass::kForward),
       kEveryType,
       {16, 256},
       {16, 256},
       recurrent_missing,
       recurrent_geometry,
       "the state in registers, a column over several lanes; all subheads of a head in one workgroup, which "
       "sums o"},
      {"vulkan.chunked",
       Api::kVulkan,
       Series::kProduction,
       Form::kChunked,
       kEveryRule,
       bits(Pass::kForward),
       kEveryType,
       {16, 256},
       {16, 256},
       chunked_missing,
       chunked_geometry<false>,
       "the same chunks in float32, 4 x 4 of each tile an invocation: for every other device"},
      {"vulkan.recurrent.step",
       Api::kVulkan,
       Series::kProduction,
       Form::kRecurrent,
       kEveryRule,
       bits(Pass::kStep),
       kEveryType,
       {16, 256},
       {16, 256},
       recurrent_missing,
       recurrent_step_geometry,
       "rows of 128 bytes, 16 of them a thread's and on their way together; a head's subheads in one "
       "workgroup, so that o is summed once"},
      {"vulkan.chunked.matrix.backward",
       Api::kVulkan,
       Series::kProduction,
       Form::kChunked,
       kEveryRule,
       bits(Pass::kBackward),
       bits(DType::kBf16, DType::kF16),
       {16, 256},
       {16, 256},
       matrix_chunked_missing,
       chunked_backward_geometry<true>,
       "forward's states once more, their gradients serially from the last chunk, then dq, dk, dv, dg and "
       "dbeta of every chunk at once, as products of cooperative matrices"},
      {"vulkan.recurrent.backward",
       Api::kVulkan,
       Series::kProduction,
       Form::kRecurrent,
       kEveryRule,
       bits(Pass::kBackward),
       kEveryType,
       {16, 256},
       {16, 256},
       recurrent_backward_missing,
       recurrent_backward_geometry,
       "two scans as forward's leave the state before and its gradient after every 16 tokens; one thread a "
       "channel of K then takes the chunks side by side"},
      {"vulkan.chunked.backward",
       Api::kVulkan,
       Series::kProduction,
       Form::kChunked,
       kEveryRule,
       bits(Pass::kBackward),
       kEveryType,
       {16, 256},
       {16, 256},
       chunked_missing,
       chunked_backward_geometry<false>,
       "the same in float32, 4 x 4 of each tile an invocation: for every other device"},
      {"vulkan.comparison",
       Api::kVulkan,
       Series::kComparison,
       Form::kRecurrent,
       kEveryRule,
       bits(Pass::kForward, Pass::kStep),
       kEveryType,
       {16, 4096},
       {16, 256},
       nothing_missing,
       comparison_geometry,
       "the whole state of a (sub)head in shared memory: what the division is about"},
  };
  return kVariants;
}

}  // namespace statescope
