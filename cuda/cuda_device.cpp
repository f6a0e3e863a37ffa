#include "cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include <statescope/error.h>

#include "cuda/activity.h"
#include "cuda/ceilings.h"
#include "cuda/compute.h"
#include "cuda/execution.h"
#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

constexpr const char* kEventClock = "CUDA events, counted from one that the host waited for";

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

/// "580.95.05", from where the kernel driver tells it; empty elsewhere than Linux.
std::string kernel_driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string word;
  while (file >> word) {
    if (!word.empty() && word.find('.') != std::string::npos &&
        word.find_first_not_of("0123456789.") == std::string::npos) {
      return word;
    }
  }
  return {};
}

std::string driver_description() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const std::string kernel = kernel_driver_version();
  return (kernel.empty() ? "" : "NVIDIA " + kernel + ", ") + "CUDA " + version(driver) + ", runtime " +
         version(runtime);
}

std::string why_none(cudaError_t status) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver found";
  if (status == cudaErrorInsufficientDriver) {
    return "the driver supports CUDA " + version(driver) + ", the runtime needs " + version(runtime);
  }
  return std::string("the driver reports: ") + cudaGetErrorString(status);
}

DeviceInfo describe_device(int index, const cudaDeviceProp& properties) {
  DeviceInfo info;
  info.name = "cuda:" + std::to_string(index);
  info.api = Api::kCuda;
  info.description = properties.name;
  info.driver = driver_description();
  info.hardware = true;
  info.clock = kEventClock;
  static_assert(sizeof(properties.uuid.bytes) == sizeof(info.uuid));
  std::memcpy(info.uuid.data(), properties.uuid.bytes, sizeof(properties.uuid.bytes));
  DeviceLimits& limits = info.limits;
  limits.api = Api::kCuda;
  limits.shared_memory_per_workgroup = properties.sharedMemPerBlockOptin;
  limits.shared_memory_per_multiprocessor = properties.sharedMemPerMultiprocessor;
  limits.max_workgroup_size = static_cast<std::uint32_t>(properties.maxThreadsPerBlock);
  limits.subgroup_min = limits.subgroup_max = static_cast<std::uint32_t>(properties.warpSize);
  limits.max_threads_per_multiprocessor = static_cast<std::uint32_t>(properties.maxThreadsPerMultiProcessor);
  limits.multiprocessors = static_cast<std::uint32_t>(properties.multiProcessorCount);
  limits.registers_per_multiprocessor = static_cast<std::uint32_t>(properties.regsPerMultiprocessor);
  limits.compute_capability = 10 * properties.major + properties.minor;
  limits.subgroup_clustered = true;
  limits.cooperative_matrix_f16 = properties.major >= 7;
  limits.cooperative_matrix_bf16 = properties.major >= 8;
  if (limits.compute_capability < 80) {
    info.notes.push_back("compute capability " + std::to_string(limits.compute_capability) +
                         ": no kernels, they need 80");
  }
  return info;
}

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, DeviceInfo info) : index_(index), info_(std::move(info)) {
    check(cudaSetDevice(index_), "opening " + info_.name);
  }

  const DeviceInfo& info() const override { return info_; }

  Plan plan(const Problem& problem) override {
    check(cudaSetDevice(index_), "selecting " + info_.name);
    return make_plan(problem, info_);
  }

  std::unique_ptr<Execution> prepare(const Plan& plan, int input_sets) override {
    check(cudaSetDevice(index_), "selecting " + info_.name);
    return make_execution(plan, index_, input_sets, trace_);
  }

  void trace(bool on) override {
    trace_ = on && load_activity().empty();
    info_.clock = trace_ ? "CUPTI activity records" : kEventClock;
  }

  std::shared_ptr<Compute> compute() override { return make_compute(index_); }

  std::vector<CompiledKernel> compile(const Plan& plan) override {
    check(cudaSetDevice(index_), "selecting " + info_.name);
    return cuda::compile(plan);
  }

  Ceilings measure_ceilings() override {
    check(cudaSetDevice(index_), "selecting " + info_.name);
    return cuda::measure_ceilings(static_cast<int>(info_.limits.multiprocessors));
  }

 private:
  int index_;
  DeviceInfo info_;
  bool trace_ = false;
};

}  // namespace

void check(cudaError_t status, std::string_view doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a failed call must not fail the next one too
  throw Error(ErrorKind::kDevice, "CUDA: " + std::string(doing) + ": " + cudaGetErrorString(status) + " (" +
                                      cudaGetErrorName(status) + ")");
}

std::vector<DeviceEntry> find_devices(BackendStatus& status) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess || count == 0) {
    cudaGetLastError();
    status.reason = why_none(found == cudaSuccess ? cudaErrorNoDevice : found);
    return {};
  }
  std::vector<DeviceEntry> devices;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (const cudaError_t read = cudaGetDeviceProperties(&properties, index); read != cudaSuccess) {
      cudaGetLastError();
      status.reason = "cuda:" + std::to_string(index) + ": " + cudaGetErrorString(read);
      continue;
    }
    const DeviceInfo info = describe_device(index, properties);
    devices.push_back({info, [index, info] { return std::make_shared<CudaDevice>(index, info); }});
  }
  return devices;
}

}  // namespace statescope::cuda
