// Devices and how a problem runs on one: plan (what will be used, nothing allocated), prepare (buffers and
// pipelines), run. Planning refuses what the device cannot run, with the reason in numbers.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <statescope/problem.h>
#include <statescope/types.h>
#include <statescope/variants.h>

namespace statescope {

struct DeviceInfo {
  std::string name;  ///< "cpu", "vulkan:0", "cuda:0"
  Api api = Api::kCpu;
  std::string description;  ///< "NVIDIA H200", "llvmpipe (LLVM 15.0.6, 256 bits)"
  std::string driver;       ///< driver name and version
  bool hardware = false;    ///< false for cpu and for software Vulkan devices
  bool can_run = true;      ///< false: compiles kernels only (RADV on null hardware)
  std::string clock;        ///< how RunTime::begins is placed on the host clock; empty: not at all
  std::array<std::uint8_t, 16> uuid{};  ///< matches one GPU across APIs; all zero when unknown
  DeviceLimits limits;
  std::vector<std::string>
      notes;  ///< what the device lacks and what follows: "no 16-bit storage: float32 only"
};

/// One kernel launch of a plan.
struct Launch {
  std::string
      kernel;  ///< name of the variant, with the step of a multi-kernel variant: "gdn.backward.reverse"
  std::array<std::uint32_t, 3> workgroups{1, 1, 1};
  std::uint32_t workgroup_size = 1;
  std::size_t shared_memory_bytes = 0;                      ///< as predicted by the variant table
  std::optional<std::size_t> reported_shared_memory_bytes;  ///< as the driver or compiler reports
  std::optional<int> registers;                             ///< a thread, as reported
  std::optional<std::size_t> spill_bytes;                   ///< local memory a thread, as reported
  std::optional<double> occupancy;  ///< resident threads over the most possible, as reported
};

/// What a run will use.
struct Plan {
  Problem problem;                   ///< form resolved: never kAuto
  std::string device;                ///< DeviceInfo::name
  const Variant* variant = nullptr;  ///< null on the cpu
  Geometry geometry;
  std::vector<Launch> launches;
  std::size_t device_memory_bytes = 0;  ///< inputs, outputs and scratch of one input set
  bool deterministic = true;            ///< two runs give the same bits
};

/// Device time of one run, seconds: the whole, and each launch in Plan::launches' order.
struct RunTime {
  double total = 0;
  std::vector<double> launches;
  /// When each launch began, seconds on std::chrono::steady_clock. Empty: the device's clock cannot be
  /// placed.
  std::vector<double> begins = {};
};

/// What the compiler or driver says of one kernel of a plan.
struct CompiledKernel {
  /// A figure under the driver's own name ("VGPRs", "Spilled SGPRs", "registers").
  struct Statistic {
    std::string name;
    double value = 0;
  };
  /// A text under the driver's own name ("Assembly").
  struct Representation {
    std::string name, text;
  };
  std::string kernel;  ///< as Launch::kernel
  std::vector<Statistic> statistics;
  std::vector<Representation> representations;
  std::vector<std::uint32_t> spirv = {};  ///< as given to the driver (Vulkan)
  std::string symbol = {};                ///< name in the program's own device code (CUDA)
};

/// A prepared problem: buffers allocated, pipelines created. Uploads, runs and downloads on demand.
/// Throws Error(kDevice) when the device is lost or memory runs out.
class Execution {
 public:
  virtual ~Execution() = default;
  virtual const Plan& plan() const = 0;
  /// Copies the inputs (types of dtype_of(), see round_inputs()) into every input set.
  virtual void upload(const TensorSet& inputs) = 0;
  /// Fills every output with NaN, so that an element that no kernel writes is seen.
  virtual void poison() = 0;
  /// Runs once on input set 0 and waits. For kStep the state is updated in place: ht of this run is h0 of the
  /// next.
  virtual void run() = 0;
  /// The outputs of input set 0, in the types of dtype_of().
  virtual TensorSet download() = 0;
  /// Runs `count` times, rotating over the input sets, and returns device time of each run. No host copies,
  /// no allocation and no pipeline creation in between.
  virtual std::vector<RunTime> time(int count) = 0;
};

/// Sustained rates that the device itself reached in a short measurement.
struct Ceilings {
  double copy_bytes_per_second = 0;  ///< read plus written, of a copy much larger than the caches
  double f32_flop_per_second = 0;    ///< fused multiply-adds in float32, two flop each
  double matrix_flop_per_second =
      0;  ///< 16-bit matrix units with float32 accumulation; 0: not there or unmeasured
};

class Compute;  // compute.h

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  /// Throws Error(kRefused) with the reason in numbers when this device cannot run the problem.
  virtual Plan plan(const Problem& problem) = 0;
  /// `input_sets`: copies of the buffers that time() rotates over, so that caches do not flatter.
  virtual std::unique_ptr<Execution> prepare(const Plan& plan, int input_sets = 1) = 0;
  /// Whether executions prepared from now on place RunTime::begins with the vendor's tracer where one is
  /// found (CUPTI), which costs a little time a launch; info().clock says which. Off at first.
  virtual void trace(bool) {}
  /// Compiles each launch of a plan once, without buffers, and reports it, in Plan::launches' order. Empty:
  /// this backend reports nothing.
  virtual std::vector<CompiledKernel> compile(const Plan&) { return {}; }
  /// Takes up to about a second on a GPU.
  virtual Ceilings measure_ceilings() = 0;
  /// Arrays and operations for whole layers on this device, a new one at each call; the device must outlive it.
  /// Throws Error(kRefused) with the reason where the device cannot.
  virtual std::shared_ptr<Compute> compute();
};

/// A backend that was looked for: its devices, or why it has none.
struct BackendStatus {
  Api api;
  bool available = false;
  std::string reason;  ///< why not: "built without a CUDA toolkit", "no Vulkan driver found: ..."
};

/// Every device of this machine, found once. Devices are opened lazily at first use of `open`.
struct DeviceEntry {
  DeviceInfo info;
  std::function<std::shared_ptr<Device>()> open;
};
struct DeviceList {
  std::vector<DeviceEntry> devices;
  std::vector<BackendStatus> backends;
};

/// Looks for every backend that was built. Never throws for a missing or broken driver: the reason is in
/// `backends`. Order: cuda, vulkan (hardware first, then llvmpipe, then others), cpu.
DeviceList discover();

/// By exact name ("cuda:0"), else by a part of the description, case-insensitive. Empty: the first hardware
/// GPU, else llvmpipe, else cpu. Throws Error(kNoDevice) that lists the devices there are and why backends
/// are absent.
std::shared_ptr<Device> open_device(const DeviceList& list, const std::string& name);

}  // namespace statescope
