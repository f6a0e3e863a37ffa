#include "runtime/vulkan/execution.h"

#include <algorithm>
#include <chrono>

#include <statescope/error.h>

#include "runtime/vulkan/binding.h"
#include "runtime/vulkan/timestamps.h"

namespace statescope::vulkan {
namespace {

// What is bound where a tensor does not take part.
constexpr std::size_t kUnusedBytes = 256;

// Every element type that we have is NaN when all its bits are set.
constexpr std::uint32_t kPoison = ~0u;

bool is_output(const Problem& problem, Slot slot) {
  return !is_input(slot) && takes_part(problem, slot);
}

/// Where a tensor lies: a step's inputs that are replaced in place lie where the output does.
Slot place_of(const Problem& problem, Slot slot) {
  for (Slot output : kSlots)
    if (in_place_of(problem, output) == slot) return output;
  return slot;
}

/// Buffers of one input set, by the names of the shaders' bindings, and its recorded launches.
struct InputSet {
  std::map<std::string, Buffer> buffers;
  std::vector<BoundPipeline> bound;
  std::vector<std::unique_ptr<Commands>> launches;
};

class VulkanExecution : public Execution {
 public:
  VulkanExecution(const std::shared_ptr<Gpu>& gpu, const Plan& plan, const Dispatches& dispatches,
                  int input_sets)
      : gpu_(gpu),
        plan_(plan),
        scratch_(dispatches.scratch),
        timestamps_(
            gpu, static_cast<std::uint32_t>(dispatches.list.size()) * static_cast<std::uint32_t>(input_sets)),
        sets_(static_cast<std::size_t>(input_sets)) {
    for (std::size_t i = 0; i < dispatches.list.size(); ++i)
      report(get_pipeline(*gpu_, dispatches.list[i].pipeline), plan_.launches[i]);
    std::uint32_t launch = 0;
    for (InputSet& set : sets_) {
      create_buffers(set);
      for (const Dispatch& dispatch : dispatches.list) record(set, dispatch, launch++);
    }
  }

  const Plan& plan() const override { return plan_; }

  void upload(const TensorSet& inputs) override {
    const Problem& problem = plan_.problem;
    for (Slot slot : kSlots) {
      if (!is_input(slot) || !takes_part(problem, slot)) continue;
      const Tensor& tensor = inputs[slot];
      if (tensor.dtype != dtype_of(problem, slot) || tensor.shape != shape_of(problem, slot))
        throw Error(ErrorKind::kUsage, std::string(statescope::name(slot)) + ": found " +
                                           std::string(statescope::name(tensor.dtype)) + " " +
                                           to_string(tensor.shape) + ", wanted " +
                                           std::string(statescope::name(dtype_of(problem, slot))) + " " +
                                           to_string(shape_of(problem, slot)));
      for (InputSet& set : sets_) vulkan::upload(buffer(set, place_of(problem, slot)), tensor.bytes);
    }
  }

  void poison() override {
    run_once(*gpu_, [&](VkCommandBuffer commands) {
      for (InputSet& set : sets_) {
        for (Slot slot : kSlots) {
          if (is_output(plan_.problem, slot) && !in_place_of(plan_.problem, slot))
            vkCmdFillBuffer(commands, buffer(set, slot).handle, 0, VK_WHOLE_SIZE, kPoison);
        }
        for (const Scratch& scratch : scratch_)
          vkCmdFillBuffer(commands, set.buffers.at(scratch.name).handle, 0, VK_WHOLE_SIZE, kPoison);
      }
    });
  }

  void run() override { submit_and_wait(*gpu_, handles(sets_.front())); }

  TensorSet download() override {
    TensorSet out;
    for (Slot slot : kSlots) {
      if (!is_output(plan_.problem, slot)) continue;
      out[slot] = Tensor(dtype_of(plan_.problem, slot), shape_of(plan_.problem, slot));
      vulkan::download(buffer(sets_.front(), slot), out[slot].bytes);
    }
    return out;
  }

  std::vector<RunTime> time(int count) override {
    std::vector<RunTime> times;
    times.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      const std::size_t set = static_cast<std::size_t>(i) % sets_.size();
      times.push_back(timestamps_.handle ? time_by_device(set) : time_by_host(sets_[set]));
    }
    return times;
  }

 private:
  static Buffer& buffer(InputSet& set, Slot slot) {
    return set.buffers.at(std::string(statescope::name(slot)));
  }

  void create_buffers(InputSet& set) {
    const auto add = [&](const std::string& called, std::size_t bytes) {
      set.buffers[called] = create_buffer(gpu_, std::max(bytes, kUnusedBytes), Place::kDevice);
    };
    for (Slot slot : kSlots) add(std::string(statescope::name(slot)), buffer_bytes(plan_.problem, slot));
    for (const Scratch& scratch : scratch_) add(scratch.name, scratch.bytes);
  }

  void record(InputSet& set, const Dispatch& dispatch, std::uint32_t launch) {
    const auto find = [&](const std::string& called) {
      const auto alias = dispatch.aliases.find(called);
      const auto at = set.buffers.find(alias == dispatch.aliases.end() ? called : alias->second);
      return at == set.buffers.end() ? nullptr : &at->second;
    };
    set.bound.push_back(bind_pipeline(get_pipeline(*gpu_, dispatch.pipeline), find, dispatch.push_constants));
    set.launches.push_back(std::make_unique<Commands>(*gpu_));
    Commands& commands = *set.launches.back();
    const auto launches = static_cast<std::uint32_t>(plan_.launches.size());
    if (launch % launches == 0) reset_timestamps(commands.handle, timestamps_, launch, launches);
    write_begin(commands.handle, timestamps_, launch);
    record_dispatch(commands.handle, set.bound.back(), dispatch.workgroups);
    write_end(commands.handle, timestamps_, launch);
    dispatch_barrier(commands.handle);
    commands.end();
  }

  static std::vector<VkCommandBuffer> handles(const InputSet& set) {
    std::vector<VkCommandBuffer> out;
    for (const auto& launch : set.launches) out.push_back(launch->handle);
    return out;
  }

  RunTime time_by_device(std::size_t set) {
    submit_and_wait(*gpu_, handles(sets_[set]));
    const auto launches = static_cast<std::uint32_t>(plan_.launches.size());
    const std::vector<Span> spans =
        read_spans(timestamps_, static_cast<std::uint32_t>(set) * launches, launches);
    const std::optional<double> host = host_clock_offset(*gpu_);
    RunTime time;
    time.total = spans.back().end - spans.front().begin;
    for (const Span& span : spans) {
      time.launches.push_back(span.end - span.begin);
      if (host) time.begins.push_back(span.begin + *host);
    }
    return time;
  }

  /// Each launch alone, so that its time is known.
  RunTime time_by_host(const InputSet& set) {
    RunTime time;
    for (VkCommandBuffer launch : handles(set)) {
      const auto start = std::chrono::steady_clock::now();
      submit_and_wait(*gpu_, {launch});
      time.launches.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      time.total += time.launches.back();
    }
    return time;
  }

  std::shared_ptr<Gpu> gpu_;
  Plan plan_;
  std::vector<Scratch> scratch_;
  TimestampPool timestamps_;
  std::vector<InputSet> sets_;
};

}  // namespace

std::size_t buffer_bytes(const Problem& problem, Slot slot) {
  if (!takes_part(problem, slot) || place_of(problem, slot) != slot) return 0;
  return static_cast<std::size_t>(element_count(shape_of(problem, slot))) * size_of(dtype_of(problem, slot));
}

std::unique_ptr<Execution> make_execution(const std::shared_ptr<Gpu>& gpu, const Plan& plan,
                                          const Dispatches& dispatches, int input_sets) {
  if (input_sets < 1)
    throw Error(ErrorKind::kUsage, "input sets: found " + std::to_string(input_sets) + ", wanted 1 or more");
  return std::make_unique<VulkanExecution>(gpu, plan, dispatches, input_sets);
}

}  // namespace statescope::vulkan
