// What the host must know of a shader, read from its SPIR-V: so that the two cannot disagree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace statescope::vulkan {

/// A storage buffer, by the name of its variable.
struct Binding {
  std::string name;
  std::uint32_t binding = 0;
  bool written = true;  ///< not `readonly` in GLSL
};

struct Reflection {
  std::vector<Binding> bindings;                        ///< in the order of the binding number
  std::map<std::string, std::uint32_t> constants;       ///< specialisation constants: name -> id
  std::map<std::string, std::uint32_t> push_constants;  ///< 32-bit members: name -> byte offset
  std::uint32_t push_constant_bytes = 0;
};

/// The specialisation constant that sizes the workgroup is the one that has no name in GLSL; it gets this
/// one.
inline constexpr std::string_view kWorkgroupSizeConstant = "WORKGROUP_SIZE";

/// The SPIR-V of a module that was embedded at build time. Throws Error(kDevice) when there is none of that
/// name.
std::span<const std::uint32_t> find_module(std::string_view name);

/// From now on find_module() gives these in place of the embedded modules of the same names, and no others
/// that it was told before: shaders that are edited while a program runs. Devices that are open keep the
/// pipelines that they have. Not while another thread uses a device.
void replace_modules(std::map<std::string, std::vector<std::uint32_t>> modules);

/// The same module with factors of cooperative matrices of bfloat16 in the place of float16
/// (SPV_KHR_bfloat16): one GLSL source serves both, and a compiler without GL_EXT_bfloat16 too. Sums of
/// float16 stay: they carry bits (matrices.glsl). Throws Error(kDevice) when there is no such factor.
std::vector<std::uint32_t> with_bfloat16(std::span<const std::uint32_t> spirv);

Reflection reflect(std::span<const std::uint32_t> spirv);

/// Bytes of all workgroup variables once the specialisation constants (by id) have these values.
std::size_t shared_memory_bytes(std::span<const std::uint32_t> spirv,
                                const std::map<std::uint32_t, std::uint32_t>& values);

}  // namespace statescope::vulkan
