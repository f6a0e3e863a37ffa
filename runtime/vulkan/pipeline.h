// Compute pipelines: a module and the values of its specialisation constants.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <statescope/device.h>

#include "runtime/vulkan/gpu.h"
#include "runtime/vulkan/spirv.h"

namespace statescope::vulkan {

/// What to build: names as in the shader. A constant that the shader lacks, or one of the shader's that is
/// not given, is an error; a forgotten one would run with its default.
struct PipelineRequest {
  std::string module;
  std::map<std::string, std::uint32_t> constants;
  std::uint32_t workgroup_size = 1;
  std::uint32_t subgroup_size = 0;  ///< asked for where the device can; 0: whatever it takes
  bool bfloat16 = false;            ///< float16 of the module becomes bfloat16: see with_bfloat16()
};

struct Pipeline {
  Gpu& gpu;
  Reflection reflection;
  std::size_t shared_memory_bytes = 0;  ///< of the specialised SPIR-V
  std::vector<CompiledKernel::Statistic>
      statistics;  ///< what the driver says of it; empty where it says nothing
  VkDescriptorSetLayout set_layout = VK_NULL_HANDLE;
  VkPipelineLayout layout = VK_NULL_HANDLE;
  VkPipeline handle = VK_NULL_HANDLE;
  explicit Pipeline(Gpu& on) : gpu(on) {}
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline();
};

/// The SPIR-V of a request, before its constants have their values.
std::vector<std::uint32_t> spirv_of(const PipelineRequest& request);

/// From those of the device that exist already, or new. Throws Error(kDevice) when the driver refuses it.
const Pipeline& get_pipeline(Gpu& gpu, const PipelineRequest& request);

/// Compiles it once more for everything that the driver can tell: figures, assembly. Without `kernel`'s name.
CompiledKernel compile_verbosely(Gpu& gpu, const PipelineRequest& request);

/// The figures that a plan shows, picked from what the driver says.
void report(const Pipeline& pipeline, Launch& launch);

/// Bytes of shared memory that the request's SPIR-V declares, without a device.
std::size_t shared_memory_bytes(const PipelineRequest& request);

}  // namespace statescope::vulkan
