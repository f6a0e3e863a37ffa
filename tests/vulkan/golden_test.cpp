// The golden cases in float32, forward, on every device.
#include "tests/golden_files.h"

#include <statescope/error.h>

#include "profiler/case_file.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using VulkanGolden = VulkanTest;

TEST_F(VulkanGolden, Forward) {
  for (const auto& path : golden_files()) {
    const CaseFile file = read_case_file(path);
    ASSERT_TRUE(file.rule);
    const TensorSet inputs = inputs_of(file, Pass::kForward);
    Problem problem = problem_of(inputs, *file.rule, Pass::kForward, file.scale, DType::kF32);
    problem.form = Form::kRecurrent;
    for (const auto& device : devices()) {
      SCOPED_TRACE(path.filename().string() + " on " + device->info().description);
      const TensorSet outputs = run(*device, problem, round_inputs(problem, inputs));
      for (const OutputError& e : compare_outputs(problem, outputs, file.tensors))
        EXPECT_LE(e.error, e.tolerance) << name(e.slot);
    }
  }
}

}  // namespace
}  // namespace statescope
