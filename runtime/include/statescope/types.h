// The vocabulary: which recurrence, which pass, which way of splitting a head, which element type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace statescope {

/// The update rule of the state S in R^{K x V} (row vectors; g a natural logarithm, <= 0):
///   kLinear      S_t = S_{t-1} + k_t^T v_t                                       linear attention
///   kSsd         S_t = e^{g_t} S_{t-1} + k_t^T v_t, g scalar                     Mamba-2, RetNet
///   kGla         S_t = diag(e^{g_t}) S_{t-1} + k_t^T v_t, g in R^K               gated linear attention
///   kGatedDelta  S_t = e^{g_t} S_{t-1} + beta_t k_t^T (v_t - e^{g_t} k_t S_{t-1})  Gated DeltaNet (eq 6)
enum class Rule { kLinear, kSsd, kGla, kGatedDelta };
inline constexpr Rule kRules[] = {Rule::kLinear, Rule::kSsd, Rule::kGla, Rule::kGatedDelta};

/// kForward: o and ht. kBackward: gradients of every input given do and dht. kStep: one token, state in
/// place.
enum class Pass { kForward, kBackward, kStep };
inline constexpr Pass kPasses[] = {Pass::kForward, Pass::kBackward, Pass::kStep};

/// kSubheads: E states of K x V a head (paper, section 4.2). kNaive: one state of E K x V.
enum class Division { kSubheads, kNaive };

/// kRecurrent: token by token. kChunked: chunks of 64 tokens as matrix products. kAuto: the dispatcher picks.
enum class Form { kAuto, kRecurrent, kChunked };

/// Which family of kernels. kProduction: state in registers, the fastest that the device has.
/// kComparison: the paper's argument, state in shared memory, one workgroup a (sub)head; these decide
/// `limits`.
enum class Series { kProduction, kComparison };

/// Element types. q, k, v, o are f32, bf16 or f16; f64 is the reference's; i32 and i64 are for indices.
enum class DType { kF32, kBf16, kF16, kF64, kI32, kI64 };
inline constexpr DType kRunTypes[] = {DType::kF32, DType::kBf16, DType::kF16};

enum class Api { kCpu, kVulkan, kCuda };

constexpr bool has_gate(Rule rule) {
  return rule != Rule::kLinear;
}
constexpr bool has_beta(Rule rule) {
  return rule == Rule::kGatedDelta;
}
/// The gate is a vector over K.
constexpr bool gate_per_channel(Rule rule) {
  return rule == Rule::kGla;
}

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kF64:
    case DType::kI64:
      return 8;
    default:
      return 4;
  }
}

// Names as on the command line: "gated_delta", "forward", "subheads", "recurrent", "production", "bf16",
// "cuda".
std::string_view name(Rule rule);
std::string_view name(Pass pass);
std::string_view name(Division division);
std::string_view name(Form form);
std::string_view name(Series series);
std::string_view name(DType type);
std::string_view name(Api api);

// The inverse of name(). Throws Error(kUsage) that lists the allowed words.
Rule parse_rule(std::string_view text);
Pass parse_pass(std::string_view text);
Division parse_division(std::string_view text);
Form parse_form(std::string_view text);
Series parse_series(std::string_view text);
DType parse_dtype(std::string_view text);

}  // namespace statescope
