// The golden cases in float32: forward, backward, and every token as a step of its own.
#include "tests/golden_files.h"

#include "profiler/case_file.h"
#include "tests/cuda/cuda_fixture.h"

namespace statescope {
namespace {

class CudaGolden : public CudaTest {
 protected:
  static void check_files(Pass pass) {
    for (const auto& path : golden_files()) {
      SCOPED_TRACE(path.filename().string());
      const CaseFile file = read_case_file(path);
      ASSERT_TRUE(file.rule);
      const TensorSet inputs = inputs_of(file, pass);
      Problem problem = problem_of(inputs, *file.rule, pass, file.scale, DType::kF32);
      problem.form = Form::kRecurrent;
      const TensorSet outputs = run(problem, round_inputs(problem, inputs));
      for (const OutputError& e : compare_outputs(problem, outputs, file.tensors)) {
        EXPECT_LE(e.error, e.tolerance) << name(e.slot);
      }
    }
  }
};

TEST_F(CudaGolden, Forward) {
  check_files(Pass::kForward);
}
TEST_F(CudaGolden, Backward) {
  check_files(Pass::kBackward);
}

}  // namespace
}  // namespace statescope
