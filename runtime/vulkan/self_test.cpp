#include "runtime/vulkan/self_test.h"

#include "runtime/vulkan/binding.h"

namespace statescope::vulkan {

std::string find_subgroup_fault(const std::shared_ptr<Gpu>& gpu, std::uint32_t subgroup_size) {
  const std::uint32_t threads =
      128 / subgroup_size * subgroup_size;                   // several subgroups: every device has 128
  const std::uint32_t lanes = std::min(subgroup_size, 32u);  // the most that a kernel sums over
  PipelineRequest request;
  request.module = "subgroup_test";
  request.constants = {{"SUM_LANES", lanes}};
  request.workgroup_size = threads;
  request.subgroup_size = subgroup_size;
  struct Result {
    std::uint32_t place, sum;
  };
  std::vector<Result> results(threads);
  const Buffer buffer = create_buffer(gpu, threads * sizeof(Result), Place::kDevice);
  const BoundPipeline bound =
      bind_pipeline(get_pipeline(*gpu, request),
                    [&](const std::string& name) { return name == "result" ? &buffer : nullptr; }, {});
  run_once(*gpu, [&](VkCommandBuffer commands) { record_dispatch(commands, bound, {1, 1, 1}); });
  download(buffer, std::as_writable_bytes(std::span(results)));

  std::vector<bool> seen(threads, false);
  for (const Result& result : results) {
    if (result.place >= threads || seen[result.place])
      return "subgroup invocations are not numbered one by one";
    seen[result.place] = true;
    const std::uint32_t first = result.place / lanes * lanes;
    const std::uint32_t places = lanes * first + lanes * (lanes - 1) / 2;
    if (result.sum != places + 65536 * lanes) return "subgroup shuffles give wrong results";
  }
  return "";
}

}  // namespace statescope::vulkan
