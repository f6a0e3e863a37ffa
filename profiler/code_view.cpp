#include "profiler/code_view.h"

#include <filesystem>

#include "profiler/subprocess.h"

namespace statescope {
namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

/// What the first of `programs` that exists prints; else a comment that says why there is nothing.
std::string output_of(const std::vector<std::string>& programs, const std::vector<std::string>& arguments,
                      std::string_view input, const std::string& package) {
  for (const std::string& program : programs) {
    std::vector<std::string> line{program};
    line.insert(line.end(), arguments.begin(), arguments.end());
    const auto result = run_process(line, input);
    if (!result) continue;
    if (result->exit_code == 0 && !result->out.empty()) return result->out;
    return "; " + program + " failed: " + first_line(result->err);
  }
  return "; " + programs.front() + " was not found: install " + package;
}

/// Of all that cuobjdump says of a file's parts, the part with the function.
std::string function_of(const std::string& text) {
  const std::size_t function = text.find("Function :");
  if (function == std::string::npos) return text;
  return text.substr(function, text.find("\nFatbin", function) - function);
}

}  // namespace

void add_disassembly(CompiledKernel& kernel) {
  if (!kernel.spirv.empty()) {
    const std::string_view bytes(reinterpret_cast<const char*>(kernel.spirv.data()),
                                 kernel.spirv.size() * sizeof(std::uint32_t));
    kernel.representations.push_back(
        {"SPIR-V", output_of({"spirv-dis"}, {"--no-color", "-"}, bytes, "spirv-tools")});
  }
  if (!kernel.symbol.empty()) {
    kernel.representations.push_back(
        {"SASS", function_of(output_of({"cuobjdump", "/usr/local/cuda/bin/cuobjdump"},
                                       {"--dump-sass", "--function", kernel.symbol,
                                        std::filesystem::read_symlink("/proc/self/exe").string()},
                                       {}, "the CUDA toolkit"))});
  }
}

}  // namespace statescope
