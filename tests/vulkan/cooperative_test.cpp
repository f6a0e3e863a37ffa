// Cooperative matrices on whatever device has them, of whatever shape it enumerates: one case of each
// kernel. A software device of a newer Mesa (scripts/setup --newer-vulkan) has 8 x 8 x 8 and takes seconds
// to compile each kernel, so that the matrix of sizes is left to hardware.
#include <tuple>

#include "runtime/vulkan_chunked.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass>;

class VulkanCooperative : public VulkanTest, public testing::WithParamInterface<Combination> {
 protected:
  void SetUp() override {
    VulkanTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const auto& device : devices())
      for (DType dtype : {DType::kBf16, DType::kF16})
        if (vulkan_chunked::matrices_missing(dtype, device->info().limits).empty())
          runs_.emplace_back(device.get(), dtype);
    if (!runs_.empty()) return;
    const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");
    if (required && std::string(required).find("matrices") != std::string::npos)
      FAIL() << "STATESCOPE_REQUIRE_DEVICES asks for cooperative matrices, and no device has them";
    GTEST_SKIP() << "no device with cooperative matrices";
  }

  std::vector<std::pair<Device*, DType>> runs_;
};

Problem problem_of(const Combination& combination, DType dtype) {
  const auto [rule, pass] = combination;
  Problem p = example_problem(rule, pass, dtype);
  p.form = Form::kChunked;
  p.key_dim = 32;
  p.value_dim = 16;
  p.scale = default_scale(p.key_dim);
  return p;
}

TEST_P(VulkanCooperative, AgreesWithTheReference) {
  for (const auto& [device, dtype] : runs_) {
    const Problem p = problem_of(GetParam(), dtype);
    EXPECT_NE(device->plan(p).variant->name.find(".matrix"), std::string_view::npos);
    check(*device, p, 3, Gates::kModel);
  }
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass));
}

// Each kernel of each pass is among them.
INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanCooperative,
                         testing::Values(Combination{Rule::kLinear, Pass::kForward},
                                         Combination{Rule::kGla, Pass::kForward},
                                         Combination{Rule::kGatedDelta, Pass::kForward},
                                         Combination{Rule::kSsd, Pass::kBackward},
                                         Combination{Rule::kGla, Pass::kBackward},
                                         Combination{Rule::kGatedDelta, Pass::kBackward}),
                         name_of);

// Sixteen columns of a state, and of its gradient, by one team and by four: what fits 32 KB.
class VulkanCooperativeShares : public VulkanCooperative {};

TEST_P(VulkanCooperativeShares, AgreesWithTheReference) {
  for (const auto& [device, dtype] : runs_) {
    Problem p = problem_of(GetParam(), dtype);
    const std::uint32_t shares = p.rule == Rule::kSsd ? 4 : 1;
    p.key_dim = 64;
    p.value_dim = 64 / shares;
    p.scale = default_scale(p.key_dim);
    // A device with multiprocessors to spare shares the columns of so few chains anyway.
    if (device->info().limits.multiprocessors == 0) {
      EXPECT_EQ(vulkan_chunked::tiles_of(p, device->info().limits, true).states.shares, shares);
    }
    check(*device, p, 5, Gates::kModel);
  }
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanCooperativeShares,
                         testing::Values(Combination{Rule::kSsd, Pass::kBackward},
                                         Combination{Rule::kGatedDelta, Pass::kBackward}),
                         name_of);

// K = 256 leaves room for chunks of 16 tokens in 32 KB, of 32 in 48 KB: their squares have fewer packs than a
// workgroup has invocations, and every part has a neighbour to spoil.
class VulkanCooperativeShortChunks : public VulkanCooperative {};

TEST_P(VulkanCooperativeShortChunks, AgreesWithTheReference) {
  for (const auto& [device, dtype] : runs_) {
    Problem p = problem_of(GetParam(), dtype);
    p.key_dim = 256;
    p.scale = default_scale(p.key_dim);
    p.expansion = 4;
    EXPECT_LT(vulkan_chunked::tiles_of(p, device->info().limits, true).chunk, 64u);
    check(*device, p, 6, Gates::kModel);
  }
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanCooperativeShortChunks,
                         testing::Values(Combination{Rule::kGatedDelta, Pass::kBackward}), name_of);

class VulkanCooperativeFrontEnd : public VulkanCooperative {};

TEST_P(VulkanCooperativeFrontEnd, AgreesWithTheReference) {
  for (const auto& [device, dtype] : runs_) {
    Problem p = problem_of(GetParam(), dtype);
    p.front_end = true;
    p.history = p.pass == Pass::kForward;
    check(*device, p, 4, Gates::kModel);
  }
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanCooperativeFrontEnd,
                         testing::Values(Combination{Rule::kLinear, Pass::kForward},
                                         Combination{Rule::kLinear, Pass::kBackward}),
                         name_of);

}  // namespace
}  // namespace statescope
