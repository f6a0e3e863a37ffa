// How long a forward takes, cut into so many segments, and how many of them are the best. Times are
// microseconds of an H200; docs/performance/cuda_forward.md has the measurements that the constants are from.
#include "runtime/cuda_segments.h"

#include <algorithm>
#include <cmath>

#include <statescope/error.h>

namespace statescope::cuda_multipass {
namespace {

/// Of device memory, a multiprocessor's share: bytes.
constexpr double kMemoryBytes = 30e3;
/// M h of a block's columns, a block a multiprocessor: always, and in proportion to K K at K = 128.
constexpr double kJoinStart = 0.33, kJoinStep = 1.67;
/// Cutting, joining: launches of next to no work.
constexpr double kLaunch = 4;
/// Segments must gain this much.
constexpr double kGain = 0.9;

/// The first chunked forward of the table, but for those that cut sequences; null where there is none.
/// `passes`: of gla, which is joined from what pass 1 leaves.
const Variant* plain_forward(const Problem& p, const DeviceLimits& limits, bool passes) {
  for (const Variant& v : cuda_variants()) {
    if (v.name.starts_with("cuda.segmented.") || v.series != Series::kProduction ||
        v.form != Form::kChunked || !has(v.rules, p.rule) || !has(v.passes, p.pass) ||
        !has(v.dtypes, p.dtype) || !v.key_dim.contains(p.key_dim) || !v.value_dim.contains(p.value_dim) ||
        (passes && !v.name.starts_with("cuda.multipass.")) || !v.missing(p, limits).empty())
      continue;
    return &v;
  }
  return nullptr;
}

/// A forward over segments, and what decides its time.
struct Work {
  Rule rule;
  int k, v, cluster;  ///< cluster: blocks of a head in the cluster kernels
  double subheads;    ///< of all segments
  double chunks;      ///< of all subheads
  double steps;       ///< chunks of a segment, one after the other
  double multiprocessors;
  bool delta() const { return rule == Rule::kGatedDelta; }
  bool gla() const { return rule == Rule::kGla; }
  bool wide() const { return k > 128; }
};
Work work_of(const Problem& p, int segments, std::uint32_t multiprocessors) {
  Work w{};
  w.rule = p.rule;
  w.k = static_cast<int>(p.key_dim), w.v = static_cast<int>(p.value_dim);
  w.cluster = static_cast<int>(std::min<std::int64_t>(8, p.expansion));
  const std::int64_t chunks = (p.batch * p.seq_len / p.sequences + kChunk - 1) / kChunk;
  const double subheads = static_cast<double>(p.sequences * p.heads * p.expansion);
  w.subheads = subheads * segments;
  w.chunks = subheads * static_cast<double>(chunks);
  w.steps = std::ceil(static_cast<double>(chunks) / segments);
  w.multiprocessors = multiprocessors;
  return w;
}

/// A pass that has all chunks at once: its start, and what a chunk of a subhead adds at K = V = 128. (At 256
/// it is 2.8 times as much.)
struct Parallel {
  double start, chunk;
};
double time_of(Parallel pass, const Work& w) {
  return pass.start + pass.chunk * w.chunks * std::pow(w.k * w.v / (128.0 * 128), 0.75);
}
/// A pass of steps: its start, and a step's latency, or what it moves through device memory.
struct Serial {
  double start, latency, bytes;
};
double time_of(Serial pass, const Work& w, double blocks, bool shared_out = false) {
  const double share = blocks / w.multiprocessors,
               rounds = std::max(1.0, shared_out ? share : std::ceil(share));
  return pass.start +
         rounds * w.steps * std::max(pass.latency, std::min(share, 1.0) * pass.bytes / kMemoryBytes);
}

/// Bytes a step of a block of `tile` columns: blocks of one chain share what they read of the chunk.
double tile_bytes(const Work& w, int tile, int columns, bool state, bool result) {
  const double shared = rows_bytes(w.k) + (w.delta() ? kSquareBytes : 0);
  return shared * tile / columns + rows_bytes(tile) * (result ? 2 : 1) + (state ? 2.0 * tile * w.k : 0);
}

/// The serial pass of gla; blocks that share a multiprocessor count as one.
double gla_states_time(const Work& w) {
  const int tile = value_tile(w.v), together = gla_state_blocks(w.k, w.v);
  return time_of(Serial{6, std::max(0.75, 1.2 * w.k / 128), together * tile_bytes(w, tile, w.v, true, false)},
                 w, w.subheads * w.v / tile / together);
}

double forward_time(std::string_view variant, const Work& w) {
  const bool delta = w.delta();
  if (variant == "cuda.multipass.single_forward") {
    const double bytes = tile_bytes(w, 64, w.v, false, true) + (rows_bytes(w.k) + kSquareBytes) * 64.0 / w.v;
    return time_of(delta ? Parallel{10, 0.0145} : Parallel{7, 0.01}, w) +
           time_of(Serial{7, (delta ? 1.1 : 0.9) * (w.k < 128 ? 0.86 : 1), bytes}, w, w.subheads * w.v / 64);
  }
  if (variant.starts_with("cuda.chunked.")) {
    const Serial steps =
        w.gla() ? Serial{18, 3.7, 120e3} : (delta ? Serial{18, 3.1, 66e3} : Serial{13, 1.85, 66e3});
    return time_of(steps, w, w.subheads, true);
  }
  if (w.gla()) return time_of(Parallel{23, 0.069}, w) + gla_states_time(w);
  const int tile =
      serial_tile(static_cast<std::int64_t>(w.subheads), w.v, static_cast<std::uint32_t>(w.multiprocessors));
  return time_of(delta ? Parallel{23, 0.034} : Parallel{20, 0.0295}, w) +
         time_of(Serial{6,
                        w.wide() ? 1.28
                        : delta  ? 1.0
                                 : 0.67,
                        tile_bytes(w, tile, w.v, true, delta)},
                 w, w.subheads * w.v / tile);
}

/// What is not in the forward itself: cutting, what the segments do, joining.
double segments_time(const Work& w, int segments, bool prepared) {
  if (w.gla()) return gla_states_time(w) + 3 * kLaunch + 0.4 * segments;
  const int columns = transition_columns(w.k, w.v, w.delta()),
            tile = transition_tile(static_cast<std::int64_t>(w.subheads), w.k, w.v, w.delta(),
                                   static_cast<std::uint32_t>(w.multiprocessors));
  const double latency = (w.delta()   ? tile > 64 ? 1.12 : 0.73
                          : tile > 64 ? 0.7
                                      : 0.55) *
                         (w.delta() && w.wide() ? 1.6 : 1);
  double time =
      2 * kLaunch + time_of(Serial{w.delta() ? 12.0 : 8, latency, tile_bytes(w, tile, columns, false, false)},
                            w, w.subheads * columns / tile);
  if (!prepared) time += time_of(w.delta() ? Parallel{8, 0.0092} : Parallel{5, 0.0012}, w);
  if (!w.delta()) return time + 0.3 * segments;
  const double blocks = w.subheads / segments * w.v / kJoinColumns;
  return time + (segments - 1) * std::ceil(blocks / w.multiprocessors) *
                    (kJoinStart + kJoinStep * w.k * w.k / (128 * 128));
}

}  // namespace

const Variant& forward_of_segments(const Problem& cut, const DeviceLimits& limits) {
  if (const Variant* forward = plain_forward(cut, limits, cut.rule == Rule::kGla)) return *forward;
  throw Error(ErrorKind::kRefused, "CUDA: no kernel for the segments of " + describe(cut));
}

int segments(const Problem& p, const DeviceLimits& limits) {
  if (limits.multiprocessors == 0) return 1;
  const Variant* const whole = plain_forward(p, limits, false);
  if (!whole) return 1;
  const Work uncut = work_of(p, 1, limits.multiprocessors);
  double least = kGain * forward_time(whole->name, uncut);
  int best = 1;
  for (int count = 2; count <= kMostSegments; ++count) {
    const Work work = work_of(p, count, limits.multiprocessors);
    if (work.steps * (count - 1) >= uncut.steps) continue;  // the last one would be empty
    const Variant* const forward = plain_forward(segments_of(p, count), limits, work.gla());
    if (!forward) continue;
    const double time = forward_time(forward->name, work) +
                        segments_time(work, count, forward->name.starts_with("cuda.multipass."));
    if (time < least) least = time, best = count;
  }
  return best;
}

}  // namespace statescope::cuda_multipass
