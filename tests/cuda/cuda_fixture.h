// The first CUDA device, opened once. Without one every test is a recorded skip, and a failure where
// STATESCOPE_REQUIRE_DEVICES (a list of apis: "cuda,vulkan") says that this machine must have it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "cuda/cuda_device.h"
#include "cuda/execution.h"
#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/reference.h"
#include "tests/printers.h"

namespace statescope {

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (device()) return;
    const char* required = std::getenv("STATESCOPE_REQUIRE_DEVICES");
    if (required && std::string(required).find("cuda") != std::string::npos) {
      FAIL() << "STATESCOPE_REQUIRE_DEVICES asks for CUDA, but: " << reason();
    }
    GTEST_SKIP() << reason();
  }

  static const std::shared_ptr<Device>& device() {
    static const std::shared_ptr<Device> first = [] {
      BackendStatus status{Api::kCuda, false, ""};
      const auto entries = cuda::find_devices(status);
      reason() = status.reason;
      return entries.empty() ? nullptr : entries.front().open();
    }();
    return first;
  }
  static std::string& reason() {
    static std::string text;
    return text;
  }

  /// Plans of every variant of the problem's form that takes it on this device, the preferred one first, and
  /// of those that would take it with one multiprocessor: which of them is the fastest depends on sizes, and
  /// all must be right.
  static std::vector<Plan> all_plans(const Problem& problem) {
    std::vector<Plan> plans;
    DeviceInfo info = device()->info();
    for (const std::uint32_t multiprocessors : {info.limits.multiprocessors, 1u}) {
      info.limits.multiprocessors = multiprocessors;
      for (const Variant& v : cuda_variants()) {
        if (v.series != problem.series || v.form != problem.form || !has(v.rules, problem.rule) ||
            !has(v.passes, problem.pass) || !has(v.dtypes, problem.dtype) ||
            !v.key_dim.contains(problem.key_dim) || !v.value_dim.contains(problem.value_dim) ||
            !v.missing(problem, info.limits).empty() ||
            std::ranges::any_of(plans, [&](const Plan& plan) { return plan.variant == &v; })) {
          continue;
        }
        const Geometry geometry = v.geometry(problem, info.limits);
        if (geometry.shared_memory_bytes() <= info.limits.shared_memory_per_workgroup)
          plans.push_back(cuda::make_plan(problem, info, {&v, geometry}));
      }
    }
    return plans;
  }

  /// Poisons, runs once and returns the outputs.
  static TensorSet run(const Problem& problem, const TensorSet& inputs) {
    return run(device()->plan(problem), inputs);
  }
  static TensorSet run(const Plan& plan, const TensorSet& inputs) {
    const auto execution = device()->prepare(plan);
    execution->upload(inputs);
    execution->poison();
    execution->run();
    return execution->download();
  }

  /// Twenty runs of the same inputs give the same bits.
  static void expect_same_bits(const Problem& problem, const TensorSet& inputs) {
    expect_same_bits(device()->plan(problem), inputs);
  }
  static void expect_same_bits(const Plan& plan, const TensorSet& inputs) {
    const auto execution = device()->prepare(plan);
    execution->upload(inputs);
    TensorSet first;
    for (int repeat = 0; repeat < 20; ++repeat) {
      execution->poison();
      execution->run();
      TensorSet outputs = execution->download();
      if (repeat == 0) {
        first = std::move(outputs);
        continue;
      }
      for (Slot slot : kSlots)
        ASSERT_EQ(first[slot].bytes, outputs[slot].bytes) << name(slot) << ", repeat " << repeat;
    }
  }

  /// Runs generated inputs and holds every output against the float64 reference of the rounded inputs.
  /// Returns the largest error over its tolerance.
  static double check(const Problem& problem, std::uint64_t seed, Gates gates) {
    return check({device()->plan(problem)}, seed, gates);
  }
  /// The same of several plans of one problem.
  static double check(const std::vector<Plan>& plans, std::uint64_t seed, Gates gates) {
    const Problem& problem = plans.front().problem;
    const TensorSet inputs = round_inputs(problem, generate_inputs(problem, seed, gates));
    const TensorSet reference = cpu::run_recurrent(problem, inputs);
    double worst = 0;
    for (const Plan& plan : plans) {
      for (const OutputError& e : compare_outputs(problem, run(plan, inputs), reference)) {
        EXPECT_TRUE(e.ok()) << plan.variant->name << " " << describe(problem) << " " << name(e.slot)
                            << ": error " << e.error << " > " << e.tolerance;
        worst = std::max(worst, e.error / e.tolerance);
      }
    }
    return worst;
  }
};

}  // namespace statescope
