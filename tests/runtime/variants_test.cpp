// The one table: every row is well-formed, and the dispatcher refuses with numbers.
#include <gtest/gtest.h>

#include <set>

#include <statescope/cost.h>
#include <statescope/error.h>
#include <statescope/variants.h>

#include "runtime/cuda_gradients.h"
#include "tests/runtime/hopper_limits.h"

namespace statescope {
namespace {

DeviceLimits vulkan(std::uint32_t subgroup, std::size_t shared) {
  DeviceLimits limits;
  limits.api = Api::kVulkan;
  limits.shared_memory_per_workgroup = shared;
  limits.subgroup_min = limits.subgroup_max = subgroup;
  limits.max_workgroup_size = subgroup == 4 ? 256 : 1024;
  return limits;
}

Problem sized(Rule rule, Pass pass, std::int64_t expansion, std::int64_t dim) {
  Problem p;
  p.rule = rule;
  p.pass = pass;
  p.expansion = expansion;
  p.key_dim = p.value_dim = dim;
  p.initial_state = pass == Pass::kStep;
  p.seq_len = pass == Pass::kStep ? 1 : 128;
  return p;
}

TEST(Variants, RowsAreWellFormed) {
  std::set<std::string_view> names;
  EXPECT_FALSE(cuda_variants().empty());
  EXPECT_FALSE(vulkan_variants().empty());
  for (const Variant& v : variants()) {
    EXPECT_TRUE(names.insert(v.name).second) << v.name << " stands twice";
    EXPECT_FALSE(v.reason.empty()) << v.name;
    EXPECT_NE(v.form, Form::kAuto) << v.name;
    EXPECT_TRUE(v.rules && v.passes && v.dtypes) << v.name;
    EXPECT_LE(v.key_dim.min, v.key_dim.max) << v.name;
  }
}

TEST(Variants, ForwardAndStepAreCoveredEverywhere) {
  for (const DeviceLimits& limits :
       {hopper_limits(), vulkan(4, 16384), vulkan(8, 32768), vulkan(64, 65536)}) {
    for (Rule rule : kRules) {
      for (Pass pass : {Pass::kForward, Pass::kStep}) {
        for (std::int64_t dim : {16, 48, 64, 128, 256}) {
          for (std::int64_t expansion : {1, 3, 16}) {
            const Problem p = sized(rule, pass, expansion, dim);
            SCOPED_TRACE(describe(p) + " subgroup " + std::to_string(limits.subgroup_min));
            Choice choice{};
            ASSERT_NO_THROW(choice = choose_variant(p, limits, "test"));
            EXPECT_LE(choice.geometry.shared_memory_bytes(), limits.shared_memory_per_workgroup);
            EXPECT_LE(choice.geometry.workgroup_size, limits.max_workgroup_size);
            EXPECT_GT(choice.geometry.workgroup_size, 0u);
          }
        }
      }
    }
  }
}

/// The paper's table 2 on an RTX 3090 (99 KB a block): the naive division of a 128 x 128 head runs out at E =
/// 8 and 16.
TEST(Variants, NaiveRunsOutWhereThePaperDoes) {
  DeviceLimits limits = hopper_limits();
  limits.shared_memory_per_workgroup = 101376;
  limits.compute_capability = 86;
  for (std::int64_t expansion : {8, 16}) {
    Problem p = sized(Rule::kGatedDelta, Pass::kForward, expansion, 128);
    p.series = Series::kComparison;
    EXPECT_NO_THROW(choose_variant(p, limits, "RTX 3090"));
    try {
      choose_variant(as_naive(p), limits, "RTX 3090");
      FAIL() << "naive fits at E = " << expansion;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kRefused);
      const std::string state = std::to_string(expansion * 128 * 128 * 4);
      EXPECT_NE(std::string(error.what()).find("naive: state " + state + " B + tiles"), std::string::npos)
          << error.what();
      EXPECT_NE(std::string(error.what()).find("> 101376 B of shared memory on RTX 3090"), std::string::npos);
    }
  }
}

/// 99 KB a block are enough for the passes of K = V = 128, except for the gradients of gla.
TEST(Variants, PassesFitConsumerDevices) {
  DeviceLimits limits = hopper_limits();
  limits.shared_memory_per_workgroup = 101376;
  limits.compute_capability = 86;
  for (Rule rule : {Rule::kLinear, Rule::kSsd, Rule::kGatedDelta}) {
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (std::int64_t dim : {64, 128}) {
        Problem p = sized(rule, pass, 8, dim);
        p.form = Form::kChunked, p.dtype = DType::kBf16, p.seq_len = 1000;
        EXPECT_EQ(choose_variant(p, limits, "RTX 3090").variant->name,
                  pass == Pass::kForward ? "cuda.multipass.forward" : "cuda.multipass.backward");
      }
    }
  }
}

TEST(Variants, WarpgroupPassesRunWhereTheyExist) {
  DeviceLimits older = hopper_limits();
  older.compute_capability = 80;
  older.shared_memory_per_workgroup = 166912;
  for (std::int64_t dim : {64, 128, 256}) {
    Problem p = sized(Rule::kGatedDelta, Pass::kBackward, 8, dim);
    p.form = Form::kChunked, p.dtype = DType::kBf16, p.seq_len = 1000;
    EXPECT_EQ(choose_variant(p, hopper_limits(), "large").variant->name, "cuda.multipass.hopper_backward");
    if (dim < 256) {
      EXPECT_EQ(choose_variant(p, older, "older").variant->name, "cuda.multipass.backward");
    }
    EXPECT_EQ(cuda_multipass::has_hopper_gradients(dim, dim), dim < 256);
  }
  // Scores are made late once every multiprocessor has a chain, and only for gradients that need none.
  EXPECT_FALSE(cuda_multipass::scores_made_late(132, 128, 128, 132));
  EXPECT_TRUE(cuda_multipass::scores_made_late(133, 128, 64, 132));
  EXPECT_FALSE(cuda_multipass::scores_made_late(1000, 128, 256, 132));
}

TEST(Variants, RingOfTheGradientsHoldsAChunkAndMore) {
  for (int k : {64, 128})
    for (int v : {64, 128})
      for (bool delta : {false, true}) {
        const cuda_multipass::HopperGradientMap map = cuda_multipass::hopper_gradient_map(k, v, delta);
        EXPECT_GT(map.slots, map.tiles);
        EXPECT_LE(map.bytes, hopper_limits().shared_memory_per_workgroup);
        EXPECT_EQ(map.full % 8, 0u);
      }
}

TEST(Variants, GradientsOfTheStateHaveThreeStages) {
  for (int k : {64, 128})
    for (int tile : {64, 128})
      for (bool delta : {false, true}) {
        const cuda_multipass::SerialMap map = cuda_multipass::state_gradients_scores_map(k, tile, delta);
        EXPECT_EQ(map.stages, 3);
        EXPECT_LE(map.bytes, hopper_limits().shared_memory_per_workgroup);
        EXPECT_EQ(map.made % 1024, 0u);
      }
}

TEST(Variants, ForwardOfFewChainsRunsInPasses) {
  const auto variant = [](Rule rule, std::int64_t expansion, std::int64_t batch, std::int64_t dim) {
    Problem p = sized(rule, Pass::kForward, expansion, dim);
    p.form = Form::kChunked, p.dtype = DType::kBf16, p.seq_len = 1024;  // too short for segments
    p.batch = p.sequences = batch, p.heads = p.qk_heads = 8;
    return choose_variant(p, hopper_limits(), "large").variant->name;
  };
  EXPECT_EQ(variant(Rule::kGatedDelta, 1, 4, 128), "cuda.multipass.single_forward");
  EXPECT_EQ(variant(Rule::kGatedDelta, 1, 8, 128), "cuda.multipass.single_forward");
  EXPECT_EQ(variant(Rule::kGatedDelta, 1, 9, 128), "cuda.chunked.forward");  // 144 tiles of V
  EXPECT_EQ(variant(Rule::kGatedDelta, 4, 1, 128), "cuda.multipass.hopper_forward");
  EXPECT_EQ(variant(Rule::kGatedDelta, 8, 1, 128), "cuda.chunked.forward");
  EXPECT_EQ(variant(Rule::kSsd, 2, 1, 128), "cuda.multipass.hopper_forward");
  EXPECT_EQ(variant(Rule::kSsd, 4, 1, 128), "cuda.chunked.forward");
  EXPECT_EQ(variant(Rule::kGatedDelta, 8, 4, 128), "cuda.chunked.forward");
  EXPECT_EQ(variant(Rule::kGatedDelta, 4, 4, 256), "cuda.multipass.hopper_forward");
}

// A step of few heads shares a head's subheads out, until each multiprocessor has two blocks.
TEST(Variants, StepsOfFewHeadsUseEveryMultiprocessor) {
  const auto blocks = [](std::int64_t expansion, std::int64_t batch, DeviceLimits limits) {
    Problem p = sized(Rule::kGatedDelta, Pass::kStep, expansion, 128);
    p.dtype = DType::kBf16, p.batch = p.sequences = batch, p.heads = p.qk_heads = 8;
    return choose_variant(p, limits, "large").geometry.workgroups[0];
  };
  const DeviceLimits limits = hopper_limits();  // 132 multiprocessors
  EXPECT_EQ(blocks(1, 1, limits), 16u);
  EXPECT_EQ(blocks(3, 1, limits), 32u);
  EXPECT_EQ(blocks(16, 1, limits), 128u);
  EXPECT_EQ(blocks(16, 4, limits), 256u);
  EXPECT_EQ(blocks(16, 64, limits), 1024u);
  DeviceLimits older = limits;
  older.compute_capability = 80;  // has no clusters
  EXPECT_EQ(blocks(16, 1, older), 16u);
}

TEST(Variants, OccupancyIsTheScarcestResource) {
  Geometry geometry;
  geometry.workgroup_size = 256;
  geometry.tile_bytes = 100 * 1024;
  const Occupancy two = predict_occupancy(geometry, hopper_limits());
  EXPECT_EQ(two.workgroups_per_multiprocessor, 2);
  EXPECT_EQ(two.limited_by, "shared memory");
  EXPECT_DOUBLE_EQ(two.fraction, 512.0 / 2048.0);
  geometry.tile_bytes = 0;
  EXPECT_EQ(predict_occupancy(geometry, hopper_limits()).limited_by, "threads");
}

TEST(Cost, CountsBytesAndState) {
  // DESIGN section 5: GDN forward at B 4, T 4096, H 8, E 8, K = V = 128, bf16 moves about 0.6 GB and 10 K V
  // flop a token.
  Problem p = sized(Rule::kGatedDelta, Pass::kForward, 8, 128);
  p.dtype = DType::kBf16;
  p.batch = p.sequences = 4;
  p.heads = p.qk_heads = 8;
  p.seq_len = 4096;
  EXPECT_NEAR(minimum_bytes(p), 0.63e9, 0.02e9);
  EXPECT_NEAR(flop(p, Form::kChunked) / (4.0 * 4096 * 8 * 8 * 128 * 128), 10, 0.5);
  EXPECT_EQ(state_elements(p), 8.0 * 8 * 128 * 128);
  EXPECT_EQ(transformer_equivalent_context(8, 128, 128), 1024);  // the paper, section 5.1
  EXPECT_EQ(transformer_equivalent_context(4, 256, 256), 1024);
}

}  // namespace
}  // namespace statescope
