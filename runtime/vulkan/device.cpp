#include "runtime/vulkan/device.h"

#include <algorithm>

#include <statescope/error.h>

#include "runtime/vulkan/ceilings.h"
#include "runtime/vulkan/compute.h"
#include "runtime/vulkan/execution.h"
#include "runtime/vulkan/kernels.h"
#include "runtime/vulkan/self_test.h"

namespace statescope::vulkan {
namespace {

std::string number(std::uint64_t x) {
  return std::to_string(x);
}

class VulkanDevice : public Device {
 public:
  VulkanDevice(const PhysicalDevice& physical, const LaunchBounds& bounds)
      : gpu_(open_gpu(physical)), info_(physical.info), bounds_(bounds) {
    if (!info_.can_run || !info_.limits.subgroup_shuffle) return;
    const std::uint32_t subgroup = std::clamp(32u, info_.limits.subgroup_min, info_.limits.subgroup_max);
    const std::string fault = find_subgroup_fault(gpu_, subgroup);
    if (fault.empty()) return;
    info_.limits.subgroup_shuffle = false;
    info_.notes.push_back(fault + ": not used, a column of the state stays in one invocation");
  }

  const DeviceInfo& info() const override { return info_; }

  Plan plan(const Problem& problem) override {
    const Choice choice = choose_variant(problem, info_.limits, info_.name);
    Plan plan;
    plan.problem = problem;
    plan.problem.form = choice.variant->form;
    plan.device = info_.name;
    plan.variant = choice.variant;
    plan.geometry = choice.geometry;
    std::vector<Scratch> buffers;
    for (Slot slot : kSlots)
      buffers.push_back({std::string(statescope::name(slot)), buffer_bytes(plan.problem, slot)});
    check_buffers(buffers);  // sizes that no buffer has would be as many dispatches
    const Dispatches dispatches = dispatches_of(plan.problem, choice, info_, bounds_);
    for (const Dispatch& dispatch : dispatches.list) {
      check_workgroups(dispatch);
      Launch launch;
      launch.kernel = dispatch.kernel;
      launch.workgroups = dispatch.workgroups;
      launch.workgroup_size = dispatch.pipeline.workgroup_size;
      launch.shared_memory_bytes = dispatch.shared_memory_bytes;
      plan.launches.push_back(launch);
    }
    buffers.insert(buffers.end(), dispatches.scratch.begin(), dispatches.scratch.end());
    plan.device_memory_bytes = check_buffers(buffers);
    return plan;
  }

  std::unique_ptr<Execution> prepare(const Plan& plan, int input_sets) override {
    if (!info_.can_run)
      throw Error(ErrorKind::kRefused, info_.name + " compiles kernels only: it has no hardware");
    const Choice choice{plan.variant, plan.geometry};
    return make_execution(gpu_, plan, dispatches_of(plan.problem, choice, info_, bounds_), input_sets);
  }

  std::vector<CompiledKernel> compile(const Plan& plan) override {
    std::vector<CompiledKernel> out;
    const Choice choice{plan.variant, plan.geometry};
    for (const Dispatch& dispatch : dispatches_of(plan.problem, choice, info_, bounds_).list) {
      out.push_back(compile_verbosely(*gpu_, dispatch.pipeline));
      out.back().kernel = dispatch.kernel;
    }
    return out;
  }

  Ceilings measure_ceilings() override {
    if (!info_.can_run)
      throw Error(ErrorKind::kRefused, info_.name + " compiles kernels only: it has no hardware");
    return vulkan::measure_ceilings(gpu_);
  }

  std::shared_ptr<Compute> compute() override {
    if (!info_.can_run)
      throw Error(ErrorKind::kRefused, info_.name + " compiles kernels only: it has no hardware");
    return make_compute(gpu_, info_, bounds_);
  }

 private:
  void check_workgroups(const Dispatch& dispatch) const {
    const auto& most = gpu_->physical.properties.limits.maxComputeWorkGroupCount;
    for (std::size_t i = 0; i < 3; ++i) {
      if (dispatch.workgroups[i] > most[i])
        throw Error(ErrorKind::kRefused, dispatch.kernel + ": " + number(dispatch.workgroups[i]) +
                                             " workgroups > " + number(most[i]) + " on " + info_.name);
    }
  }

  /// Their sum, bytes.
  std::size_t check_buffers(const std::vector<Scratch>& buffers) const {
    const std::uint64_t range = gpu_->physical.properties.limits.maxStorageBufferRange;
    std::size_t total = 0;
    for (const auto& [called, bytes] : buffers) {
      if (bytes > range)
        throw Error(ErrorKind::kRefused, called + ": buffer of " + number(bytes) + " B > " + number(range) +
                                             " B, the largest of a shader on " + info_.name);
      total += bytes;
    }
    const std::uint64_t memory = device_memory_bytes(gpu_->physical);
    if (info_.can_run && total > memory)  // null hardware has none
      throw Error(ErrorKind::kRefused,
                  "buffers of " + number(total) + " B > " + number(memory) + " B of memory on " + info_.name);
    return total;
  }

  std::shared_ptr<Gpu> gpu_;
  DeviceInfo info_;
  LaunchBounds bounds_;
};

}  // namespace

std::shared_ptr<Device> make_device(const PhysicalDevice& physical, const LaunchBounds& bounds) {
  return std::make_shared<VulkanDevice>(physical, bounds);
}

}  // namespace statescope::vulkan
