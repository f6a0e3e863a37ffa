// The golden cases in float32, forward and backward, on every device.
#include "tests/golden_files.h"

#include <statescope/error.h>

#include "profiler/case_file.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

class VulkanGolden : public VulkanTest, public testing::WithParamInterface<Pass> {};

TEST_P(VulkanGolden, AgreesWithTheFiles) {
  for (const auto& path : golden_files()) {
    const CaseFile file = read_case_file(path);
    ASSERT_TRUE(file.rule);
    const TensorSet inputs = inputs_of(file, GetParam());
    Problem problem = problem_of(inputs, *file.rule, GetParam(), file.scale, DType::kF32);
    problem.form = Form::kRecurrent;
    for (const auto& device : devices()) {
      SCOPED_TRACE(path.filename().string() + " on " + device->info().description);
      const TensorSet outputs = run(*device, problem, round_inputs(problem, inputs));
      for (const OutputError& e : compare_outputs(problem, outputs, file.tensors))
        EXPECT_LE(e.error, e.tolerance) << name(e.slot);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanGolden, testing::Values(Pass::kForward, Pass::kBackward),
                         [](const auto& of) { return std::string(name(of.param)); });

}  // namespace
}  // namespace statescope
