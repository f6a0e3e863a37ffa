#include "app/gui/shader_compiler.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>

#ifdef STATESCOPE_SHADERC
#include <shaderc/shaderc.h>
#endif

#include "shaders.h"

namespace statescope::gui {
namespace {

bool read(const std::filesystem::path& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text.assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

#ifdef STATESCOPE_SHADERC

/// What an #include became; lives until the compiler gives it back.
struct Included {
  std::string name, text;
  shaderc_include_result result{};
};

shaderc_include_result* resolve(void* folder, const char* requested, int, const char*, std::size_t) {
  auto* included = new Included;
  const bool found = read(*static_cast<const std::filesystem::path*>(folder) / requested, included->text);
  included->name = found ? requested : "";
  if (!found) included->text = std::string(requested) + ": no such file";
  included->result = {included->name.data(), included->name.size(), included->text.data(),
                      included->text.size(), included};
  return &included->result;
}

void release(void*, shaderc_include_result* result) {
  delete static_cast<Included*>(result->user_data);
}

template <auto Destroy>
struct Deleter {
  template <typename T>
  void operator()(T* what) const {
    Destroy(what);
  }
};

#endif

}  // namespace

const std::vector<ShaderModule>& shader_modules() {
  static const std::vector<ShaderModule> modules = [] {
    std::vector<ShaderModule> all;
    for (const embedded::File& file : embedded::shaders()) {
      if (file.name != "modules.txt") continue;
      std::istringstream lines(
          std::string(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()));
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        ShaderModule module;
        std::string target;
        words >> module.name >> module.source >> target;
        if (target == "vulkan1.3") module.vulkan_minor = 3;
        for (std::string macro; words >> macro;) module.macros.push_back(macro);
        if (!module.name.empty()) all.push_back(std::move(module));
      }
    }
    return all;
  }();
  return modules;
}

std::string shader_compiler_missing() {
#ifdef STATESCOPE_SHADERC
  return "";
#else
  return "built without libshaderc (package libshaderc-dev)";
#endif
}

#ifdef STATESCOPE_SHADERC
CompiledShader compile_shader(const ShaderModule& module, const std::filesystem::path& folder) {
  std::string text;
  if (!read(folder / module.source, text))
    return {{}, (folder / module.source).string() + ": cannot be read"};
  const std::unique_ptr<shaderc_compiler, Deleter<shaderc_compiler_release>> compiler(
      shaderc_compiler_initialize());
  const std::unique_ptr<shaderc_compile_options, Deleter<shaderc_compile_options_release>> options(
      shaderc_compile_options_initialize());
  // Not optimised, as in the build: the host finds bindings and constants by their names.
  shaderc_compile_options_set_target_env(
      options.get(), shaderc_target_env_vulkan,
      module.vulkan_minor >= 3 ? shaderc_env_version_vulkan_1_3 : shaderc_env_version_vulkan_1_2);
  std::filesystem::path root = folder;
  shaderc_compile_options_set_include_callbacks(options.get(), resolve, release, &root);
  for (const std::string& macro : module.macros) {
    const std::size_t at = std::min(macro.find('='), macro.size());
    const std::string value = at < macro.size() ? macro.substr(at + 1) : "";
    shaderc_compile_options_add_macro_definition(options.get(), macro.data(), at, value.data(), value.size());
  }
  const std::unique_ptr<shaderc_compilation_result, Deleter<shaderc_result_release>> result(
      shaderc_compile_into_spv(compiler.get(), text.data(), text.size(), shaderc_compute_shader,
                               module.source.c_str(), "main", options.get()));
  if (shaderc_result_get_compilation_status(result.get()) != shaderc_compilation_status_success)
    return {{}, shaderc_result_get_error_message(result.get())};
  const auto* words = reinterpret_cast<const std::uint32_t*>(shaderc_result_get_bytes(result.get()));
  return {{words, words + shaderc_result_get_length(result.get()) / 4}, ""};
}
#else
CompiledShader compile_shader(const ShaderModule&, const std::filesystem::path&) {
  return {{}, shader_compiler_missing()};
}
#endif

std::vector<std::string> shader_sources(const std::string& source, const std::filesystem::path& folder) {
  std::vector<std::string> names{source};
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string text;
    if (!read(folder / names[i], text)) continue;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t at = line.find("#include \"");
      if (at == std::string::npos) continue;
      const std::size_t from = at + 10, to = line.find('"', from);
      if (to == std::string::npos) continue;
      const std::string name = line.substr(from, to - from);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

}  // namespace statescope::gui
