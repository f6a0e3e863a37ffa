#include <array>
#include <string>
#include <utility>

#include <statescope/error.h>
#include <statescope/types.h>

namespace statescope {
namespace {

template <typename E, std::size_t N>
using Names = std::array<std::pair<E, std::string_view>, N>;

constexpr Names<Rule, 4> kRuleNames = {{{Rule::kLinear, "linear"},
                                        {Rule::kSsd, "ssd"},
                                        {Rule::kGla, "gla"},
                                        {Rule::kGatedDelta, "gated_delta"}}};
constexpr Names<Pass, 3> kPassNames = {
    {{Pass::kForward, "forward"}, {Pass::kBackward, "backward"}, {Pass::kStep, "step"}}};
constexpr Names<Division, 2> kDivisionNames = {
    {{Division::kSubheads, "subheads"}, {Division::kNaive, "naive"}}};
constexpr Names<Form, 3> kFormNames = {
    {{Form::kAuto, "auto"}, {Form::kRecurrent, "recurrent"}, {Form::kChunked, "chunked"}}};
constexpr Names<Series, 2> kSeriesNames = {
    {{Series::kProduction, "production"}, {Series::kComparison, "comparison"}}};
constexpr Names<DType, 6> kDTypeNames = {{{DType::kF32, "f32"},
                                          {DType::kBf16, "bf16"},
                                          {DType::kF16, "f16"},
                                          {DType::kF64, "f64"},
                                          {DType::kI32, "i32"},
                                          {DType::kI64, "i64"}}};
constexpr Names<Api, 3> kApiNames = {{{Api::kCpu, "cpu"}, {Api::kVulkan, "vulkan"}, {Api::kCuda, "cuda"}}};

template <typename E, std::size_t N>
std::string_view name_in(const Names<E, N>& names, E value) {
  for (const auto& [key, text] : names) {
    if (key == value) return text;
  }
  return "?";
}

template <typename E, std::size_t N>
E parse_in(const Names<E, N>& names, const char* what, std::string_view text) {
  std::string allowed;
  for (const auto& [key, word] : names) {
    if (word == text) return key;
    allowed += (allowed.empty() ? "" : ", ") + std::string(word);
  }
  throw Error(ErrorKind::kUsage,
              std::string(what) + " '" + std::string(text) + "' is unknown; wanted one of " + allowed);
}

}  // namespace

std::string_view name(Rule rule) {
  return name_in(kRuleNames, rule);
}
std::string_view name(Pass pass) {
  return name_in(kPassNames, pass);
}
std::string_view name(Division division) {
  return name_in(kDivisionNames, division);
}
std::string_view name(Form form) {
  return name_in(kFormNames, form);
}
std::string_view name(Series series) {
  return name_in(kSeriesNames, series);
}
std::string_view name(DType type) {
  return name_in(kDTypeNames, type);
}
std::string_view name(Api api) {
  return name_in(kApiNames, api);
}

Rule parse_rule(std::string_view text) {
  return parse_in(kRuleNames, "rule", text);
}
Pass parse_pass(std::string_view text) {
  return parse_in(kPassNames, "pass", text);
}
Division parse_division(std::string_view text) {
  return parse_in(kDivisionNames, "division", text);
}
Form parse_form(std::string_view text) {
  return parse_in(kFormNames, "form", text);
}
Series parse_series(std::string_view text) {
  return parse_in(kSeriesNames, "series", text);
}
DType parse_dtype(std::string_view text) {
  return parse_in(kDTypeNames, "type", text);
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
    case ErrorKind::kRefused:
      return 2;
    case ErrorKind::kNoDevice:
      return 3;
    case ErrorKind::kDevice:
      return 4;
  }
  return 4;
}

}  // namespace statescope
