// The cpu behind the interface of every device.
#include <gtest/gtest.h>

#include <cmath>

#include <statescope/device.h>
#include <statescope/error.h>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/cpu_device.h"
#include "runtime/cpu/reference.h"

namespace statescope {
namespace {

std::shared_ptr<Device> open_cpu() {
  BackendStatus status{Api::kCpu, false, ""};
  const auto entries = cpu::find_devices(status);
  return entries.at(0).open();
}

Problem example(Rule rule, Pass pass, DType dtype) {
  Problem problem;
  problem.rule = rule;
  problem.pass = pass;
  problem.dtype = dtype;
  problem.batch = problem.sequences = 2;
  problem.seq_len = pass == Pass::kStep ? 1 : 20;
  problem.heads = 2;
  problem.expansion = 2;
  problem.key_dim = 32;
  problem.value_dim = 16;
  problem.scale = default_scale(32);
  problem.initial_state = true;
  return problem;
}

TEST(CpuDevice, IsFoundOnce) {
  BackendStatus status{Api::kCpu, false, ""};
  const auto entries = cpu::find_devices(status);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].info.name, "cpu");
  EXPECT_EQ(entries[0].info.api, Api::kCpu);
  EXPECT_FALSE(entries[0].info.hardware);
  EXPECT_FALSE(entries[0].info.description.empty());
}

TEST(CpuDevice, RoundsOutputsToTheirTypesAndNothingElse) {
  const auto device = open_cpu();
  for (Pass pass : kPasses) {
    for (DType dtype : kRunTypes) {
      for (Form form : {Form::kRecurrent, Form::kChunked}) {
        if (pass == Pass::kStep && form == Form::kChunked) continue;
        Problem problem = example(Rule::kGatedDelta, pass, dtype);
        problem.form = form;
        const TensorSet inputs = round_inputs(problem, generate_inputs(problem, 1));
        const auto execution = device->prepare(device->plan(problem));
        execution->upload(inputs);
        execution->poison();
        execution->run();
        const TensorSet outputs = execution->download();
        const TensorSet reference = cpu::run_recurrent(problem, inputs);
        for (const OutputError& e : compare_outputs(problem, outputs, reference)) {
          EXPECT_EQ(outputs[e.slot].dtype, dtype_of(problem, e.slot)) << name(e.slot);
          // Half a unit in the last place of 24, 11 or 8 bits.
          const DType type = dtype_of(problem, e.slot);
          const double rounding = type == DType::kF32 ? 6e-8 : type == DType::kF16 ? 5e-4 : 4e-3;
          EXPECT_LE(e.error, rounding) << name(pass) << " " << name(dtype) << " " << name(e.slot);
        }
      }
    }
  }
}

TEST(CpuDevice, PoisonIsNaNUntilTheRun) {
  const auto device = open_cpu();
  for (DType dtype : kRunTypes) {
    const Problem problem = example(Rule::kGla, Pass::kForward, dtype);
    const auto execution = device->prepare(device->plan(problem));
    const TensorSet inputs = generate_inputs(problem, 1);
    execution->upload(inputs);
    execution->run();
    const TensorSet reference = cpu::run_recurrent(problem, inputs);
    EXPECT_TRUE(std::isfinite(relative_rms(execution->download()[Slot::kO], reference[Slot::kO])));
    execution->poison();
    EXPECT_TRUE(std::isinf(relative_rms(execution->download()[Slot::kO], reference[Slot::kO])));
    EXPECT_TRUE(std::isinf(relative_rms(execution->download()[Slot::kHt], reference[Slot::kHt])));
  }
}

TEST(CpuDevice, StepUpdatesTheStateInPlace) {
  const auto device = open_cpu();
  const Problem step = example(Rule::kGatedDelta, Pass::kStep, DType::kF32);
  TensorSet inputs = generate_inputs(step, 2);
  const auto execution = device->prepare(device->plan(step));
  execution->upload(inputs);
  execution->run();
  execution->run();
  inputs[Slot::kH0] = cpu::run_recurrent(step, inputs)[Slot::kHt];
  const TensorSet twice = cpu::run_recurrent(step, inputs);
  EXPECT_LE(relative_rms(execution->download()[Slot::kHt], twice[Slot::kHt]), 1e-6);
  EXPECT_LE(relative_rms(execution->download()[Slot::kO], twice[Slot::kO]), 1e-6);
}

TEST(CpuDevice, PlanSaysWhatItWillUse) {
  const auto device = open_cpu();
  const Problem problem = example(Rule::kSsd, Pass::kBackward, DType::kBf16);
  const Plan plan = device->plan(problem);
  EXPECT_EQ(plan.problem.form, Form::kRecurrent);
  EXPECT_EQ(plan.device, "cpu");
  EXPECT_EQ(plan.variant, nullptr);
  ASSERT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.launches[0].kernel, "cpu.recurrent.backward");
  EXPECT_EQ(plan.launches[0].workgroups[0], 8u);  // 2 rows x 2 heads x 2 subheads
  // q k dq dk: 2 x 20 x 1 x 2 x 32; v do dv: 2 x 20 x 2 x 16; g dg: 2 x 20 x 2 x 2; h0 dh0: 2 x 2 x 2 x 32
  // x 16.
  EXPECT_EQ(plan.device_memory_bytes, 2 * (4 * 2560 + 3 * 1280) + 4 * (2 * 160 + 2 * 4096));
}

TEST(CpuDevice, RefusesWhatHasNoMeaning) {
  const auto device = open_cpu();
  Problem step = example(Rule::kSsd, Pass::kStep, DType::kF32);
  step.form = Form::kChunked;
  EXPECT_THROW(device->plan(step), Error);
  Problem narrow = example(Rule::kSsd, Pass::kForward, DType::kF32);
  narrow.key_dim = 24;
  EXPECT_THROW(device->plan(narrow), Error);
}

TEST(CpuDevice, TimesEachRun) {
  const auto device = open_cpu();
  const Problem problem = example(Rule::kLinear, Pass::kForward, DType::kF32);
  const auto execution = device->prepare(device->plan(problem), 2);
  execution->upload(generate_inputs(problem, 1));
  const auto times = execution->time(3);
  ASSERT_EQ(times.size(), 3u);
  for (const RunTime& time : times) {
    EXPECT_GT(time.total, 0);
    ASSERT_EQ(time.launches.size(), 1u);
    EXPECT_EQ(time.launches[0], time.total);
  }
}

TEST(CpuDevice, CeilingsAreWithinReason) {
  const Ceilings ceilings = open_cpu()->measure_ceilings();
  EXPECT_GT(ceilings.copy_bytes_per_second, 1e8);
  EXPECT_LT(ceilings.copy_bytes_per_second, 1e13);
  EXPECT_GT(ceilings.f32_flop_per_second, 1e8);
  EXPECT_LT(ceilings.f32_flop_per_second, 1e14);
  EXPECT_EQ(ceilings.matrix_flop_per_second, 0);
}

}  // namespace
}  // namespace statescope
