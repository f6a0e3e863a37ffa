// The matrix of sizes: every rule x pass x form x type that this backend has, each output against the float64
// reference.
#include <algorithm>
#include <tuple>

#include <statescope/error.h>

#include "runtime/check/cases.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, Form, DType, Series, Division>;

class Matrix : public CudaTest, public testing::WithParamInterface<Combination> {};

TEST_P(Matrix, AgreesWithTheReference) {
  const auto [rule, pass, form, dtype, series, division] = GetParam();
  const std::vector<Case> all = cases(rule, pass, form, dtype, series, division);
  ASSERT_FALSE(all.empty());
  double worst = 0;
  int ran = 0;
  for (const Case& one : all) {
    SCOPED_TRACE(one.name());
    // A combination that is not there yet is missing as a whole; a size that a variant refuses must fail
    // here, except that the comparison series is there to run into the limits of shared memory.
    if (series == Series::kComparison) {
      try {
        device()->plan(one.problem);
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("of shared memory"), std::string::npos) << error.what();
        continue;
      }
    }
    worst = std::max(worst, check(one.problem, one.seed, one.gates));
    ++ran;
  }
  EXPECT_GT(ran, 0);
  RecordProperty("cases", ran);
  RecordProperty("worst_error_over_tolerance", std::to_string(worst));
}

std::vector<Combination> combinations() {
  std::vector<Combination> result;
  for (Series series : {Series::kProduction, Series::kComparison}) {
    for (Division division : {Division::kSubheads, Division::kNaive}) {
      if (series == Series::kProduction && division == Division::kNaive) continue;
      for (Form form : {Form::kRecurrent, Form::kChunked}) {
        for (Pass pass : kPasses) {
          for (Rule rule : kRules) {
            for (DType dtype : kRunTypes) {
              const bool covered = std::ranges::any_of(cuda_variants(), [&](const Variant& v) {
                return v.series == series && v.form == form && has(v.rules, rule) && has(v.passes, pass) &&
                       has(v.dtypes, dtype);
              });
              // Chunked kernels come for a few K and V only; cases() has others. They have their own tests.
              if (covered && form == Form::kRecurrent) {
                result.emplace_back(rule, pass, form, dtype, series, division);
              }
            }
          }
        }
      }
    }
  }
  return result;
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, form, dtype, series, division] = info.param;
  std::string text;
  for (std::string_view word :
       {name(series), name(division), name(rule), name(pass), name(form), name(dtype)}) {
    if (!text.empty()) text += '_';
    text += word;
  }
  return text;
}

INSTANTIATE_TEST_SUITE_P(Cuda, Matrix, testing::ValuesIn(combinations()), name_of);

}  // namespace
}  // namespace statescope
