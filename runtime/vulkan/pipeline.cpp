#include "runtime/vulkan/pipeline.h"

#include <cstring>

#include <statescope/error.h>

namespace statescope::vulkan {
namespace {

/// Values by the ids of the shader; checks that both sides name the same constants.
std::map<std::uint32_t, std::uint32_t> match_constants(const Reflection& reflection,
                                                       const PipelineRequest& request) {
  std::map<std::string, std::uint32_t> given = request.constants;
  given[std::string(kWorkgroupSizeConstant)] = request.workgroup_size;
  std::map<std::uint32_t, std::uint32_t> values;
  for (const auto& [constant, id] : reflection.constants) {
    if (!given.contains(constant))
      throw Error(ErrorKind::kDevice, "shader " + request.module + ": no value for " + constant);
    values[id] = given[constant];
  }
  for (const auto& [constant, value] : given) {
    if (!reflection.constants.contains(constant))
      throw Error(ErrorKind::kDevice, "shader " + request.module + " has no constant " + constant);
  }
  return values;
}

std::string key_of(const PipelineRequest& request) {
  std::string key = request.module + " " + std::to_string(request.workgroup_size) + " " +
                    std::to_string(request.subgroup_size) + (request.bfloat16 ? " bfloat16" : "");
  for (const auto& [constant, value] : request.constants) key += " " + constant + "=" + std::to_string(value);
  return key;
}

double value_of(const VkPipelineExecutableStatisticKHR& statistic) {
  switch (statistic.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
      return statistic.value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
      return static_cast<double>(statistic.value.i64);
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
      return static_cast<double>(statistic.value.u64);
    default:
      return statistic.value.f64;
  }
}

/// A compute pipeline has one executable, the first.
VkPipelineExecutableInfoKHR executable_of(VkPipeline pipeline) {
  VkPipelineExecutableInfoKHR executable{};
  executable.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR;
  executable.pipeline = pipeline;
  return executable;
}

std::vector<CompiledKernel::Statistic> read_statistics(const Gpu& gpu, VkPipeline pipeline) {
  if (!gpu.physical.executable_properties) return {};
  const VkPipelineExecutableInfoKHR executable = executable_of(pipeline);
  std::uint32_t count = 0;
  vkGetPipelineExecutableStatisticsKHR(gpu.device, &executable, &count, nullptr);
  std::vector<VkPipelineExecutableStatisticKHR> found(count);
  for (auto& statistic : found) statistic.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
  vkGetPipelineExecutableStatisticsKHR(gpu.device, &executable, &count, found.data());
  std::vector<CompiledKernel::Statistic> out;
  for (const auto& statistic : found) out.push_back({statistic.name, value_of(statistic)});
  return out;
}

std::vector<CompiledKernel::Representation> read_representations(const Gpu& gpu, VkPipeline pipeline) {
  if (!gpu.physical.executable_properties) return {};
  const VkPipelineExecutableInfoKHR executable = executable_of(pipeline);
  const auto read = [&](std::vector<VkPipelineExecutableInternalRepresentationKHR>& into) {
    auto count = static_cast<std::uint32_t>(into.size());
    vkGetPipelineExecutableInternalRepresentationsKHR(gpu.device, &executable, &count,
                                                      into.empty() ? nullptr : into.data());
    return count;
  };
  std::vector<VkPipelineExecutableInternalRepresentationKHR> found;
  VkPipelineExecutableInternalRepresentationKHR blank{};
  blank.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
  found.resize(read(found), blank);
  if (found.empty()) return {};
  read(found);  // sizes
  std::vector<std::string> texts(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    texts[i].resize(found[i].dataSize);
    found[i].pData = texts[i].data();
  }
  read(found);  // texts
  std::vector<CompiledKernel::Representation> out;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!found[i].isText) continue;
    texts[i].resize(std::strlen(texts[i].c_str()));
    out.push_back({found[i].name, texts[i]});
  }
  return out;
}

void create_layouts(Gpu& gpu, Pipeline& pipeline) {
  std::vector<VkDescriptorSetLayoutBinding> bindings;
  for (const Binding& binding : pipeline.reflection.bindings)
    bindings.push_back(
        {binding.binding, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr});
  VkDescriptorSetLayoutCreateInfo set{};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = static_cast<std::uint32_t>(bindings.size());
  set.pBindings = bindings.data();
  check(vkCreateDescriptorSetLayout(gpu.device, &set, nullptr, &pipeline.set_layout),
        "vkCreateDescriptorSetLayout");

  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, pipeline.reflection.push_constant_bytes};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &pipeline.set_layout;
  layout.pushConstantRangeCount = range.size > 0 ? 1 : 0;
  layout.pPushConstantRanges = &range;
  check(vkCreatePipelineLayout(gpu.device, &layout, nullptr, &pipeline.layout), "vkCreatePipelineLayout");
}

struct ShaderModule {
  VkDevice device;
  VkShaderModule handle = VK_NULL_HANDLE;
  ~ShaderModule() { vkDestroyShaderModule(device, handle, nullptr); }
};

std::unique_ptr<Pipeline> create_pipeline(Gpu& gpu, const PipelineRequest& request, VkPipelineCache cache,
                                          VkPipelineCreateFlags flags) {
  auto pipeline = std::make_unique<Pipeline>(gpu);
  const std::vector<std::uint32_t> spirv = spirv_of(request);
  pipeline->reflection = reflect(spirv);
  const auto values = match_constants(pipeline->reflection, request);
  pipeline->shared_memory_bytes = shared_memory_bytes(spirv, values);
  create_layouts(gpu, *pipeline);

  ShaderModule module{gpu.device};
  VkShaderModuleCreateInfo source{};
  source.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  source.codeSize = spirv.size() * 4;
  source.pCode = spirv.data();
  check(vkCreateShaderModule(gpu.device, &source, nullptr, &module.handle), "shader " + request.module);

  std::vector<VkSpecializationMapEntry> entries;
  std::vector<std::uint32_t> data;
  // An entry for every id, of the shader or not: the validation layer of 1.4.309 takes an entry's index for
  // its id.
  const std::uint32_t ids = values.empty() ? 0 : values.rbegin()->first + 1;
  for (std::uint32_t id = 0; id < ids; ++id) {
    const auto value = values.find(id);
    entries.push_back({id, id * 4, 4});
    data.push_back(value == values.end() ? 0 : value->second);
  }
  const VkSpecializationInfo specialisation{static_cast<std::uint32_t>(entries.size()), entries.data(),
                                            data.size() * 4, data.data()};
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.layout = pipeline->layout;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module.handle;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialisation;
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup{};
  subgroup.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  subgroup.requiredSubgroupSize = request.subgroup_size;
  if (request.subgroup_size > 0 && gpu.physical.subgroup_size_control) {
    info.stage.pNext = &subgroup;
    if (gpu.physical.full_subgroups && request.workgroup_size % request.subgroup_size == 0)
      info.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  if (gpu.physical.executable_properties) info.flags = flags | VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
  check(vkCreateComputePipelines(gpu.device, cache, 1, &info, nullptr, &pipeline->handle),
        "pipeline " + key_of(request) + " on " + gpu.physical.info.description);
  pipeline->statistics = read_statistics(gpu, pipeline->handle);
  return pipeline;
}

}  // namespace

Pipeline::~Pipeline() {
  if (handle) vkDestroyPipeline(gpu.device, handle, nullptr);
  if (layout) vkDestroyPipelineLayout(gpu.device, layout, nullptr);
  if (set_layout) vkDestroyDescriptorSetLayout(gpu.device, set_layout, nullptr);
}

std::vector<std::uint32_t> spirv_of(const PipelineRequest& request) {
  const std::span<const std::uint32_t> spirv = find_module(request.module);
  return request.bfloat16 ? with_bfloat16(spirv) : std::vector<std::uint32_t>(spirv.begin(), spirv.end());
}

const Pipeline& get_pipeline(Gpu& gpu, const PipelineRequest& request) {
  std::unique_ptr<Pipeline>& pipeline = gpu.pipelines[key_of(request)];
  if (!pipeline) pipeline = create_pipeline(gpu, request, gpu.pipeline_cache, 0);
  return *pipeline;
}

CompiledKernel compile_verbosely(Gpu& gpu, const PipelineRequest& request) {
  // Without the cache: a cached pipeline has no representations.
  const auto pipeline = create_pipeline(gpu, request, VK_NULL_HANDLE,
                                        VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR);
  CompiledKernel out;
  out.statistics = pipeline->statistics;
  out.representations = read_representations(gpu, pipeline->handle);
  out.spirv = spirv_of(request);
  return out;
}

void report(const Pipeline& pipeline, Launch& launch) {
  launch.reported_shared_memory_bytes = pipeline.shared_memory_bytes;
  // Drivers name their figures freely; these are the names of NVIDIA's and Mesa's. NVIDIA spills to a
  // thread's stack; its "Local Memory Size" is the pool of the whole device (64 GiB on an H200).
  for (const CompiledKernel::Statistic& statistic : pipeline.statistics) {
    const auto bytes = static_cast<std::size_t>(statistic.value);
    if (statistic.name == "VGPRs" || statistic.name == "Register Count")
      launch.registers = static_cast<int>(statistic.value);
    if (statistic.name == "Stack Size" || statistic.name == "Scratch size") launch.spill_bytes = bytes;
    if (statistic.name == "LDS size" || statistic.name == "Shared Memory Size")
      launch.reported_shared_memory_bytes = bytes;
  }
}

std::size_t shared_memory_bytes(const PipelineRequest& request) {
  const std::vector<std::uint32_t> spirv = spirv_of(request);
  return shared_memory_bytes(spirv, match_constants(reflect(spirv), request));
}

}  // namespace statescope::vulkan
