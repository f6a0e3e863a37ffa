// The launches and scratch memory of forward over segments (host side).
//
// How to read it
//   runtime/cuda_segments.h   into how many segments, and why
//   join.cu                   where they are cut, and the states between them      start here
//   transitions.cuh           what a segment does to the state
// The forward's own kernels then run over the segments as sequences: those of cuda/multipass or cuda/chunked.
#include "cuda/segmented/segmented.h"

#include <utility>

#include "cuda/launches.h"
#include "cuda/multipass/passes.h"
#include "cuda/segmented/parameters.h"
#include "cuda/tensor_map.h"

namespace statescope::cuda {
namespace {

using namespace cuda_multipass;
using namespace segmented;

/// Of the current device.
DeviceLimits limits_here() {
  DeviceLimits limits;
  limits.compute_capability = 90;  // or the variant would not be here
  limits.shared_memory_per_workgroup = kHopperSharedBytes;
  limits.multiprocessors = static_cast<std::uint32_t>(multipass::multiprocessors());
  return limits;
}

/// The problem cut, and what runs over the segments.
struct Segments {
  Problem problem;
  int count;
  const Variant* forward;
  Geometry geometry;
  bool prepares;  ///< pass 1 is the forward's own first launch
  Segments(const Problem& p, const Geometry& g)
      : problem(segments_of(p, g.workgroups[1])), count(static_cast<int>(g.workgroups[1])) {
    const DeviceLimits limits = limits_here();
    forward = &forward_of_segments(problem, limits);
    geometry = forward->geometry(problem, limits);
    prepares = forward->name.starts_with("cuda.multipass.");
  }
};

/// Places in scratch memory: offsets in bytes.
struct Layout {
  std::size_t cuts = 0, ends = 0, transitions = 0, starts = 0, passes = 0, forward = 0, bytes = 0;
  Layout(const Segments& s) {
    const Problem& p = s.problem;
    const auto take = [&](std::int64_t elements) {
      const std::size_t at = bytes;
      bytes += (static_cast<std::size_t>(elements) * sizeof(float) + 255) / 256 * 256;
      return at;
    };
    const std::int64_t subheads = p.sequences * p.heads * p.expansion;
    cuts = take(p.sequences + 1);
    ends = take(subheads * p.key_dim * p.value_dim);
    transitions = take(subheads * (p.rule == Rule::kGatedDelta ? p.key_dim * p.key_dim
                                   : p.rule == Rule::kGla      ? p.key_dim
                                                               : 1));
    starts = take(subheads * p.key_dim * p.value_dim);
    passes = bytes;
    // Of a forward without pass 1 it is the states' place that is not needed, and what follows.
    if (!s.prepares) bytes += reinterpret_cast<std::size_t>(multipass::scratch_at(p, nullptr).states);
    forward = bytes;
    bytes += scratch_bytes_of(*s.forward, p, s.geometry);
  }
  Effects effects(std::byte* scratch) const {
    return {reinterpret_cast<float*>(scratch + ends), reinterpret_cast<float*>(scratch + transitions)};
  }
};

std::size_t scratch_bytes(const Problem& p, const Geometry& g) {
  return Layout(Segments(p, g)).bytes;
}

/// The arguments of a launch over segments, whose scratch memory is at `scratch`.
Arguments over_segments(const Arguments& a, const Problem& cut, const Layout& layout, std::size_t scratch) {
  Arguments x = a;
  x.cu_seqlens = reinterpret_cast<const std::int32_t*>(a.scratch + layout.cuts);
  x.h0 = reinterpret_cast<const float*>(a.scratch + layout.starts);
  x.ht = nullptr;
  x.sequences = static_cast<int>(cut.sequences), x.seq_len = static_cast<int>(cut.seq_len);
  x.scratch = a.scratch + scratch;
  return x;
}

/// The launch with its arguments changed.
template <class Change>
KernelLaunch with(KernelLaunch launch, Change change) {
  launch.bind = [bind = std::move(launch.bind), change](const Arguments& a) { return bind(change(a)); };
  return launch;
}

KernelLaunch launch_of(std::string name, const void* function, dim3 grid, int threads,
                       std::size_t shared_bytes = 0) {
  KernelLaunch launch;
  launch.name = "segmented.forward." + std::move(name);
  launch.function = function;
  launch.grid = grid;
  launch.block = static_cast<unsigned>(threads);
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes = shared_bytes;
  return launch;
}
dim3 grid_of(std::int64_t x, std::int64_t y, std::int64_t z) {
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

KernelLaunch cut_launch(const Problem& p, const Segments& s, const Layout& layout) {
  constexpr int kThreads = 128;
  KernelLaunch launch =
      launch_of("cut", cut_kernel(), grid_of(s.problem.sequences / kThreads + 1, 1, 1), kThreads);
  bind_parameters(launch, [p, segments = s.count, layout](const Arguments& a) {
    return CutParameters{a.cu_seqlens, reinterpret_cast<std::int32_t*>(a.scratch + layout.cuts),
                         static_cast<int>(p.sequences), static_cast<int>(p.seq_len), segments};
  });
  return launch;
}

KernelLaunch transitions_launch(const Problem& p, const Segments& s, const Layout& layout, int tile) {
  const bool delta = p.rule == Rule::kGatedDelta, bf16 = p.dtype == DType::kBf16;
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  const SerialMap map = transitions_map(k, tile, delta);
  KernelLaunch launch =
      launch_of("transitions", bf16 ? transitions_bf16(delta, k) : transitions_f16(delta, k),
                grid_of(transition_columns(k, v, delta) / tile * p.heads * p.expansion, s.count, p.sequences),
                serial_threads(tile), map.bytes);
  bind_parameters(launch, [=, cut = s.problem](const Arguments& a) {
    TransitionParameters x{};
    x.effects = layout.effects(a.scratch), x.h0 = a.h0;
    x.serial.p.a = over_segments(a, cut, layout, layout.passes);
    x.serial.p.s = multipass::scratch_at(cut, a.scratch + layout.passes);
    x.serial.map = map, x.serial.tile = tile;
    const std::int64_t chunks = chunks_of(cut) * cut.heads * cut.expansion;
    x.serial.key = tensor_map(a.k, a.dtype, 1, a.tokens, cut.qk_heads * cut.expansion, k, {kChunk, k});
    x.serial.value = tensor_map(a.v, a.dtype, 1, a.tokens, cut.heads, v, {kChunk, tile});
    if (delta)
      x.serial.inverse =
          tensor_map(x.serial.p.s.inverse, a.dtype, 1, chunks * kChunk, 1, kChunk, {kChunk, kChunk});
    return x;
  });
  return launch;
}

KernelLaunch decays_launch(const Segments& s, const Layout& layout) {
  const Problem& p = s.problem;
  KernelLaunch launch = launch_of("decays", decays_kernel(), grid_of(p.heads * p.expansion, p.sequences, 1),
                                  static_cast<int>(p.key_dim));
  bind_parameters(launch, [cut = p, layout](const Arguments& a) {
    return DecayParameters{over_segments(a, cut, layout, layout.passes),
                           multipass::gla_scratch_at(cut, a.scratch + layout.passes).decays,
                           layout.effects(a.scratch).transitions};
  });
  return launch;
}

KernelLaunch join_launch(const Problem& p, const Segments& s, const Layout& layout) {
  const int k = static_cast<int>(p.key_dim), v = static_cast<int>(p.value_dim);
  const std::int64_t subheads = p.heads * p.expansion;
  KernelLaunch launch =
      p.rule == Rule::kGatedDelta
          ? launch_of("join", join_matrices_kernel(k), grid_of(v / kJoinColumns, subheads, p.sequences),
                      kJoinThreads, join_bytes(k))
          : launch_of("join", join_decays_kernel(p.rule == Rule::kGla),
                      grid_of((k * v / 4 + kJoinThreads - 1) / kJoinThreads, subheads, p.sequences),
                      kJoinThreads);
  bind_parameters(launch, [=, segments = s.count](const Arguments& a) {
    return JoinParameters{layout.effects(a.scratch),
                          a.h0,
                          reinterpret_cast<float*>(a.scratch + layout.starts),
                          a.ht,
                          segments,
                          k,
                          v};
  });
  return launch;
}

std::vector<KernelLaunch> launches(const Problem& p, const Geometry& g) {
  const Segments s(p, g);
  const Layout layout(s);
  const auto over = [cut = s.problem, layout](std::size_t scratch) {
    return [=](const Arguments& a) { return over_segments(a, cut, layout, scratch); };
  };
  std::vector<KernelLaunch> forward = launches_of(*s.forward, s.problem, s.geometry), result;
  for (KernelLaunch& launch : forward) launch = with(std::move(launch), over(layout.forward));
  if (!s.prepares)
    forward.insert(forward.begin(),
                   with(multipass::inverse_pass(s.problem, "segmented.forward"), over(layout.passes)));
  result.push_back(cut_launch(p, s, layout));
  result.push_back(forward.front());
  result.push_back(transitions_launch(p, s, layout, static_cast<int>(g.value_tile)));
  result.push_back(join_launch(p, s, layout));
  result.insert(result.end(), forward.begin() + 1, forward.end());
  return result;
}

/// gla: the serial pass runs twice, first from nothing.
std::vector<KernelLaunch> gla_launches(const Problem& p, const Geometry& g) {
  const Segments s(p, g);
  const Layout layout(s);
  const auto over = [=, cut = s.problem](const Arguments& a) {
    return over_segments(a, cut, layout, layout.forward);
  };
  const std::vector<KernelLaunch> forward = launches_of(*s.forward, s.problem, s.geometry);
  std::vector<KernelLaunch> result{cut_launch(p, s, layout), with(forward[0], over),
                                   with(forward[1], [=](const Arguments& a) {
                                     Arguments x = over(a);
                                     x.h0 = nullptr, x.ht = layout.effects(a.scratch).ends;
                                     return x;
                                   })};
  result.back().name = "segmented.forward.transitions";
  result.push_back(decays_launch(s, layout));
  result.push_back(join_launch(p, s, layout));
  for (std::size_t i = 1; i < forward.size(); ++i) result.push_back(with(forward[i], over));
  return result;
}

constexpr Implementation kImplementations[] = {
    {"cuda.segmented.forward", scratch_bytes, launches},
    {"cuda.segmented.gla_forward", scratch_bytes, gla_launches},
};

}  // namespace

std::span<const Implementation> segmented_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
