// The variant table against the shaders: what the table says of shared memory is what the SPIR-V declares
// once its constants have their values, for devices that are not here as well. And the launches that a
// problem is cut into.
#include <gtest/gtest.h>

#include <cstring>

#include <statescope/error.h>

#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {
namespace {

/// Devices from the smallest that the specification allows to the largest there are.
std::vector<DeviceLimits> all_limits() {
  std::vector<DeviceLimits> out;
  for (std::uint32_t subgroup : {4u, 8u, 16u, 32u, 64u, 128u}) {
    for (std::uint32_t workgroup : {128u, 256u, 1024u}) {
      for (std::size_t shared : {16384u, 32768u, 65536u}) {
        for (bool shuffle : {true, false}) {
          DeviceLimits limits;
          limits.api = Api::kVulkan;
          limits.shared_memory_per_workgroup = shared;
          limits.max_workgroup_size = workgroup;
          limits.subgroup_min = limits.subgroup_max = subgroup;
          limits.subgroup_shuffle = shuffle;
          out.push_back(limits);
        }
      }
    }
  }
  return out;
}

Problem problem_of_sizes(Rule rule, Series series, std::int64_t key_dim, std::int64_t value_dim,
                         std::int64_t expansion, Pass pass = Pass::kForward) {
  Problem p;
  p.pass = pass;
  p.rule = rule;
  p.series = series;
  p.seq_len = pass == Pass::kStep ? 1 : 100;
  p.initial_state = pass == Pass::kStep;
  p.key_dim = key_dim;
  p.value_dim = value_dim;
  p.expansion = expansion;
  return p;
}

TEST(VulkanTable, SharedMemoryIsWhatTheShadersDeclare) {
  int compared = 0;
  for (const DeviceLimits& limits : all_limits()) {
    DeviceInfo device;
    device.api = Api::kVulkan;
    device.limits = limits;
    for (const auto& [series, pass] : {std::pair(Series::kProduction, Pass::kForward),
                                       {Series::kProduction, Pass::kStep},
                                       {Series::kProduction, Pass::kBackward},
                                       {Series::kComparison, Pass::kForward}})
      for (Rule rule : kRules)
        for (std::int64_t key_dim : {16, 48, 64, 128, 256})
          for (std::int64_t value_dim : {16, 48, 256})
            for (std::int64_t expansion : {1, 3, 16, 64}) {
              const Problem p = problem_of_sizes(rule, series, key_dim, value_dim, expansion, pass);
              Choice choice{};
              try {
                choice = choose_variant(p, limits, "device");
              } catch (const Error& error) {
                EXPECT_TRUE(series == Series::kComparison ||
                            (pass == Pass::kBackward && key_dim > limits.max_workgroup_size))
                    << "production kernels fit every device: " << describe(p) << ": " << error.what();
                continue;
              }
              const Geometry& g = choice.geometry;
              ASSERT_LE(g.workgroup_size, limits.max_workgroup_size);
              if (series == Series::kProduction && pass != Pass::kStep) {
                ASSERT_LE(g.lanes, limits.subgroup_shuffle ? limits.subgroup_min : 1u);
              }
              for (const Dispatch& dispatch : dispatches_of(p, choice, device).list) {
                ASSERT_EQ(shared_memory_bytes(dispatch.pipeline), dispatch.shared_memory_bytes)
                    << dispatch.kernel << " " << describe(p);
                ++compared;
              }
            }
  }
  EXPECT_GT(compared, 1000);
}

TEST(VulkanTable, EveryColumnAndSubheadHasItsThread) {
  for (const DeviceLimits& limits : all_limits()) {
    for (std::int64_t key_dim : {16, 64, 240, 256}) {
      for (std::int64_t value_dim : {16, 80, 128}) {
        for (std::int64_t expansion : {1, 2, 3, 8, 16, 33}) {
          const Problem p = problem_of_sizes(Rule::kGla, Series::kProduction, key_dim, value_dim, expansion);
          const Geometry g = choose_variant(p, limits, "device").geometry;
          ASSERT_EQ(g.workgroups[0] * g.value_tile, value_dim);
          ASSERT_EQ(g.value_tile % g.columns, 0u);
          ASSERT_GE(g.workgroup_size, g.subheads * (g.value_tile / g.columns) * g.lanes);
          ASSERT_EQ(g.workgroup_size % g.subgroup_size, 0u);
          ASSERT_EQ(g.subgroup_size % g.lanes, 0u);
        }
      }
    }
  }
}

TEST(VulkanTable, LongRunsAreCutIntoLaunches) {
  DeviceInfo device;
  device.limits = all_limits().back();
  device.limits.subgroup_min = device.limits.subgroup_max = 32;
  device.limits.subgroup_shuffle = true;
  Problem p = problem_of_sizes(Rule::kGatedDelta, Series::kProduction, 128, 128, 64);
  p.seq_len = 100'000;
  const Choice choice = choose_variant(p, device.limits, "device");
  ASSERT_LT(choice.geometry.subheads, 64u);
  const LaunchBounds bounds;
  std::uint32_t token = 0, subhead = 0;
  for (const Dispatch& dispatch : dispatches_of(p, choice, device, bounds).list) {
    EXPECT_EQ(dispatch.push_constants.at("token_begin"), token);
    EXPECT_EQ(dispatch.push_constants.at("subhead_begin"), subhead);
    EXPECT_EQ(dispatch.aliases.at("initial"), token == 0 ? "h0" : "ht");
    EXPECT_EQ(dispatch.push_constants.at("has_initial"), token > 0);
    const std::uint32_t end = dispatch.push_constants.at("token_end");
    const double tokens = end - token;
    EXPECT_LE(tokens * 7 * 128 * 128 * choice.geometry.subheads, bounds.flop);
    subhead += choice.geometry.subheads;
    if (subhead >= 64) {
      subhead = 0;
      token = end;
    }
  }
  EXPECT_EQ(token, p.seq_len);
}

// What a launch keeps of its stretch of tokens stays within a buffer, and the stretches are walked once to
// their ends and then from the last to the first.
TEST(VulkanTable, LongBackwardRunsAreCutIntoStretches) {
  DeviceInfo device;
  device.limits = all_limits().back();
  device.limits.subgroup_shuffle = true;
  for (bool packed : {false, true}) {
    Problem p = problem_of_sizes(Rule::kGatedDelta, Series::kProduction, 128, 128, 8, Pass::kBackward);
    p.form = Form::kRecurrent;
    p.seq_len = 2500;
    p.packed = packed;
    p.sequences = packed ? 7 : 1;
    LaunchBounds bounds;
    bounds.buffer_bytes = std::size_t(1) << 25;
    const Dispatches dispatches =
        dispatches_of(p, choose_variant(p, device.limits, "device"), device, bounds);
    for (const Scratch& scratch : dispatches.scratch) {
      if (scratch.name == "states" || scratch.name == "gradients") {
        EXPECT_LE(scratch.bytes, bounds.buffer_bytes);
      }
    }
    std::uint32_t forward_end = 0, backward_begin = 0;
    for (const Dispatch& dispatch : dispatches.list) {
      const std::uint32_t begin = dispatch.push_constants.at("token_begin");
      const std::uint32_t end = dispatch.push_constants.at("token_end");
      EXPECT_EQ(begin % 16, 0u);
      if (dispatch.push_constants.at("chunk_slots") == 0) {
        EXPECT_EQ(begin, forward_end);
        forward_end = end;
      } else if (dispatch.kernel.find(".states") != std::string::npos) {
        EXPECT_EQ(end, backward_begin == 0 ? p.seq_len : backward_begin);
        backward_begin = begin;
        EXPECT_EQ(dispatch.aliases.at("initial"), begin == 0 ? "h0" : "boundaries");
      } else {
        EXPECT_EQ(begin, backward_begin);
      }
    }
    EXPECT_GT(forward_end, 0u) << "one stretch only";
    EXPECT_EQ(backward_begin, 0u);
  }
}

TEST(VulkanTable, BackwardNeedsAThreadAChannel) {
  DeviceLimits limits = all_limits().back();
  limits.max_workgroup_size = 128;
  Problem p = problem_of_sizes(Rule::kGla, Series::kProduction, 128, 64, 2, Pass::kBackward);
  p.form = Form::kRecurrent;
  EXPECT_NO_THROW(choose_variant(p, limits, "device"));
  p.key_dim = 256;
  try {
    choose_variant(p, limits, "device");
    FAIL() << "a workgroup of 256";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kRefused);
    EXPECT_NE(std::string(error.what()).find("needs workgroups of K = 256, has 128"), std::string::npos)
        << error.what();
  }
}

TEST(VulkanTable, NaiveIsRefusedInNumbers) {
  DeviceLimits limits = all_limits().back();
  limits.shared_memory_per_workgroup = 65536;
  Problem p = as_naive(problem_of_sizes(Rule::kGatedDelta, Series::kComparison, 64, 64, 16));
  try {
    choose_variant(p, limits, "this device");
    FAIL() << "256 KB of state in 64 KB of shared memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kRefused);
    EXPECT_NE(std::string(error.what()).find("naive: state 262144 B + tiles"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("> 65536 B of shared memory on this device"), std::string::npos)
        << error.what();
  }
}

// Factors of float16 (id 1) become ones of bfloat16 (a new id, 9), with its capabilities and extension where
// SPIR-V wants them; sums of float16 stay.
TEST(VulkanShaders, FactorsBecomeBfloat16) {
  const std::vector<std::uint32_t> header{0x07230203, 0x00010600, 0, 9, 0},
      after{0x07230203, 0x00010600, 0, 10, 0};
  const std::vector<std::uint32_t> capability{2u << 16 | 17, 1}, model{3u << 16 | 14, 0, 1};
  const std::vector<std::uint32_t> half{3u << 16 | 22, 1, 16}, types{3u << 16 | 22, 2, 32};
  // Ids 3 and 4: the uses of a first factor and of a sum; 7: the scope, rows and columns.
  const std::vector<std::uint32_t> uses{4u << 16 | 43, 8, 3, 0, 4u << 16 | 43, 8, 4, 2};
  const auto matrix = [](std::uint32_t id, std::uint32_t element, std::uint32_t use) {
    return std::vector<std::uint32_t>{7u << 16 | 4456, id, element, 7, 7, 7, use};
  };
  const auto join = [](std::initializer_list<std::vector<std::uint32_t>> parts) {
    std::vector<std::uint32_t> out;
    for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
  };
  std::vector<std::uint32_t> extension(6);
  extension[0] = 6u << 16 | 10;
  std::memcpy(&extension[1], "SPV_KHR_bfloat16", 17);
  const std::vector<std::uint32_t> capabilities{2u << 16 | 17, 5116, 2u << 16 | 17, 5118};
  EXPECT_EQ(
      with_bfloat16(join({header, capability, model, half, types, uses, matrix(5, 1, 3), matrix(6, 1, 4)})),
      join({after,
            capabilities,
            capability,
            extension,
            model,
            half,
            {4u << 16 | 22, 9, 16, 0},
            types,
            uses,
            matrix(5, 9, 3),
            matrix(6, 1, 4)}));
  EXPECT_THROW(with_bfloat16(join({header, capability, model, half, types, uses, matrix(6, 1, 4)})), Error);
}

TEST(VulkanShaders, ConstantsMustMatch) {
  PipelineRequest request{"ceiling_copy", {{"NOT_THERE", 1}}, 64, 0};
  EXPECT_THROW(shared_memory_bytes(request), Error);
  request = {"comparison.linear.32", {{"KEY_DIM", 64}}, 64, 0};
  EXPECT_THROW(shared_memory_bytes(request), Error);
  EXPECT_THROW(find_module("no such shader"), Error);
}

}  // namespace
}  // namespace statescope::vulkan
