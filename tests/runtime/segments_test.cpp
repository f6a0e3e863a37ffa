// Into how many segments the table cuts long sequences.
#include "runtime/cuda_segments.h"

#include <gtest/gtest.h>

#include "tests/runtime/hopper_limits.h"

namespace statescope {
namespace {

using cuda_multipass::segments;

Problem sized(Rule rule, std::int64_t batch, std::int64_t expansion, std::int64_t tokens,
              std::int64_t dim = 128) {
  Problem p;
  p.rule = rule;
  p.form = Form::kChunked;
  p.dtype = DType::kBf16;
  p.batch = p.sequences = batch;
  p.seq_len = tokens;
  p.heads = p.qk_heads = 8;
  p.expansion = expansion;
  p.key_dim = p.value_dim = dim;
  return p;
}

std::string_view chosen(const Problem& p) {
  return choose_variant(p, hopper_limits(), "H200").variant->name;
}

TEST(Segments, OneLongSequenceOfFewHeadsIsCut) {
  for (const std::int64_t tokens : {16384, 65536, 131072}) {
    for (const Rule rule : {Rule::kLinear, Rule::kSsd, Rule::kGatedDelta}) {
      for (const std::int64_t expansion : {1, 2}) {
        const Problem p = sized(rule, 1, expansion, tokens);
        EXPECT_GE(segments(p, hopper_limits()), 4) << describe(p);
        EXPECT_EQ(chosen(p), "cuda.segmented.forward") << describe(p);
      }
    }
    EXPECT_EQ(chosen(sized(Rule::kGla, 1, 1, tokens)), "cuda.segmented.gla_forward");
  }
}

TEST(Segments, WhatFillsTheDeviceIsLeftWhole) {
  for (const Rule rule : kRules) {
    for (const std::int64_t dim : {64, 128, 256}) {
      const Problem p = sized(rule, 4, 8, 4096, dim);
      EXPECT_EQ(segments(p, hopper_limits()), 1) << describe(p);
      EXPECT_FALSE(chosen(p).starts_with("cuda.segmented.")) << describe(p);
      EXPECT_EQ(segments(sized(rule, 1, 1, 128, dim), hopper_limits()), 1) << "two chunks";
    }
    // As many sequences of a packed row as fill it.
    Problem packed = sized(rule, 1, 1, 65536);
    packed.packed = true, packed.sequences = 64;
    EXPECT_EQ(segments(packed, hopper_limits()), 1);
    packed.sequences = 1;
    EXPECT_GT(segments(packed, hopper_limits()), 1);
  }
}

TEST(Segments, DependsOnTheDevice) {
  const Problem p = sized(Rule::kGatedDelta, 1, 1, 65536);
  DeviceLimits limits = hopper_limits();
  const int all = segments(p, limits);
  limits.multiprocessors = 66;
  const int half = segments(p, limits);
  EXPECT_LT(half, all);
  EXPECT_GT(half, 1);
  limits.multiprocessors = 1;
  EXPECT_EQ(segments(p, limits), 1);
  limits.multiprocessors = 0;
  EXPECT_EQ(segments(p, limits), 1) << "not known";
  limits = hopper_limits(), limits.compute_capability = 80;
  EXPECT_FALSE(choose_variant(p, limits, "A100").variant->name.starts_with("cuda.segmented."));
}

/// Whatever the sizes: no segment without a chunk, and what runs over the segments exists and fits.
TEST(Segments, EveryCutCanRun) {
  for (const Rule rule : kRules) {
    for (const std::int64_t dim : {64, 128, 256}) {
      for (const std::int64_t batch : {1, 2, 3}) {
        for (const std::int64_t expansion : {1, 2, 3, 5}) {
          for (const std::int64_t tokens : {1000, 2047, 4097, 10000, 33333}) {
            const Problem p = sized(rule, batch, expansion, tokens, dim);
            SCOPED_TRACE(describe(p));
            const int count = segments(p, hopper_limits());
            ASSERT_GE(count, 1);
            ASSERT_LE(count, cuda_multipass::kMostSegments);
            if (count == 1) continue;
            const std::int64_t chunks = (tokens + 63) / 64, share = (chunks + count - 1) / count;
            EXPECT_GT(chunks, share * (count - 1)) << count << " segments";
            const Choice choice = choose_variant(p, hopper_limits(), "H200");
            EXPECT_TRUE(choice.variant->name.starts_with("cuda.segmented."));
            EXPECT_EQ(choice.geometry.workgroups[1], static_cast<std::uint32_t>(count));
            const Problem cut = cuda_multipass::segments_of(p, count);
            const Variant& forward = cuda_multipass::forward_of_segments(cut, hopper_limits());
            EXPECT_FALSE(forward.name.starts_with("cuda.segmented."));
            EXPECT_LE(forward.geometry(cut, hopper_limits()).shared_memory_bytes(),
                      choice.geometry.shared_memory_bytes());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace statescope
