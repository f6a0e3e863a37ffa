// The backend beside its numbers: the variant table against the driver, repeatability, steps in place,
// refusals.
#include <cmath>
#include <cstring>

#include <statescope/error.h>

#include "tests/cuda/cuda_fixture.h"
#include "tests/example_problem.h"

namespace statescope {
namespace {

class CudaDevice : public CudaTest {};

TEST_F(CudaDevice, SaysWhatItIs) {
  const DeviceInfo& info = device()->info();
  EXPECT_EQ(info.name, "cuda:0");
  EXPECT_FALSE(info.description.empty());
  EXPECT_NE(info.driver.find("CUDA"), std::string::npos);
  EXPECT_TRUE(info.hardware);
  EXPECT_NE(info.uuid, decltype(info.uuid){});
  EXPECT_GE(info.limits.shared_memory_per_workgroup, 48u * 1024);
  EXPECT_GT(info.limits.multiprocessors, 0u);
  EXPECT_GE(info.limits.compute_capability, 50);
}

TEST_F(CudaDevice, TableAgreesWithTheDriver) {
  for (Series series : {Series::kProduction, Series::kComparison}) {
    for (Rule rule : kRules) {
      for (Pass pass : kPasses) {
        if (series == Series::kComparison && pass == Pass::kBackward) continue;
        for (std::int64_t key_dim : {16, 32, 80, 128, 256}) {
          for (std::int64_t expansion : {1, 3, 8, 16, 40}) {
            Problem p = example_problem(rule, pass, DType::kBf16);
            p.series = series;
            p.key_dim = key_dim;
            p.expansion = expansion;
            if (series == Series::kComparison && expansion > 1) p.value_dim = 32;
            SCOPED_TRACE(describe(p));
            const Plan plan = device()->plan(p);
            ASSERT_FALSE(plan.launches.empty());
            for (const Launch& launch : plan.launches) {
              SCOPED_TRACE(launch.kernel);
              EXPECT_EQ(launch.shared_memory_bytes, launch.reported_shared_memory_bytes);
              EXPECT_LE(launch.shared_memory_bytes, plan.geometry.shared_memory_bytes());
              EXPECT_GT(launch.registers.value(), 0);
              EXPECT_LE(launch.spill_bytes.value(), 128u);
              EXPECT_GT(launch.occupancy.value(), 0);
            }
            EXPECT_EQ(plan.launches[0].workgroups, plan.geometry.workgroups);
            EXPECT_EQ(plan.launches[0].workgroup_size, plan.geometry.workgroup_size);
          }
        }
      }
    }
  }
}

TEST_F(CudaDevice, RepeatsItsBits) {
  for (Rule rule : kRules) {
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (DType dtype : {DType::kF32, DType::kBf16}) {
        Problem p = example_problem(rule, pass, dtype);
        p.seq_len = 333;
        p.expansion = 8;
        p.key_dim = 128;
        SCOPED_TRACE(describe(p));
        expect_same_bits(p, round_inputs(p, generate_inputs(p, 7, Gates::kSpike)));
      }
    }
  }
}

// Every kernel once, small enough for compute-sanitizer's slow tools.
TEST_F(CudaDevice, RunsTinySizes) {
  for (Series series : {Series::kProduction, Series::kComparison}) {
    for (Rule rule : kRules) {
      for (Pass pass : kPasses) {
        if (series == Series::kComparison && pass == Pass::kBackward) continue;
        Problem p = example_problem(rule, pass, DType::kBf16);
        p.series = series;
        if (pass != Pass::kStep) p.seq_len = 19;
        p.heads = 2;
        p.qk_heads = 1;
        p.expansion = 2;
        p.key_dim = 32;
        p.value_dim = 32;
        check(p, 5, Gates::kSpike);
      }
    }
  }
}

// Sizes that divide no tile: padded K, V of odd 16ths, more subheads than a block has warps, three heads a
// key head.
TEST_F(CudaDevice, RunsOddSizes) {
  for (Rule rule : kRules) {
    for (Pass pass : kPasses) {
      for (std::int64_t key_dim : {16, 48, 80, 240}) {
        for (std::int64_t expansion : {5, 17, 40}) {
          Problem p = example_problem(rule, pass, key_dim == 48 ? DType::kF16 : DType::kF32);
          p.heads = 3;
          p.qk_heads = 1;
          p.expansion = expansion;
          p.key_dim = key_dim;
          p.value_dim = key_dim == 80 ? 16 : 112;
          check(p, 11, Gates::kSpike);
        }
      }
    }
  }
}

// All gates strong: dg is tiny beside the terms that a cumulated sum would take it from.
TEST_F(CudaDevice, KeepsTheGradientOfStrongGates) {
  for (Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta}) {
    for (float gate : {-1.0f, -6.0f, -12.0f}) {
      Problem p = example_problem(rule, Pass::kBackward, DType::kF32);
      p.seq_len = 200;
      TensorSet inputs = generate_inputs(p, 3);
      for (float& g : inputs[Slot::kG].as<float>()) g += gate;
      const TensorSet outputs = run(p, inputs);
      for (const OutputError& e : compare_outputs(p, outputs, cpu::run_recurrent(p, inputs))) {
        EXPECT_TRUE(e.ok()) << name(rule) << " gate " << gate << " " << name(e.slot) << ": error " << e.error;
      }
    }
  }
}

TEST_F(CudaDevice, StepUpdatesTheStateInPlace) {
  for (Series series : {Series::kProduction, Series::kComparison}) {
    for (Rule rule : kRules) {
      Problem p = example_problem(rule, Pass::kStep, DType::kF32);
      p.series = series;
      TensorSet inputs = generate_inputs(p, 2);
      const auto execution = device()->prepare(device()->plan(p));
      execution->upload(inputs);
      for (int token = 0; token < 3; ++token) {
        execution->poison();
        execution->run();
        const TensorSet reference = cpu::run_recurrent(p, inputs);
        for (const OutputError& e : compare_outputs(p, execution->download(), reference)) {
          EXPECT_TRUE(e.ok()) << name(rule) << " token " << token << " " << name(e.slot) << ": " << e.error;
        }
        inputs[Slot::kH0] = reference[Slot::kHt];
      }
    }
  }
}

TEST_F(CudaDevice, PoisonIsNaNUntilTheRun) {
  for (DType dtype : kRunTypes) {
    const Problem p = example_problem(Rule::kGla, Pass::kForward, dtype);
    const TensorSet inputs = round_inputs(p, generate_inputs(p, 1));
    const TensorSet reference = cpu::run_recurrent(p, inputs);
    const auto execution = device()->prepare(device()->plan(p));
    execution->upload(inputs);
    execution->run();
    EXPECT_TRUE(std::isfinite(relative_rms(execution->download()[Slot::kO], reference[Slot::kO])));
    execution->poison();
    EXPECT_TRUE(std::isinf(relative_rms(execution->download()[Slot::kO], reference[Slot::kO])));
    EXPECT_TRUE(std::isinf(relative_rms(execution->download()[Slot::kHt], reference[Slot::kHt])));
  }
}

// Every input set is a problem of its own: time() must have run them all.
TEST_F(CudaDevice, TimesEachRun) {
  const Problem p = example_problem(Rule::kGatedDelta, Pass::kBackward, DType::kBf16);
  const auto execution = device()->prepare(device()->plan(p), 3);
  execution->upload(round_inputs(p, generate_inputs(p, 1)));
  const auto times = execution->time(7);
  ASSERT_EQ(times.size(), 7u);
  for (const RunTime& time : times) {
    ASSERT_EQ(time.launches.size(), execution->plan().launches.size());
    ASSERT_EQ(time.begins.size(), time.launches.size());
    double sum = 0;
    for (double launch : time.launches) {
      EXPECT_GT(launch, 0);
      sum += launch;
    }
    EXPECT_NEAR(sum, time.total, 5e-6);
  }
  EXPECT_GT(times[6].begins[0], times[0].begins[0]);
}

TEST_F(CudaDevice, ReportsWhatWasCompiled) {
  const Plan plan = device()->plan(example_problem(Rule::kGatedDelta, Pass::kBackward, DType::kF32));
  const auto compiled = device()->compile(plan);
  ASSERT_EQ(compiled.size(), plan.launches.size());
  for (std::size_t i = 0; i < compiled.size(); ++i) {
    EXPECT_EQ(compiled[i].kernel, plan.launches[i].kernel);
    EXPECT_EQ(compiled[i].statistics.at(0).value, plan.launches[i].registers);
    EXPECT_FALSE(compiled[i].symbol.empty());
  }
}

TEST_F(CudaDevice, RefusesInNumbers) {
  Problem p = example_problem(Rule::kGatedDelta, Pass::kForward, DType::kF32);
  p.expansion = 16;
  p.key_dim = 256;
  p.value_dim = 256;
  p.series = Series::kComparison;
  try {
    device()->plan(as_naive(p));
    FAIL() << "4 MB of state in shared memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kRefused);
    EXPECT_NE(std::string(error.what()).find("state 4194304 B"), std::string::npos) << error.what();
    EXPECT_NE(
        std::string(error.what()).find(std::to_string(device()->info().limits.shared_memory_per_workgroup)),
        std::string::npos)
        << error.what();
  }
}

TEST_F(CudaDevice, SaysWhenMemoryRunsOut) {
  Problem p = example_problem(Rule::kGatedDelta, Pass::kBackward, DType::kF32);
  p.seq_len = 1 << 24;
  p.expansion = 16;
  try {
    device()->prepare(device()->plan(p));
    FAIL() << "terabytes were allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("allocating"), std::string::npos) << error.what();
  }
  // And the device still runs.
  check(example_problem(Rule::kSsd, Pass::kForward, DType::kF32), 1, Gates::kModel);
}

TEST_F(CudaDevice, UploadChecksTypes) {
  const Problem p = example_problem(Rule::kSsd, Pass::kForward, DType::kBf16);
  const auto execution = device()->prepare(device()->plan(p));
  EXPECT_THROW(execution->upload(generate_inputs(p, 1)), Error);  // float32, not rounded
}

TEST_F(CudaDevice, CeilingsAreWithinReason) {
  const Ceilings ceilings = device()->measure_ceilings();
  EXPECT_GT(ceilings.copy_bytes_per_second, 5e10);
  EXPECT_LT(ceilings.copy_bytes_per_second, 2e13);
  EXPECT_GT(ceilings.f32_flop_per_second, 1e12);
  EXPECT_LT(ceilings.f32_flop_per_second, 5e14);
  EXPECT_GT(ceilings.matrix_flop_per_second, ceilings.f32_flop_per_second);
  EXPECT_LT(ceilings.matrix_flop_per_second, 1e16);
}

}  // namespace
}  // namespace statescope
