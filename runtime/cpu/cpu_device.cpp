#include "runtime/cpu/cpu_device.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <future>
#include <limits>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include <statescope/error.h>

#include "runtime/cpu/compute.h"
#include "runtime/cpu/reference.h"

namespace statescope::cpu {
namespace {

unsigned thread_count() {
  return std::max(1u, std::thread::hardware_concurrency());
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string model_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

DeviceInfo describe_host() {
  DeviceInfo info;
  info.name = "cpu";
  info.api = Api::kCpu;
  info.description = model_name();
  info.driver = "float64 reference, " + std::to_string(thread_count()) + " threads";
  info.limits.api = Api::kCpu;
  info.notes = {"computes in float64 and rounds the outputs: a yardstick for right, not for fast"};
  return info;
}

class CpuExecution : public Execution {
 public:
  CpuExecution(const Plan& plan, int input_sets) : plan_(plan), inputs_(input_sets) { poison(); }

  const Plan& plan() const override { return plan_; }

  void upload(const TensorSet& inputs) override {
    for (TensorSet& set : inputs_) set = round_inputs(plan_.problem, inputs);
  }

  void poison() override {
    for (Slot slot : kSlots) {
      if (is_input(slot) || !takes_part(plan_.problem, slot)) continue;
      Tensor nan(DType::kF32, shape_of(plan_.problem, slot));
      std::ranges::fill(nan.as<float>(), std::numeric_limits<float>::quiet_NaN());
      outputs_[slot] = convert(nan.view(), dtype_of(plan_.problem, slot));
    }
  }

  void run() override { run_on(inputs_.front()); }
  TensorSet download() override { return outputs_; }

  std::vector<RunTime> time(int count) override {
    std::vector<RunTime> times;
    for (int i = 0; i < count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      run_on(inputs_[i % inputs_.size()]);
      const double seconds = seconds_since(start);
      times.push_back({seconds, {seconds}});
    }
    return times;
  }

 private:
  void run_on(TensorSet& inputs) {
    const Problem& problem = plan_.problem;
    const TensorSet results =
        problem.form == Form::kChunked ? run_chunked(problem, inputs) : run_recurrent(problem, inputs);
    for (Slot slot : kSlots) {
      if (is_input(slot) || !takes_part(problem, slot)) continue;
      outputs_[slot] = convert(results[slot].view(), dtype_of(problem, slot));
    }
    for (Slot slot : kSlots) {
      if (!takes_part(problem, slot)) continue;
      if (const auto input = in_place_of(problem, slot)) inputs[*input] = outputs_[slot];
    }
  }

  Plan plan_;
  std::vector<TensorSet> inputs_;
  TensorSet outputs_;
};

/// Runs `work` on every core at once and returns the seconds until the last is done. Throws what one of them
/// throws.
template <typename Work>
double time_on_all_cores(Work work) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::future<void>> workers;
  try {
    for (unsigned i = 0; i < thread_count(); ++i) {
      workers.push_back(std::async(std::launch::async, [&work, i] { work(i); }));
    }
  } catch (const std::system_error&) {  // no memory for another thread
    throw std::bad_alloc();
  }
  for (auto& worker : workers) worker.wait();
  const double seconds = seconds_since(start);
  for (auto& worker : workers) worker.get();
  return seconds;
}

double measure_copy() {
  constexpr std::size_t kBytes = std::size_t{512} << 20;  // beyond any cache, over all threads
  const std::size_t share = kBytes / thread_count();
  std::vector<std::vector<std::byte>> from(thread_count()), to(thread_count());
  const auto allocate = [&](unsigned i) {
    from[i].assign(share, std::byte{1});
    to[i].assign(share, std::byte{2});
  };
  time_on_all_cores(allocate);
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 3; ++round) {
    best = std::min(best,
                    time_on_all_cores([&](unsigned i) { std::memcpy(to[i].data(), from[i].data(), share); }));
  }
  return 2.0 * static_cast<double>(share) * thread_count() / best;
}

double measure_multiply_add() {
  constexpr int kLanes = 32;  // independent sums, enough to hide the latency of one
  constexpr std::int64_t kRounds = 20'000'000;
  std::vector<float> sink(thread_count());
  const double seconds = time_on_all_cores([&](unsigned thread) {
    std::array<float, kLanes> sums;
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = static_cast<float>(lane);
    const float factor = 1.0f - 0x1p-20f * static_cast<float>(thread + 1);
    for (std::int64_t i = 0; i < kRounds; ++i) {
      for (float& sum : sums) sum = sum * factor + 0.5f;
    }
    for (float sum : sums) sink[thread] += sum;
  });
  volatile float keep = 0;  // the sums are used: the loop may not be dropped
  for (float sum : sink) keep = keep + sum;
  return 2.0 * kLanes * kRounds * thread_count() / seconds;
}

class CpuDevice : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }

  Plan plan(const Problem& problem) override {
    check(problem);
    if (problem.pass == Pass::kStep && problem.form == Form::kChunked) {
      throw Error(ErrorKind::kRefused, "step is one token and has no chunked form; wanted recurrent");
    }
    Plan plan;
    plan.problem = problem;
    if (problem.form == Form::kAuto) plan.problem.form = Form::kRecurrent;
    plan.device = info_.name;
    Launch launch;
    launch.kernel = "cpu." + std::string(name(plan.problem.form)) + "." + std::string(name(problem.pass));
    launch.workgroups[0] = static_cast<std::uint32_t>(problem.sequences * problem.heads * problem.expansion);
    plan.geometry.workgroups = launch.workgroups;
    plan.launches = {launch};
    for (Slot slot : kSlots) {
      if (!takes_part(problem, slot)) continue;
      plan.device_memory_bytes += element_count(shape_of(problem, slot)) * size_of(dtype_of(problem, slot));
    }
    if (plan.device_memory_bytes > memory_bytes()) {
      throw Error(ErrorKind::kRefused, "tensors of " + std::to_string(plan.device_memory_bytes) + " B > " +
                                           std::to_string(memory_bytes()) + " B of memory on cpu");
    }
    return plan;
  }

  std::unique_ptr<Execution> prepare(const Plan& plan, int input_sets) override {
    return std::make_unique<CpuExecution>(plan, input_sets);
  }

  Ceilings measure_ceilings() override { return {measure_copy(), measure_multiply_add(), 0}; }
  std::shared_ptr<Compute> compute() override { return make_compute(); }

 private:
  DeviceInfo info_ = describe_host();
};

}  // namespace

std::size_t memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::vector<DeviceEntry> find_devices(BackendStatus&) {
  return {{describe_host(), [] { return std::make_shared<CpuDevice>(); }}};
}

}  // namespace statescope::cpu
