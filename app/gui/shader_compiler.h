// GLSL to SPIR-V while the app runs, by libshaderc where the build found it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace statescope::gui {

/// A module as the build makes it (shaders/CMakeLists.txt).
struct ShaderModule {
  std::string name;    ///< "recurrent.gla.16.shuffle"
  std::string source;  ///< "recurrent.comp"
  int vulkan_minor = 2;
  std::vector<std::string> macros;  ///< "RULE=2"
};
/// Every module of this build.
const std::vector<ShaderModule>& shader_modules();

/// Why nothing can be compiled; empty where it can.
std::string shader_compiler_missing();

struct CompiledShader {
  std::vector<std::uint32_t> spirv;
  std::string error;  ///< as the compiler says it, with file and line; empty: compiled
};
/// The module from the sources of a folder.
CompiledShader compile_shader(const ShaderModule& module, const std::filesystem::path& folder);

/// The file and everything that it includes, as names within the folder.
std::vector<std::string> shader_sources(const std::string& source, const std::filesystem::path& folder);

}  // namespace statescope::gui
