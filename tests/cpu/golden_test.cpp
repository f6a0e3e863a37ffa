// Both forms of the reference against cases that were computed elsewhere, in float64 with automatic
// differentiation.
#include "tests/golden_files.h"

#include <set>

#include "profiler/case_file.h"
#include "runtime/check/compare.h"
#include "runtime/cpu/reference.h"

namespace statescope {
namespace {

// The files hold float32: rounding alone is 2^-24 of an element at most, 3e-8 RMS.
constexpr double kStoredPrecision = 1e-7;

void check_file(const std::filesystem::path& path, Pass pass) {
  SCOPED_TRACE(path.filename().string() + " " + std::string(name(pass)));
  const CaseFile file = read_case_file(path);
  ASSERT_TRUE(file.rule);
  const TensorSet inputs = inputs_of(file, pass);
  const Problem problem = problem_of(inputs, *file.rule, pass, file.scale, DType::kF32);
  for (const OutputError& e : compare_outputs(problem, cpu::run_recurrent(problem, inputs), file.tensors)) {
    EXPECT_LE(e.error, kStoredPrecision) << "recurrent " << name(e.slot);
  }
  for (const OutputError& e : compare_outputs(problem, cpu::run_chunked(problem, inputs), file.tensors)) {
    EXPECT_LE(e.error, kStoredPrecision) << "chunked " << name(e.slot);
  }
}

TEST(Golden, Forward) {
  for (const auto& path : golden_files()) check_file(path, Pass::kForward);
}

TEST(Golden, Backward) {
  for (const auto& path : golden_files()) check_file(path, Pass::kBackward);
}

TEST(Golden, HasEveryRule) {
  std::set<std::optional<Rule>> rules;
  for (const auto& path : golden_files()) rules.insert(read_case_file(path).rule);
  EXPECT_EQ(rules.size(), std::size(kRules));
}

}  // namespace
}  // namespace statescope
