// CUDA kernels: the sources of cuda/. Sizes come from cuda_tiles.h, which the kernels are compiled from.
#include <string>

#include <statescope/variants.h>

#include "runtime/cuda_chunked.h"
#include "runtime/cuda_gradients.h"
#include "runtime/cuda_segments.h"
#include "runtime/cuda_tiles.h"

namespace statescope {
namespace {

constexpr std::uint32_t kAllRules = bits(Rule::kLinear, Rule::kSsd, Rule::kGla, Rule::kGatedDelta);
constexpr std::uint32_t kAllTypes = bits(DType::kF32, DType::kBf16, DType::kF16);

std::string needs_capability_80(const Problem&, const DeviceLimits& limits) {
  if (limits.compute_capability >= 80) return {};
  return "needs compute capability 80, has " + std::to_string(limits.compute_capability);
}

/// The kernels are machine code for 9.0 alone: warpgroup products have no successor.
std::string needs_capability_90(const Problem&, const DeviceLimits& limits) {
  if (limits.compute_capability == 90) return {};
  return "needs compute capability 90, has " + std::to_string(limits.compute_capability);
}

/// Of the chunked kernels with 16-bit factors (cuda_chunked.h says why).
std::string needs_weights(const Problem& p) {
  const std::int64_t tokens = p.batch * p.seq_len;
  const double weights = cuda_chunked::weights_of(p.heads, tokens, p.sequences);
  if (weights < cuda_chunked::kFewestWeights) {
    return "needs " + std::to_string(cuda_chunked::kFewestWeights) +
           " weights in o (heads x tokens x (tokens a sequence + 1) / 2), found " +
           std::to_string(static_cast<std::int64_t>(weights));
  }
  if (p.form == Form::kAuto && tokens < cuda_chunked::kFewestTokens * p.sequences) {
    return "takes sequences of fewer than " + std::to_string(cuda_chunked::kFewestTokens) +
           " tokens only when it is asked for";
  }
  return {};
}

std::string chunked_needs(const Problem& p, const DeviceLimits& limits) {
  std::string missing = needs_weights(p);
  return missing.empty() ? needs_capability_90(p, limits) : missing;
}

/// A cluster a head leaves most multiprocessors idle when there are few; the passes have blocks for them.
/// Measured at T 4096: gated_delta takes 0.21 ms in clusters and 0.13 (16 subheads' chains) to 0.17 (32) in
/// passes, ssd 0.16 and 0.10 at 16 chains, 0.13 both ways at 32.
std::string forward_needs(const Problem& p, const DeviceLimits& limits) {
  std::string missing = chunked_needs(p, limits);
  if (!missing.empty()) return missing;
  const std::int64_t chains = p.sequences * p.heads * p.expansion,
                     few = limits.multiprocessors / (p.rule == Rule::kGatedDelta ? 4 : 8);
  if (chains > few) return {};
  return "takes more than " + std::to_string(few) + " subheads of sequences, found " + std::to_string(chains);
}

std::string multipass_needs(const Problem& p, const DeviceLimits& limits) {
  const auto taken = [](std::int64_t x) { return x == 64 || x == 128 || x == 256; };
  if (!taken(p.key_dim) || !taken(p.value_dim) || p.key_dim + p.value_dim == 64 + 256) {
    return "takes K and V of 64, 128 or 256, but not 64 with 256; found K " + std::to_string(p.key_dim) +
           ", V " + std::to_string(p.value_dim);
  }
  std::string missing = needs_weights(p);
  return missing.empty() ? needs_capability_80(p, limits) : missing;
}

std::string hopper_multipass_needs(const Problem& p, const DeviceLimits& limits) {
  std::string missing = multipass_needs(p, limits);
  return missing.empty() ? needs_capability_90(p, limits) : missing;
}

std::string single_needs(const Problem& p, const DeviceLimits& limits) {
  std::string missing = hopper_multipass_needs(p, limits);
  if (!missing.empty()) return missing;
  if (p.expansion != 1) return "takes one subhead a head, found " + std::to_string(p.expansion);
  const std::int64_t blocks = p.sequences * p.heads * (p.value_dim / 64);
  if (blocks > limits.multiprocessors) {
    return "takes as many tiles of 64 columns of V as there are multiprocessors, " +
           std::to_string(limits.multiprocessors) + ", found " + std::to_string(blocks);
  }
  return {};
}

std::string segmented_needs(const Problem& p, const DeviceLimits& limits) {
  std::string missing = hopper_multipass_needs(p, limits);
  if (!missing.empty()) return missing;
  if (cuda_multipass::segments(p, limits) > 1) return {};
  return "takes few subheads of long sequences, found " +
         std::to_string(p.sequences * p.heads * p.expansion) + " of " +
         std::to_string(p.batch * p.seq_len / p.sequences) + " tokens";
}

std::uint32_t u32(std::int64_t x) {
  return static_cast<std::uint32_t>(x);
}

Geometry scan_geometry(const Problem& p, const DeviceLimits& limits) {
  const cuda_tiles::ScanShape shape = cuda_tiles::scan_shape(p, limits);
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  g.chunk = u32(shape.tokens);
  g.subheads = u32(shape.subheads);
  g.value_tile = u32(cuda_tiles::warp_columns(cuda_tiles::padded_key_dim(p.key_dim)) * shape.tiles);
  g.workgroup_size = u32(shape.subheads * shape.tiles * cuda_tiles::kWarp);
  g.workgroups[0] = u32(p.sequences * p.heads * (p.value_dim / g.value_tile));
  g.tile_bytes = shape.shared_bytes;
  return g;
}

/// Of the scans; the gradient kernel that follows has its own launch, and may need more shared memory.
Geometry backward_geometry(const Problem& p, const DeviceLimits& limits) {
  Geometry g = scan_geometry(p, limits);
  g.tile_bytes = std::max(g.tile_bytes, 4 * cuda_tiles::gradient_floats(p.key_dim, gate_per_channel(p.rule)));
  return g;
}

Geometry chunked_geometry(const Problem& p, const DeviceLimits& limits) {
  const int cluster = cuda_chunked::cluster_size(static_cast<int>(std::min<std::int64_t>(p.expansion, 8)));
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  const bool gla = p.rule == Rule::kGla;
  g.workgroup_size = gla ? cuda_chunked::GlaMap::kThreads : cuda_chunked::kThreads;
  g.chunk = cuda_chunked::kChunk;
  g.value_tile = cuda_chunked::kDim;
  g.subheads = u32(cluster);
  // Clusters share out the chains, so there are no more than the device holds at once.
  const std::int64_t chains = p.sequences * p.heads;
  const std::int64_t held =
      limits.multiprocessors == 0 ? chains : std::max(1u, limits.multiprocessors / u32(cluster));
  g.workgroups = {u32(cluster), u32(std::min(chains, held)), 1};
  g.tile_bytes = gla ? cuda_chunked::GlaMap::bytes : cuda_chunked::SharedMap::bytes;
  return g;
}

/// Of the first launch; shared memory of the pass that takes the most.
Geometry multipass_geometry(const Problem& p, const DeviceLimits&) {
  using namespace cuda_multipass;
  const bool delta = p.rule == Rule::kGatedDelta;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  g.workgroup_size = kPrepareThreads;
  g.chunk = kChunk;
  g.value_tile = u32(value_tile(v));
  g.subheads = p.pass == Pass::kForward ? u32(p.expansion) : 1;
  g.workgroups[0] = u32(chunks_of(p) * p.heads * p.expansion);
  const std::uint32_t last = p.pass == Pass::kForward
                                 ? outputs_bytes(v)
                                 : std::max(state_gradients_bytes(k, v, delta), gradients_bytes(v, delta));
  g.tile_bytes = std::max({prepare_bytes(k), states_bytes(k, v, delta), last});
  return g;
}

/// The serial passes have tiles of their own.
Geometry hopper_multipass_geometry(const Problem& p, const DeviceLimits& limits) {
  using namespace cuda_multipass;
  const bool delta = p.rule == Rule::kGatedDelta, backward = p.pass == Pass::kBackward;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  Geometry g = multipass_geometry(p, limits);
  const int tile = serial_tile(p.sequences * p.heads * p.expansion, v, limits.multiprocessors);
  g.value_tile = u32(tile);
  g.tile_bytes = std::max<std::size_t>(
      {prepare_bytes(k),
       !backward                    ? outputs_bytes(v)
       : has_hopper_gradients(k, v) ? hopper_gradient_map(k, v, delta).bytes
                                    : gradients_bytes(v, delta),
       states_map(k, tile, delta).bytes,
       backward ? state_gradients_map(k, std::min(tile, widest_serial_tile(k, v, true)), delta).bytes : 0,
       backward && has_hopper_gradients(k, v) ? state_gradients_scores_map(k, tile, delta).bytes : 0});
  return g;
}

/// Of the first launch; shared memory of the pass that takes the most.
Geometry gla_multipass_geometry(const Problem& p, const DeviceLimits&) {
  using namespace cuda_multipass;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  g.workgroup_size = kGlaPrepareThreads;
  g.chunk = kChunk;
  g.value_tile = u32(value_tile(v));
  g.subheads = u32(p.expansion);
  g.workgroups[0] = u32(chunks_of(p) * p.heads * p.expansion);
  g.tile_bytes = std::max({kGlaPrepareBytes, gla_states_bytes(k, v), gla_outputs_bytes(k, v),
                           p.pass == Pass::kForward ? 0 : gla_gradients_bytes(v)});
  return g;
}

Geometry single_geometry(const Problem& p, const DeviceLimits& limits) {
  using namespace cuda_multipass;
  const int k = static_cast<int>(p.key_dim);
  Geometry g = multipass_geometry(p, limits);
  g.value_tile = 64;
  g.tile_bytes = std::max(prepare_bytes(k), single_map(k, p.rule == Rule::kGatedDelta).bytes);
  return g;
}

/// Of the launch that finds what the segments do: columns of subheads, segments, sequences.
Geometry segmented_geometry(const Problem& p, const DeviceLimits& limits) {
  using namespace cuda_multipass;
  const bool delta = p.rule == Rule::kGatedDelta, gla = p.rule == Rule::kGla;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim), count = segments(p, limits);
  const Problem cut = segments_of(p, count);
  Geometry g = forward_of_segments(cut, limits).geometry(cut, limits);
  const int tile =
      gla ? value_tile(v)
          : transition_tile(cut.sequences * cut.heads * cut.expansion, k, v, delta, limits.multiprocessors);
  const int columns = gla ? v : transition_columns(k, v, delta);
  g.workgroups = {u32(columns / tile * p.heads * p.expansion), u32(count), u32(p.sequences)};
  g.workgroup_size = u32(gla ? gla_state_threads(k, v) : serial_threads(tile));
  g.value_tile = u32(tile);
  g.tile_bytes = std::max<std::size_t>(
      {g.tile_bytes, gla ? 0 : transitions_map(k, tile, delta).bytes, delta ? join_bytes(k) : 0});
  return g;
}

Geometry step_geometry(const Problem& p, const DeviceLimits& limits) {
  const int padded = cuda_tiles::padded_key_dim(p.key_dim);
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  g.workgroup_size = cuda_tiles::kStepThreads;
  g.value_tile = cuda_tiles::kStepColumns;
  const std::int64_t blocks = p.batch * p.heads * ((p.value_dim + g.value_tile - 1) / g.value_tile);
  const int parts = limits.compute_capability >= 90
                        ? cuda_tiles::step_parts(p.expansion, blocks, limits.multiprocessors)
                        : 1;
  g.subheads = u32(p.expansion);
  g.workgroups[0] = u32(blocks * parts);
  g.tile_bytes = 4 * cuda_tiles::step_floats(padded, gate_per_channel(p.rule) ? padded : 1,
                                             cuda_tiles::step_subheads(p.expansion, parts));
  return g;
}

Geometry comparison_geometry(const Problem& p, const DeviceLimits&) {
  Geometry g;
  g.subgroup_size = cuda_tiles::kWarp;
  g.workgroup_size = cuda_tiles::kComparisonThreads;
  g.chunk = u32(cuda_tiles::comparison_tokens(p.key_dim));
  g.value_tile = u32(p.value_dim);
  g.workgroups[0] = u32(p.sequences * p.heads * p.expansion);
  g.state_bytes = 4 * cuda_tiles::comparison_state_floats(p.key_dim, p.value_dim);
  g.tile_bytes = 4 * cuda_tiles::comparison_tile_floats(p.key_dim, p.value_dim, gate_per_channel(p.rule));
  return g;
}

constexpr std::uint32_t kScalarGates = bits(Rule::kLinear, Rule::kSsd, Rule::kGatedDelta);
constexpr Range kPassesDim{64, 256};  // of the kernels of several passes
constexpr Range kClusterDim{cuda_chunked::kDim, cuda_chunked::kDim};

constexpr Variant recurrent(std::string_view name, Pass pass, decltype(Variant::geometry) geometry,
                            std::string_view reason) {
  return {name,      Api::kCuda, Series::kProduction, Form::kRecurrent,    kAllRules, bits(pass),
          kAllTypes, {16, 256},  {16, 256},           needs_capability_80, geometry,  reason};
}
constexpr Variant chunked(std::string_view name, std::uint32_t rules, Pass pass, Range key_dim,
                          Range value_dim, decltype(Variant::missing) missing,
                          decltype(Variant::geometry) geometry, std::string_view reason) {
  return {name,
          Api::kCuda,
          Series::kProduction,
          Form::kChunked,
          rules,
          bits(pass),
          bits(DType::kBf16, DType::kF16),
          key_dim,
          value_dim,
          missing,
          geometry,
          reason};
}

constexpr Variant kVariants[] = {
    recurrent("cuda.recurrent.step", Pass::kStep, step_geometry,
              "rows of 32 columns are 128-byte lines; a block walks the subheads and loads the next state "
              "while one is at work; few heads share theirs out over a cluster"),
    chunked("cuda.segmented.forward", kScalarGates, Pass::kForward, kPassesDim, kPassesDim, segmented_needs,
            segmented_geometry,
            "few chains of long sequences leave multiprocessors idle: what segments do to the state is found "
            "side by side and joined in float32; the tiles are those of the forward that runs over them"),
    chunked(
        "cuda.segmented.gla_forward", bits(Rule::kGla), Pass::kForward, kPassesDim, kPassesDim,
        segmented_needs, segmented_geometry,
        "as above; a segment's effect is its decays and the state that the serial pass leaves from nothing"),
    chunked("cuda.multipass.single_forward", kScalarGates, Pass::kForward, {64, 128}, kPassesDim,
            single_needs, single_geometry,
            "64 columns of V a block, so that few chains reach twice the multiprocessors; one warpgroup has "
            "the chain and o"),
    chunked("cuda.chunked.forward", kScalarGates, Pass::kForward, kClusterDim, kClusterDim, forward_needs,
            chunked_geometry,
            "a subhead a block, a head a cluster: 64 tokens are a warpgroup's rows, 128 x 128 of float32 "
            "state half the registers, three stages of keys and queries what shared memory holds"),
    chunked("cuda.chunked.gla_forward", bits(Rule::kGla), Pass::kForward, kClusterDim, kClusterDim,
            chunked_needs, chunked_geometry,
            "as above in steps of 32 tokens, whose gates, keys and queries are 32 KB: five of them on their "
            "way; eight tokens a warp at the gates, whose channels' running products stay in registers"),
    chunked("cuda.multipass.hopper_forward", kScalarGates, Pass::kForward, kPassesDim, kPassesDim,
            hopper_multipass_needs, hopper_multipass_geometry,
            "a warpgroup of the serial pass owns 64 columns of V, whose state is K / 2 registers a lane; "
            "three stages of tiles hide what device memory takes"),
    chunked("cuda.multipass.hopper_backward", kScalarGates, Pass::kBackward, kPassesDim, kPassesDim,
            hopper_multipass_needs, hopper_multipass_geometry,
            "as forward; dr leaves through the place of do, so that three stages fit; at K = 256 one "
            "warpgroup a block"),
    chunked("cuda.multipass.forward", kScalarGates, Pass::kForward, kPassesDim, kPassesDim, multipass_needs,
            multipass_geometry,
            "the state passes through device memory once a chunk of 64 tokens; a warp of the serial pass "
            "owns 16 columns of V, whose state is K / 2 registers a lane"),
    chunked("cuda.multipass.backward", kScalarGates, Pass::kBackward, kPassesDim, kPassesDim, multipass_needs,
            multipass_geometry,
            "as forward; the gradients' operands stay in registers, 32 rows of do, r or dr a warp, and the "
            "states pass by in slabs of 32 channels"),
    chunked("cuda.multipass.gla_forward", bits(Rule::kGla), Pass::kForward, kPassesDim, kPassesDim,
            multipass_needs, gla_multipass_geometry,
            "sixteen channels by 64 tokens a warp where gates are: 32 values a lane, of q, k, g each; the "
            "state passes through device memory once a chunk"),
    chunked("cuda.multipass.gla_backward", bits(Rule::kGla), Pass::kBackward, kPassesDim, kPassesDim,
            multipass_needs, gla_multipass_geometry,
            "as forward, the state's gradient beside the state; 64 channels a block at the gradients, whose "
            "sums stay in registers"),
    recurrent("cuda.recurrent.forward", Pass::kForward, scan_geometry,
              "64 state registers a lane (K x 16 a warp, K x 8 at K 256), a warp a subhead: v staged once, o "
              "summed in the block"),
    recurrent("cuda.recurrent.backward", Pass::kBackward, backward_geometry,
              "two scans with forward's tiles leave S and its gradient every 16 tokens; 16 keeps the "
              "gradients in registers"),
    {"cuda.comparison",
     Api::kCuda,
     Series::kComparison,
     Form::kRecurrent,
     kAllRules,
     bits(Pass::kForward, Pass::kStep),
     kAllTypes,
     {16, 4096},
     {16, 256},
     needs_capability_80,
     comparison_geometry,
     "the whole float32 state in shared memory, one block a (sub)head; 256 threads read rows 16 bytes wide"},
};

}  // namespace

std::span<const Variant> cuda_variants() {
  return kVariants;
}

}  // namespace statescope
