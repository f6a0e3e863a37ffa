#include "cuda/execution.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include <statescope/error.h>

#include "cuda/activity.h"
#include "cuda/ceilings.h"
#include "cuda/launches.h"

namespace statescope::cuda {
namespace {

constexpr std::size_t kAlign = 256;
/// Lies between tensors and behind the last; a kernel that writes beyond its tensor is caught at download.
constexpr std::size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xA5;
constexpr int kNanByte = 0xFF;  // all ones is a NaN in float32, bfloat16 and float16

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

/// Where each tensor lies in an input set's allocation: tensor, guard, tensor, guard ...
struct Layout {
  struct Place {
    std::size_t offset = 0, bytes = 0;
    bool present = false;
  };
  std::array<Place, kSlotCount> places;
  std::size_t bytes = 0;
  Place& operator[](Slot slot) { return places[static_cast<std::size_t>(slot)]; }
  const Place& operator[](Slot slot) const { return places[static_cast<std::size_t>(slot)]; }
};

Layout layout_of(const Problem& problem) {
  Layout layout;
  for (Slot slot : kSlots) {
    if (!takes_part(problem, slot)) continue;
    Layout::Place& place = layout[slot];
    place.present = true;
    place.bytes =
        static_cast<std::size_t>(element_count(shape_of(problem, slot))) * size_of(dtype_of(problem, slot));
    if (const auto input = in_place_of(problem, slot)) {
      place.offset = layout[*input].offset;
      continue;
    }
    place.offset = layout.bytes;
    layout.bytes += aligned(place.bytes) + kGuard;
  }
  return layout;
}

/// Outputs that poison() may fill: all but those that are inputs too.
bool poisoned(const Problem& problem, Slot slot) {
  return takes_part(problem, slot) && !is_input(slot) && !in_place_of(problem, slot);
}

class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes) {
    if (bytes == 0) return;
    check(cudaMalloc(&data_, bytes), "allocating " + std::to_string(bytes) + " B of device memory");
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait(std::string_view doing) const { check(cudaStreamSynchronize(stream_), doing); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Events {
 public:
  explicit Events(std::size_t count) {
    events_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreate(&event), "creating an event");
      events_.push_back(event);
    }
  }
  ~Events() {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  cudaEvent_t operator[](std::size_t i) const { return events_[i]; }
  double seconds(std::size_t from, std::size_t to) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events_[from], events_[to]), "reading an event");
    return milliseconds * 1e-3;
  }

 private:
  std::vector<cudaEvent_t> events_;
};

/// Allows the kernel all the shared memory that the device has (not only what this launch asks for: the
/// setting belongs to the function, and other plans may run it with more) and returns what the compiler made
/// of it.
cudaFuncAttributes configure(const KernelLaunch& kernel, std::size_t most_shared_bytes) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel.function), "loading kernel " + kernel.name);
  check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most_shared_bytes - attributes.sharedSizeBytes)),
        "allowing shared memory to kernel " + kernel.name);
  if (kernel.cluster > 8) {
    check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "allowing clusters of more than 8 blocks to kernel " + kernel.name);
  }
  return attributes;
}

class CudaExecution final : public Execution {
 public:
  CudaExecution(const Plan& plan, int device_index, int input_sets, bool trace)
      : plan_(plan),
        device_index_(device_index),
        trace_(trace),
        layout_(layout_of(plan.problem)),
        kernels_(launches_of(*plan.variant, plan.problem, plan.geometry)),
        scratch_bytes_(scratch_bytes_of(*plan.variant, plan.problem, plan.geometry)),
        scratch_(scratch_bytes_) {
    for (int i = 0; i < std::max(input_sets, 1); ++i) {
      sets_.emplace_back(layout_.bytes);
      fill_guards(sets_.back());
      const Arguments arguments = arguments_of(sets_.back());
      std::vector<Enqueue> enqueues;
      for (const KernelLaunch& kernel : kernels_) enqueues.push_back(kernel.bind(arguments));
      enqueues_.push_back(std::move(enqueues));
    }
    stream_.wait("preparing buffers");
  }

  const Plan& plan() const override { return plan_; }

  void upload(const TensorSet& inputs) override {
    select();
    for (const DeviceBuffer& set : sets_) {
      for (Slot slot : kSlots) {
        const Layout::Place& place = layout_[slot];
        if (!place.present || !is_input(slot)) continue;
        const Tensor& tensor = inputs[slot];
        if (tensor.bytes.size() != place.bytes || tensor.dtype != dtype_of(plan_.problem, slot)) {
          throw Error(ErrorKind::kUsage, std::string(name(slot)) + ": found " +
                                             std::string(name(tensor.dtype)) + " " +
                                             std::to_string(tensor.bytes.size()) + " B, wanted " +
                                             std::string(name(dtype_of(plan_.problem, slot))) + " " +
                                             std::to_string(place.bytes) + " B");
        }
        check(cudaMemcpyAsync(set.data() + place.offset, tensor.bytes.data(), place.bytes,
                              cudaMemcpyHostToDevice, stream_.get()),
              "uploading " + std::string(name(slot)));
      }
    }
    stream_.wait("uploading inputs");
  }

  void poison() override {
    select();
    for (const DeviceBuffer& set : sets_) {
      for (Slot slot : kSlots) {
        if (!poisoned(plan_.problem, slot)) continue;
        check(
            cudaMemsetAsync(set.data() + layout_[slot].offset, kNanByte, layout_[slot].bytes, stream_.get()),
            "poisoning " + std::string(name(slot)));
      }
    }
    if (scratch_bytes_ > 0) {
      check(cudaMemsetAsync(scratch_.data(), kNanByte, scratch_bytes_, stream_.get()),
            "poisoning scratch memory");
    }
    stream_.wait("poisoning outputs");
  }

  void run() override {
    select();
    for (const Enqueue& enqueue : enqueues_[0]) enqueue(stream_.get());
    stream_.wait("running " + std::string(plan_.variant->name));
  }

  TensorSet download() override {
    select();
    check_guards(sets_[0]);
    TensorSet outputs;
    for (Slot slot : kSlots) {
      const Layout::Place& place = layout_[slot];
      if (!place.present || is_input(slot)) continue;
      Tensor tensor(dtype_of(plan_.problem, slot), shape_of(plan_.problem, slot));
      check(cudaMemcpyAsync(tensor.bytes.data(), sets_[0].data() + place.offset, place.bytes,
                            cudaMemcpyDeviceToHost, stream_.get()),
            "downloading " + std::string(name(slot)));
      outputs[slot] = std::move(tensor);
    }
    stream_.wait("downloading outputs");
    return outputs;
  }

  std::vector<RunTime> time(int count) override {
    select();
    const std::size_t launches = kernels_.size(), stride = launches + 1;
    Events events(static_cast<std::size_t>(count) * stride + 1);
    for (const std::vector<Enqueue>& set : enqueues_) {  // warm-up
      for (const Enqueue& enqueue : set) enqueue(stream_.get());
    }
    // The last event places the device's clock on the host's.
    const std::size_t origin = static_cast<std::size_t>(count) * stride;
    check(cudaEventRecord(events[origin], stream_.get()), "recording an event");
    stream_.wait("warming up " + std::string(plan_.variant->name));
    const double host_origin =
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();

    std::optional<ActivityRecording> recording;
    if (trace_) recording.emplace();
    // The device waits until the queue is full, so that runs follow each other without the host.
    constexpr std::uint64_t kHostNanosecondsPerLaunch = 8000, kLongestHold = 20'000'000;
    enqueue_hold(stream_.get(), std::min(kLongestHold, kHostNanosecondsPerLaunch * count * stride));
    for (int run = 0; run < count; ++run) {
      const std::size_t first = static_cast<std::size_t>(run) * stride;
      check(cudaEventRecord(events[first], stream_.get()), "recording an event");
      for (std::size_t i = 0; i < launches; ++i) {
        enqueues_[static_cast<std::size_t>(run) % enqueues_.size()][i](stream_.get());
        check(cudaEventRecord(events[first + i + 1], stream_.get()), "recording an event");
      }
    }
    stream_.wait("timing " + std::string(plan_.variant->name));
    std::vector<RunTime> times;
    for (int run = 0; run < count; ++run) {
      const std::size_t first = static_cast<std::size_t>(run) * stride;
      RunTime time;
      time.total = events.seconds(first, first + launches);
      for (std::size_t i = 0; i < launches; ++i) {
        time.launches.push_back(events.seconds(first + i, first + i + 1));
        time.begins.push_back(host_origin + events.seconds(origin, first + i));
      }
      times.push_back(std::move(time));
    }
    if (recording) place_by_activity(recording->after("hold"), times);
    return times;
  }

 private:
  /// Every launch is one kernel, in order. Events stay the measure of time, so that a traced run compares
  /// with one that is not.
  void place_by_activity(const std::vector<Activity>& activities, std::vector<RunTime>& times) const {
    const std::size_t launches = kernels_.size();
    if (activities.size() != times.size() * launches) {
      throw Error(ErrorKind::kDevice, "CUPTI: " + std::to_string(activities.size()) + " kernels recorded, " +
                                          std::to_string(times.size() * launches) + " launched");
    }
    for (std::size_t run = 0; run < times.size(); ++run) {
      for (std::size_t i = 0; i < launches; ++i) times[run].begins[i] = activities[run * launches + i].begin;
    }
  }

  void select() const { check(cudaSetDevice(device_index_), "selecting " + plan_.device); }

  template <typename Visit>
  void for_each_guard(Visit visit) const {
    for (Slot slot : kSlots) {
      const Layout::Place& place = layout_[slot];
      if (!place.present || in_place_of(plan_.problem, slot)) continue;
      const std::size_t begin = place.offset + place.bytes;
      visit(slot, begin, place.offset + aligned(place.bytes) + kGuard - begin);
    }
  }

  void fill_guards(const DeviceBuffer& set) const {
    for_each_guard([&](Slot slot, std::size_t begin, std::size_t bytes) {
      check(cudaMemsetAsync(set.data() + begin, kGuardByte, bytes, stream_.get()),
            "guarding " + std::string(name(slot)));
    });
  }

  void check_guards(const DeviceBuffer& set) const {
    for_each_guard([&](Slot slot, std::size_t begin, std::size_t bytes) {
      std::array<unsigned char, kAlign + kGuard> guard;
      check(cudaMemcpy(guard.data(), set.data() + begin, bytes, cudaMemcpyDeviceToHost),
            "reading the guard of " + std::string(name(slot)));
      if (std::any_of(guard.begin(), guard.begin() + static_cast<std::ptrdiff_t>(bytes),
                      [](unsigned char byte) { return byte != kGuardByte; })) {
        throw Error(ErrorKind::kDevice, "CUDA: " + std::string(plan_.variant->name) +
                                            " wrote beyond the end of " + std::string(name(slot)));
      }
    });
  }

  Arguments arguments_of(const DeviceBuffer& set) const {
    const auto at = [&](Slot slot) -> std::byte* {
      return layout_[slot].present ? set.data() + layout_[slot].offset : nullptr;
    };
    return cuda::arguments_of(plan_.problem, at, scratch_.data());
  }

  Plan plan_;
  int device_index_;
  bool trace_;
  Stream stream_;
  Layout layout_;
  std::vector<KernelLaunch> kernels_;
  std::size_t scratch_bytes_;
  DeviceBuffer scratch_;
  std::vector<DeviceBuffer> sets_;
  std::vector<std::vector<Enqueue>> enqueues_;  ///< [input set][launch]
};

}  // namespace

Plan make_plan(const Problem& problem, const DeviceInfo& device) {
  return make_plan(problem, device, choose_variant(problem, device.limits, device.name));
}

Plan make_plan(const Problem& problem, const DeviceInfo& device, const Choice& choice) {
  Plan plan;
  plan.problem = problem;
  plan.problem.form = choice.variant->form;
  plan.device = device.name;
  plan.variant = choice.variant;
  plan.geometry = choice.geometry;
  plan.device_memory_bytes =
      layout_of(plan.problem).bytes + scratch_bytes_of(*plan.variant, plan.problem, plan.geometry);
  for (const KernelLaunch& kernel : launches_of(*plan.variant, plan.problem, plan.geometry)) {
    const cudaFuncAttributes attributes = configure(kernel, device.limits.shared_memory_per_workgroup);
    Launch launch;
    launch.kernel = kernel.name;
    launch.workgroups = {kernel.grid.x, kernel.grid.y, kernel.grid.z};
    launch.workgroup_size = kernel.block.x * kernel.block.y * kernel.block.z;
    launch.shared_memory_bytes = kernel.predicted_shared_bytes;
    launch.reported_shared_memory_bytes = attributes.sharedSizeBytes + kernel.dynamic_shared_bytes;
    launch.registers = attributes.numRegs;
    launch.spill_bytes = attributes.localSizeBytes;
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
              &blocks, kernel.function, static_cast<int>(launch.workgroup_size), kernel.dynamic_shared_bytes),
          "asking for the occupancy of " + kernel.name);
    if (device.limits.max_threads_per_multiprocessor > 0) {
      launch.occupancy =
          static_cast<double>(blocks) * launch.workgroup_size / device.limits.max_threads_per_multiprocessor;
    }
    plan.launches.push_back(std::move(launch));
  }
  return plan;
}

std::unique_ptr<Execution> make_execution(const Plan& plan, int device_index, int input_sets, bool trace) {
  return std::make_unique<CudaExecution>(plan, device_index, input_sets, trace);
}

}  // namespace statescope::cuda
