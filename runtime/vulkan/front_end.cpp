#include "runtime/vulkan/front_end.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {
namespace {

constexpr std::int64_t kTile = 16;
constexpr std::uint32_t kMostThreads = 256;
// Workgroups that fill a large GPU several times over, so that the last to end cost little; of expand, whose
// ranges do a tile again, fewer.
constexpr std::int64_t kWorkgroups = 2048, kExpandWorkgroups = 1024;
// A range that begins inside a row does one tile again: one in 16 at most.
constexpr std::int64_t kLeastTiles = 16;
constexpr std::int64_t kConvolutionTokens = 16;  // a tile of front_end_convolution_gradients.comp
constexpr std::int64_t kSlab = 64;               // the depth that the gradients' products take at a time

/// The names of one side's buffers.
struct Side {
  std::string name, x, weight, taps, history, after, dx, dweight, dtaps, activated, expanded, y, gradient;
};
const Side kSides[] = {
    {"q", "q", "q_expand", "q_conv", "q_history", "q_history_after", "dq", "dq_expand", "dq_conv",
     "activated_q", "expanded_q", "y_q", "d_expanded_q"},
    {"k", "k", "k_expand", "k_conv", "k_history", "k_history_after", "dk", "dk_expand", "dk_conv",
     "activated_k", "expanded_k", "y_k", "d_expanded_k"},
};

constexpr std::uint32_t kEachToken = 2;  // of front_end.glsl

/// What the kernels see of a step: its rows are the tokens of one row, each a sequence of its own, so that
/// they share a tile.
Problem rows_as_tokens(Problem p) {
  if (p.pass != Pass::kStep) return p;
  p.seq_len = p.batch;
  p.batch = 1;
  return p;
}

/// Tokens in equal ranges of whole tiles, about `wanted` of them.
struct Ranges {
  std::int64_t tokens = 0, count = 0;
};
Ranges ranges_of(std::int64_t tokens, std::int64_t tile, std::int64_t wanted, std::int64_t most_tiles) {
  const std::int64_t all = ceil_div(tokens, tile);
  const std::int64_t tiles =
      std::min(std::max(ceil_div(all, wanted), std::min(all, kLeastTiles)), most_tiles);
  return {tiles * tile, ceil_div(all, tiles)};
}

/// Sizes of the kernels' tiles and ranges.
struct Sizes {
  bool cooperative = false;
  std::uint32_t threads = 0, team_size = 0;
  std::int64_t expand_tokens = 0;  ///< a tile of front_end_expand.comp
  std::int64_t neighbours = 1;     ///< lanes of a subgroup that have channels of one of its rows
  bool apart = false;              ///< it has SiLU(x) and y in places of their own
  std::int64_t input_tokens = 0, input_columns = 0;
  std::int64_t weight_tile = 0;  ///< rows, and columns
  Ranges expand, convolution;    ///< of a batch row
  Ranges weights;                ///< of all tokens
};

std::int64_t convolution_bytes(std::int64_t key_dim, std::int64_t threads) {
  const std::int64_t quads = key_dim / 4, groups = threads / quads;
  return 16 * std::max((3 + kConvolutionTokens) * quads, groups * key_dim) + 8 * kConvolutionTokens * quads +
         4 * (3 + kConvolutionTokens);
}

/// A tile [rows][columns] of operands, each row a cell of 16 bytes longer.
std::int64_t tile_bytes(const Sizes& s, std::int64_t rows, std::int64_t columns) {
  return 16 * rows * (columns / (s.cooperative ? 8 : 4) + 1);
}

/// Shared memory of front_end_expand.comp.
std::int64_t expand_bytes(const Sizes& s, std::int64_t key_dim) {
  const std::int64_t quads = key_dim / 4;
  const std::int64_t y = 16 * (3 + s.expand_tokens) * (quads + (s.cooperative ? 2 : 1));
  return y + (s.apart ? tile_bytes(s, s.expand_tokens, key_dim) : 0) +
         16 * s.expand_tokens * (ceil_div(quads / s.neighbours, 4) + 1) + 4 * s.expand_tokens;
}

Sizes sizes_for(const Problem& p, const DeviceLimits& limits, const LaunchBounds& bounds) {
  Sizes s;
  s.cooperative = vulkan_chunked::matrices_missing(p.dtype, limits).empty() && limits.subgroup_shuffle;
  s.threads = std::bit_floor(std::min(kMostThreads, limits.max_workgroup_size));
  s.team_size = s.cooperative ? vulkan_chunked::matrix_subgroup(limits) : 16;
  const auto shared_memory = static_cast<std::int64_t>(limits.shared_memory_per_workgroup);
  if (s.cooperative) {  // the largest power of two in the row's quads
    const std::int64_t quads = p.key_dim / 4;
    s.neighbours = std::min<std::int64_t>(quads & -quads, s.team_size);
  }
  s.expand_tokens = 2 * kTile;
  if (expand_bytes(s, p.key_dim) > shared_memory) s.expand_tokens = kTile;
  s.apart = s.cooperative;
  if (expand_bytes(s, p.key_dim) > shared_memory) s.apart = false;
  const auto divisor = [&](std::int64_t most) {
    while (p.key_dim % most != 0) most /= 2;
    return most;
  };
  s.input_tokens = s.cooperative ? 64 : 32;
  s.input_columns = divisor(64);
  s.weight_tile = divisor(s.cooperative ? 64 : 32);

  const std::int64_t subkeys = p.qk_heads * p.expansion, teams = s.threads / s.team_size;
  const auto most_tiles = [&](std::int64_t loops) {
    return std::max<std::int64_t>((bounds.loop_iterations - 4000) / loops, 1);
  };
  // Loop iterations of an invocation for a tile, at most.
  const std::int64_t items = ceil_div(s.expand_tokens * p.key_dim / 4, s.threads);
  const std::int64_t tiles = ceil_div(s.expand_tokens / kTile * p.key_dim / kTile, teams) + 2;
  const std::int64_t expand_loops = tiles * (p.key_dim / 4 + 20) + items * (p.key_dim / 16 + 32) + 80;
  const std::int64_t convolution_items = ceil_div(kConvolutionTokens, s.threads / (p.key_dim / 4));
  const std::int64_t convolution_loops = convolution_items * (p.key_dim / 4 + 40) + 64;
  const std::int64_t weight_loops = 4 * (kSlab / 4) + 200;
  const auto per_row = [&](std::int64_t workgroups) {
    return std::max<std::int64_t>(workgroups / (subkeys * p.batch), 1);
  };
  s.expand = ranges_of(p.seq_len, s.expand_tokens, per_row(kExpandWorkgroups), most_tiles(expand_loops));
  s.convolution =
      ranges_of(p.seq_len, kConvolutionTokens, per_row(kWorkgroups), most_tiles(convolution_loops));
  // A range of these leaves a part as large as W.
  const std::int64_t square = p.key_dim * p.key_dim;
  const auto by_bytes = static_cast<std::int64_t>(bounds.buffer_bytes) / (subkeys * square * 4);
  const std::int64_t by_work = kWorkgroups / (subkeys * square / (s.weight_tile * s.weight_tile));
  s.weights = ranges_of(p.batch * p.seq_len, kSlab, std::max<std::int64_t>(std::min(by_work, by_bytes), 1),
                        most_tiles(weight_loops));
  return s;
}

/// Calls add(first, count, suffix) for launches of `flop_each` a piece that stay within the bound.
template <typename Add>
void for_launches(std::int64_t pieces, double flop_each, const LaunchBounds& bounds, Add add) {
  const auto by_work = static_cast<std::int64_t>(bounds.flop / flop_each);
  const std::int64_t step = std::clamp<std::int64_t>(by_work, 1, 65535);  // workgroups that every device has
  for (std::int64_t first = 0; first < pieces; first += step)
    add(first, std::min(step, pieces - first),
        step < pieces ? ".from_" + std::to_string(first) : std::string());
}

}  // namespace

Dispatches behind_front_end(const Problem& problem, const DeviceInfo& device, const LaunchBounds& bounds,
                            Dispatches inner) {
  const Problem p = rows_as_tokens(problem);
  const Sizes s = sizes_for(p, device.limits, bounds);
  const bool back = p.pass == Pass::kBackward, step = p.pass == Pass::kStep;
  const bool norm = p.rule == Rule::kGatedDelta;
  const std::int64_t subkeys = p.qk_heads * p.expansion, rows = p.batch * p.seq_len;
  const double square = 2.0 * static_cast<double>(p.key_dim * p.key_dim);  // flop of a token's subkey
  const std::string bits = p.dtype == DType::kF32 ? "32" : "16";
  Dispatches out;

  // `kernel` in front_end_<kernel>.comp; ranges_per_row stands for the batch's rows where ranges run over all
  // tokens.
  const auto dispatch = [&](const std::string& kernel, const Side& side, const std::string& suffix,
                            std::int64_t first, std::int64_t range_tokens, std::int64_t ranges_per_row) {
    Dispatch d;
    d.kernel = "vulkan.front_end." + kernel + "_" + side.name + suffix;
    d.pipeline.module = "front_end_" + kernel + "." + bits;
    d.pipeline.workgroup_size = s.threads;
    d.pipeline.constants = {
        {"KEY_DIM", word(p.key_dim)}, {"TEAMS", s.threads / s.team_size}, {"UNROLL", device.hardware}};
    set_element_type(d.pipeline, p.dtype);
    // Kernels without products have one module for both kinds.
    const bool products = kernel != "convolution_gradients" && kernel != "silu";
    if (s.cooperative && products) use_matrices(d.pipeline, p.dtype, device.limits);
    if (!products) d.pipeline.constants["TEAMS"] = s.threads / 16;
    d.push_constants = {{"seq_len", word(p.seq_len)},
                        {"sequences", word(p.sequences)},
                        {"qk_heads", word(p.qk_heads)},
                        {"expansion", word(p.expansion)},
                        {"packed", step ? kEachToken : p.packed},
                        {"range_tokens", word(range_tokens)},
                        {"ranges_per_row", word(ranges_per_row)},
                        {"first_range", word(first)}};
    return d;
  };

  // Only where several subkeys share SiLU(x) does it take a kernel of its own, and in a step the launch costs
  // more.
  const bool activate = step || p.expansion == 1;
  for (const Side& side : kSides) {
    if (!activate) {
      Dispatch d = dispatch("silu", side, "", 0, 0, p.batch);
      d.aliases = {{"x", side.x}, {"activated", side.activated}};
      const std::int64_t quads = rows * p.qk_heads * p.key_dim / 4;
      d.workgroups = {word(std::min<std::int64_t>(ceil_div(quads, s.threads), 4096)), 1, 1};
      out.list.push_back(std::move(d));
    }
    const double flop = square * static_cast<double>(subkeys * s.expand.tokens);
    for_launches(p.batch * s.expand.count, flop, bounds,
                 [&](std::int64_t first, std::int64_t count, const std::string& suffix) {
                   Dispatch d = dispatch(back ? "expand_backward" : "expand", side, suffix, first,
                                         s.expand.tokens, s.expand.count);
                   d.pipeline.constants["TOKENS"] = word(s.expand_tokens);
                   d.pipeline.constants["NORM"] = norm;
                   d.pipeline.constants["ACTIVATE"] = activate;
                   d.pipeline.constants["NEIGHBOURS"] = word(s.neighbours);
                   d.pipeline.constants["APART"] = s.apart;
                   if (!back) d.pipeline.constants["HISTORY"] = p.history;
                   d.aliases = {{"x", activate ? side.x : side.activated},
                                {"weight", side.weight},
                                {"taps", side.taps},
                                {"history", step ? side.after : side.history},
                                {"history_after", side.after},
                                {"expanded", side.expanded},
                                {"y", side.y}};
                   d.workgroups = {word(subkeys), word(count), 1};
                   d.shared_memory_bytes = static_cast<std::size_t>(expand_bytes(s, p.key_dim));
                   out.list.push_back(std::move(d));
                 });
  }

  for (Dispatch& d : inner.list) {
    for (const Side& side : kSides) {
      d.aliases[side.x] = side.expanded;
      d.aliases[side.dx] = side.gradient;
    }
    out.list.push_back(std::move(d));
  }

  // The expanded q and k are not needed once the recurrence is done: dy takes their place.
  for (const Side& side : kSides) {
    if (!back) break;
    const double flop = 32.0 * static_cast<double>(p.key_dim * subkeys * s.convolution.tokens);
    for_launches(p.batch * s.convolution.count, flop, bounds,
                 [&](std::int64_t first, std::int64_t count, const std::string& suffix) {
                   Dispatch d = dispatch("convolution_gradients", side, suffix, first, s.convolution.tokens,
                                         s.convolution.count);
                   d.pipeline.constants["TOKENS"] = word(kConvolutionTokens);
                   d.pipeline.constants["NORM"] = norm;
                   d.aliases = {{"taps", side.taps},
                                {"y", side.y},
                                {"d_expanded", side.gradient},
                                {"dy", side.expanded},
                                {"parts", "dtaps_parts"}};
                   d.workgroups = {word(subkeys), word(count), 1};
                   d.shared_memory_bytes = static_cast<std::size_t>(convolution_bytes(p.key_dim, s.threads));
                   out.list.push_back(std::move(d));
                 });
    for_launches(
        ceil_div(rows, s.input_tokens), square * static_cast<double>(subkeys * s.input_tokens), bounds,
        [&](std::int64_t first, std::int64_t count, const std::string& suffix) {
          Dispatch d = dispatch("input_gradients", side, suffix, first, 0, p.batch);
          d.pipeline.constants["TOKENS"] = word(s.input_tokens);
          d.pipeline.constants["COLUMNS"] = word(s.input_columns);
          d.aliases = {{"x", side.x}, {"weight", side.weight}, {"dy", side.expanded}, {"dx", side.dx}};
          d.workgroups = {word(p.key_dim / s.input_columns), word(count), word(p.qk_heads)};
          d.shared_memory_bytes =
              static_cast<std::size_t>(std::max(tile_bytes(s, s.input_tokens + s.input_columns, kSlab),
                                                16 * s.input_tokens * (s.input_columns / 4 + 1)));
          out.list.push_back(std::move(d));
        });
    for_launches(s.weights.count, square * static_cast<double>(subkeys * s.weights.tokens), bounds,
                 [&](std::int64_t first, std::int64_t count, const std::string& suffix) {
                   Dispatch d = dispatch("weight_gradients", side, suffix, first, s.weights.tokens, p.batch);
                   d.pipeline.constants["ROWS"] = word(s.weight_tile);
                   d.pipeline.constants["COLUMNS"] = word(s.weight_tile);
                   d.aliases = {{"x", side.x}, {"dy", side.expanded}, {"parts", "dweight_parts"}};
                   d.workgroups = {
                       word(p.key_dim / s.weight_tile * (p.expansion * p.key_dim / s.weight_tile)),
                       word(count), word(p.qk_heads)};
                   d.shared_memory_bytes = static_cast<std::size_t>(2 * tile_bytes(s, kSlab, s.weight_tile));
                   out.list.push_back(std::move(d));
                 });
    const auto sum = [&](const std::string& parts, const std::string& to, std::int64_t count,
                         std::int64_t quads) {
      Dispatch d;
      d.kernel = "vulkan.front_end.sum_" + to;
      d.pipeline.module = "sum_parts";
      d.pipeline.workgroup_size = s.threads;
      d.push_constants = {{"part_count", word(count)}, {"quads", word(quads)}};
      d.aliases = {{"parts", parts}, {"sum", to}};
      d.workgroups = {word(std::min<std::int64_t>(ceil_div(quads, s.threads), 4096)), 1, 1};
      out.list.push_back(std::move(d));
    };
    sum("dtaps_parts", side.dtaps, p.batch * s.convolution.count, subkeys * p.key_dim);
    sum("dweight_parts", side.dweight, s.weights.count, subkeys * p.key_dim * p.key_dim / 4);
  }

  const auto expanded = static_cast<std::size_t>(rows * subkeys * p.key_dim) * size_of(p.dtype);
  out.scratch = std::move(inner.scratch);
  for (const Side& side : kSides) {
    out.scratch.push_back({side.expanded, expanded});
    out.scratch.push_back({side.activated, activate ? 0 : expanded / static_cast<std::size_t>(p.expansion)});
    if (!back) continue;
    out.scratch.push_back({side.y, expanded});
    out.scratch.push_back({side.gradient, expanded});
  }
  if (back) {
    const std::int64_t tap_parts = p.batch * s.convolution.count * subkeys * p.key_dim;
    out.scratch.push_back({"dtaps_parts", static_cast<std::size_t>(tap_parts) * 16});
    out.scratch.push_back(
        {"dweight_parts", static_cast<std::size_t>(s.weights.count * subkeys * p.key_dim * p.key_dim) * 4});
  }
  return out;
}

}  // namespace statescope::vulkan
