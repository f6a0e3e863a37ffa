#include "cuda/activity.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <type_traits>

#include <statescope/error.h>

namespace statescope::cuda {
namespace {

// The part of CUPTI's binary interface that is used, the same in CUDA 12 and 13: declared here so that
// neither its headers nor its library are needed to build.
using Result = int;
constexpr std::uint32_t kKernelKind = 10;  // CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL
constexpr std::uint32_t kFlushForced = 1;  // CUPTI_ACTIVITY_FLAG_FLUSH_FORCED

/// The head of CUpti_ActivityKernel4 and every later one.
struct KernelRecord {
  std::uint32_t kind;
  std::uint8_t cache_config, shared_memory_config;
  std::uint16_t registers;
  std::uint32_t partitioned_cache[2];
  std::uint64_t start, end, completed;  // nanoseconds
  std::uint32_t device, context, stream;
  std::int32_t grid[3], block[3], shared_memory[2];
  std::uint32_t local_memory[2], correlation;
  std::int64_t grid_id;
  const char* name;
};
static_assert(offsetof(KernelRecord, start) == 16 && offsetof(KernelRecord, stream) == 48 &&
              offsetof(KernelRecord, name) == 104);

using BufferRequested = void (*)(std::uint8_t** buffer, std::size_t* size, std::size_t* most_records);
using BufferCompleted = void (*)(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t size,
                                 std::size_t valid_size);

struct Cupti {
  Result (*register_callbacks)(BufferRequested, BufferCompleted);
  Result (*enable)(std::uint32_t kind);
  Result (*disable)(std::uint32_t kind);
  Result (*flush_all)(std::uint32_t flags);
  Result (*next_record)(std::uint8_t* buffer, std::size_t valid_size, void** record);
  Result (*timestamp)(std::uint64_t* nanoseconds);
};
Cupti cupti;

void check(Result result, const char* call) {
  if (result != 0)
    throw Error(ErrorKind::kDevice, std::string("CUPTI: ") + call + ": error " + std::to_string(result));
}

struct Kernel {
  std::uint64_t start, end;
  std::uint32_t stream;
  std::string name;
};
std::mutex recording_mutex;  // held by the recording
std::mutex kernels_mutex;    // CUPTI calls back from a thread of its own
std::vector<Kernel> kernels;

void give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* most_records) {
  constexpr std::size_t kBytes = 1 << 20, kAlignment = 8;
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, kBytes));
  *size = *buffer ? kBytes : 0;
  *most_records = 0;  // as many as fit
}

void take_buffer(void*, std::uint32_t, std::uint8_t* buffer, std::size_t, std::size_t valid_size) {
  const std::lock_guard lock(kernels_mutex);
  void* record = nullptr;
  while (buffer && valid_size > 0 && cupti.next_record(buffer, valid_size, &record) == 0) {
    const auto* kernel = static_cast<const KernelRecord*>(record);
    if (kernel->kind == kKernelKind)
      kernels.push_back({kernel->start, kernel->end, kernel->stream, kernel->name ? kernel->name : ""});
  }
  std::free(buffer);
}

std::string load() {
  void* library = nullptr;
  for (const char* file : {"libcupti.so.13", "libcupti.so.12", "/usr/local/cuda/lib64/libcupti.so",
                           "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"}) {
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library) break;
  }
  if (!library) return "CUPTI was not found";
  bool whole = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    whole = whole && function;
  };
  find(cupti.register_callbacks, "cuptiActivityRegisterCallbacks");
  find(cupti.enable, "cuptiActivityEnable");
  find(cupti.disable, "cuptiActivityDisable");
  find(cupti.flush_all, "cuptiActivityFlushAll");
  find(cupti.next_record, "cuptiActivityGetNextRecord");
  find(cupti.timestamp, "cuptiGetTimestamp");
  if (!whole) return "CUPTI lacks functions of its activity interface";
  const Result result = cupti.register_callbacks(give_buffer, take_buffer);
  return result == 0 ? "" : "CUPTI refuses to record: error " + std::to_string(result);
}

/// Seconds to add to CUPTI's clock to get std::chrono::steady_clock: of several readings the one that took
/// the least time.
double clock_offset() {
  using Clock = std::chrono::steady_clock;
  double offset = 0, least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 8; ++i) {
    const Clock::time_point before = Clock::now();
    std::uint64_t theirs = 0;
    check(cupti.timestamp(&theirs), "cuptiGetTimestamp");
    const double took = std::chrono::duration<double>(Clock::now() - before).count();
    if (took >= least) continue;
    least = took;
    offset = std::chrono::duration<double>(before.time_since_epoch()).count() + took / 2 -
             static_cast<double>(theirs) * 1e-9;
  }
  return offset;
}

}  // namespace

const std::string& load_activity() {
  static const std::string why = load();
  return why;
}

ActivityRecording::ActivityRecording() {
  recording_mutex.lock();
  const Result result = cupti.enable(kKernelKind);
  if (result == 0) return;
  recording_mutex.unlock();
  check(result, "cuptiActivityEnable");
}

ActivityRecording::~ActivityRecording() {
  cupti.disable(kKernelKind);
  cupti.flush_all(kFlushForced);
  {
    const std::lock_guard lock(kernels_mutex);
    kernels.clear();
  }
  recording_mutex.unlock();
}

std::vector<Activity> ActivityRecording::after(const std::string& marker) {
  check(cupti.flush_all(kFlushForced), "cuptiActivityFlushAll");
  const double offset = clock_offset();
  const std::lock_guard lock(kernels_mutex);
  std::ranges::sort(kernels, {}, &Kernel::start);
  const auto first = std::ranges::find_if(
      kernels, [&](const Kernel& k) { return k.name.find(marker) != std::string::npos; });
  if (first == kernels.end()) throw Error(ErrorKind::kDevice, "CUPTI: no record of kernel " + marker);
  std::vector<Activity> activities;
  for (auto kernel = first + 1; kernel != kernels.end(); ++kernel) {
    if (kernel->stream != first->stream) continue;
    activities.push_back({static_cast<double>(kernel->start) * 1e-9 + offset,
                          static_cast<double>(kernel->end) * 1e-9 + offset});
  }
  return activities;
}

}  // namespace statescope::cuda
