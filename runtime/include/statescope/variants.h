// The one table of kernel variants: which kernel runs what, with which tiles, and what it costs in shared
// memory. The dispatcher picks from it, tests hold it against what drivers report, `limits` and the app draw
// it. No other place knows a tile size. It is host code without any GPU API, so that it answers for devices
// that are not there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <statescope/problem.h>
#include <statescope/types.h>

namespace statescope {

/// The shape of a product of cooperative matrices: M x K times K x N.
struct MatrixShape {
  std::uint32_t m = 16, n = 16, k = 16;
};

/// What of a device decides which variants it can run. Filled from a driver, or from the device database.
struct DeviceLimits {
  Api api = Api::kCuda;
  std::size_t shared_memory_per_workgroup = 0;       ///< the most one workgroup may have (CUDA: with opt-in)
  std::size_t shared_memory_per_multiprocessor = 0;  ///< 0: unknown
  std::uint32_t max_workgroup_size = 1024;
  std::uint32_t subgroup_min = 32;  ///< smallest subgroup that can be asked for
  std::uint32_t subgroup_max = 32;
  std::uint32_t max_threads_per_multiprocessor = 0;  ///< 0: unknown
  std::uint32_t multiprocessors = 0;                 ///< 0: unknown
  std::uint32_t registers_per_multiprocessor = 0;    ///< 32-bit; 0: unknown
  int compute_capability = 0;                        ///< CUDA: 10 * major + minor
  bool storage_16bit = true;                         ///< 16-bit elements in buffers
  bool subgroup_shuffle = true;
  bool subgroup_arithmetic = true;
  bool subgroup_clustered = false;
  bool cooperative_matrix_f16 = false;  ///< 16-bit factors, float32 sums, a subgroup together
  bool cooperative_matrix_bf16 = false;
  MatrixShape matrix_f16, matrix_bf16;  ///< as the driver enumerates them; in the device database 16x16x16
};

/// The shape a variant takes for a problem on a device.
struct Geometry {
  std::array<std::uint32_t, 3> workgroups{1, 1, 1};
  std::uint32_t workgroup_size = 1;  ///< threads
  std::uint32_t subgroup_size = 0;   ///< 0: whatever the device has
  std::uint32_t chunk = 1;           ///< tokens a chunk or a staged block of tokens
  std::uint32_t value_tile = 0;      ///< columns of V a workgroup owns
  std::uint32_t lanes = 1;           ///< threads that share a column of the state
  std::uint32_t columns = 0;         ///< columns of the state that a thread keeps
  std::uint32_t subheads = 1;        ///< subheads whose o a workgroup (or cluster) sums itself
  std::size_t state_bytes = 0;       ///< shared memory of the state (comparison kernels), else 0
  std::size_t tile_bytes = 0;        ///< shared memory of everything else
  std::size_t shared_memory_bytes() const { return state_bytes + tile_bytes; }
};

struct Range {
  std::int64_t min, max;
  constexpr bool contains(std::int64_t x) const { return x >= min && x <= max; }
};

/// Bit sets over the enumerations: bit i stands for the enumerator of value i.
template <typename... Es>
constexpr std::uint32_t bits(Es... es) {
  return ((1u << static_cast<std::uint32_t>(es)) | ...);
}
template <typename E>
constexpr bool has(std::uint32_t set, E e) {
  return (set >> static_cast<std::uint32_t>(e)) & 1u;
}

struct Variant {
  std::string_view name;  ///< "cuda.recurrent.forward"
  Api api;
  Series series;
  Form form;
  std::uint32_t rules;   ///< bits(Rule...)
  std::uint32_t passes;  ///< bits(Pass...)
  std::uint32_t dtypes;  ///< bits(DType...)
  Range key_dim, value_dim;
  /// Empty when the device has what the variant needs, else what is missing: "needs compute capability 90,
  /// has 80".
  std::string (*missing)(const Problem&, const DeviceLimits&);
  /// Sizes for a problem; asks only for limits, never for a device.
  Geometry (*geometry)(const Problem&, const DeviceLimits&);
  std::string_view reason;  ///< why these tiles
};

/// Passes that an api runs behind a front end (problem.h), with any production variant of the pass; the front
/// end's own kernels come on top of the variant's. Forward and step keep the history of its convolution.
constexpr std::uint32_t front_end_passes(Api api) {
  return api == Api::kCpu ? 0 : bits(Pass::kForward, Pass::kBackward, Pass::kStep);
}

/// Every variant, the preferred first within an api.
std::span<const Variant> variants();
std::span<const Variant> cuda_variants();
std::span<const Variant> vulkan_variants();

struct Choice {
  const Variant* variant;
  Geometry geometry;
};

/// The first variant of limits.api that covers the problem (rule, pass, series, form unless kAuto, type, K,
/// V), whose needs are met and whose shared memory fits. Throws Error(kRefused) with the nearest miss in
/// numbers, e.g. "naive: state 262144 B + tiles 24576 B > 101376 B of shared memory", or that no variant has
/// the pass.
Choice choose_variant(const Problem& problem, const DeviceLimits& limits, std::string_view device_name);

/// Whether any variant of the api covers rule, pass, form, type and series at all (at K = V = 64 sizes): what
/// `verify` lists as missing when false.
bool is_implemented(const Problem& problem, const DeviceLimits& limits);

/// Workgroups that fit one multiprocessor at once by shared memory and threads, over the most threads it
/// holds; 0 when the device's figures are unknown. Registers are not predicted.
struct Occupancy {
  int workgroups_per_multiprocessor = 0;
  double fraction = 0;
  std::string_view limited_by;  ///< "shared memory", "threads", "workgroups"
};
Occupancy predict_occupancy(const Geometry& geometry, const DeviceLimits& limits);

}  // namespace statescope
