// What the files of kernels_*.cpp share when they turn a problem into dispatches.
#pragma once

#include <algorithm>

#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {

inline std::int64_t ceil_div(std::int64_t x, std::int64_t by) {
  return (x + by - 1) / by;
}

/// A push constant's word.
std::uint32_t word(std::int64_t x);
std::uint32_t word(float x);

/// "recurrent.gla.16"
std::string module_name(const char* family, const Problem& problem);

/// "vulkan.recurrent.gla.forward"
std::string kernel_name(const Problem& problem, const Variant& variant);

/// Only modules of 16-bit elements have the constant that tells the two types apart.
void set_element_type(PipelineRequest& request, DType dtype);

/// Turns a request for a module that makes products into one for products of this type by the device's
/// cooperative matrices: ".matrix", where one of them is a tile, or ".matrices", where several are.
void use_matrices(PipelineRequest& request, DType dtype, const DeviceLimits& limits);

/// The push constants that every kernel of recurrence.glsl has.
std::map<std::string, std::uint32_t> sizes(const Problem& problem);

/// The most loop iterations of an invocation: some a token, and some for the state's way in and out.
struct TokenLoops {
  std::int64_t per_token, per_launch;
};

/// Tokens a launch, so that no bound is passed: at least `granule`, and a multiple of it.
std::int64_t tokens_per_launch(const Problem& problem, const TokenLoops& loops, const LaunchBounds& bounds,
                               std::int64_t granule = 1);

/// A part of every sequence that one launch runs.
struct Stretch {
  std::int64_t begin = 0, end = 0;  ///< tokens
  std::string suffix;               ///< of the kernel's name; empty where there is only one
};

/// Calls add(stretch) for each of `length` tokens, from the first.
template <typename Add>
void for_each_stretch(const Problem& problem, std::int64_t length, Add add) {
  for (std::int64_t begin = 0; begin < problem.seq_len; begin += length) {
    const std::string suffix = length < problem.seq_len ? ".tokens_" + std::to_string(begin) : std::string();
    add(Stretch{begin, std::min(begin + length, problem.seq_len), suffix});
  }
}

/// A forward launch of it: begins where the one before ended, in ht.
void set_stretch(Dispatch& dispatch, const Problem& problem, const Stretch& stretch);

/// Bytes of N H E states in float32.
std::size_t states_bytes(const Problem& problem);

// The families.
Dispatches recurrent(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                     const LaunchBounds& bounds);
Dispatches recurrent_step(const Problem& problem, const Choice& choice, const DeviceInfo& device);
Dispatches recurrent_backward(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                              const LaunchBounds& bounds);
Dispatches comparison(const Problem& problem, const Choice& choice, const LaunchBounds& bounds);

}  // namespace statescope::vulkan
