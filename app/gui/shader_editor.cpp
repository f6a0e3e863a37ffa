#include "app/gui/shader_editor.h"

#include <algorithm>

#include <imgui.h>

#include <statescope/error.h>

#include "app/gui/shader_compiler.h"
#include "profiler/oracle.h"
#include "runtime/vulkan/spirv.h"

namespace statescope::gui {
namespace {

constexpr int kPriority = 0;
constexpr double kLookEvery = 0.3;  // seconds
constexpr std::uint64_t kSeed = 7;
constexpr double kOracleFlop = 1e9;

using Times = std::map<std::string, std::filesystem::file_time_type>;

Times times_of(const std::string& folder) {
  Times times;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;
    const auto extension = entry->path().extension();
    if (extension == ".comp" || extension == ".glsl")
      times[entry->path().filename().string()] = entry->last_write_time(unknown);
  }
  return times;
}

/// The modules whose SPIR-V the launches of a plan were compiled from.
std::vector<const ShaderModule*> modules_of(const std::vector<CompiledKernel>& compiled, DType dtype) {
  std::vector<const ShaderModule*> used;
  for (const ShaderModule& module : shader_modules()) {
    const auto spirv = vulkan::find_module(module.name);
    const std::vector<std::uint32_t> plain(spirv.begin(), spirv.end());
    const bool runs = std::any_of(compiled.begin(), compiled.end(), [&](const CompiledKernel& kernel) {
      if (kernel.spirv == plain) return true;
      // bfloat16 is made of the float16 module, where it can be.
      if (dtype != DType::kBf16 || kernel.spirv.size() <= plain.size()) return false;
      try {
        return kernel.spirv == vulkan::with_bfloat16(spirv);
      } catch (const Error&) {
        return false;
      }
    });
    if (runs) used.push_back(&module);
  }
  return used;
}

ShaderRun run(Device& device, const Problem& problem, const Watch& watch) {
  BenchOptions options;
  options.seconds = 0.5;
  options.min_runs = options.min_slow_runs = 12;
  if (!device.info().hardware) options.rotate_bytes = 64.0 * 1024 * 1024;
  const Measurement m = measure(device, problem, make_oracle(problem, kSeed, kOracleFlop), options, watch);
  ShaderRun result;
  result.kernel = m.plan.variant ? std::string(m.plan.variant->name) : "";
  result.errors = m.errors;
  result.verified = m.verified;
  result.seconds = m.seconds;
  for (const RunTime& time : m.runs) result.sample.push_back(time.total);
  return result;
}

}  // namespace

void ShaderEditor::want(Session& session, const std::string& folder, const std::string& device,
                        const Problem& problem) {
  if (folder.empty() || device.empty()) return;
  const double now = ImGui::GetTime();
  const bool other = folder != folder_ || device != device_ || problem_ != problem;
  if (!other && now - looked_ < kLookEvery) return;
  looked_ = now;
  Times times = times_of(folder);
  const bool changed = folder == folder_ && times != times_;
  if (!other && !changed) return;
  edited_ = edited_ || changed;
  folder_ = folder;
  device_ = device;
  problem_ = problem;
  times_ = std::move(times);
  session.worker().post("shader", kPriority,
                        [this, &session, folder, device, problem, edited = edited_](const Watch& watch) {
                          work(session, folder, device, problem, edited, watch);
                        });
}

void ShaderEditor::work(Session& session, const std::string& folder, const std::string& device,
                        const Problem& problem, bool edited, const Watch& watch) {
  ShaderResult next = result();
  try {
    const bool same = next.built && next.device == device && next.problem == problem;
    if (!same) {
      watch.say("the kernel that was built in");
      vulkan::replace_modules({});
      session.forget(device);
      next = {};
      next.problem = problem;
      next.device = device;
      const auto opened = session.open(device);
      const Plan plan = opened->plan(problem);
      for (const ShaderModule* module : modules_of(opened->compile(plan), problem.dtype))
        next.modules.push_back(module->name);
      next.built = run(*opened, problem, watch);
    }
    next.error.clear();
    if (edited && shader_compiler_missing().empty()) {
      watch.say("compiling");
      std::map<std::string, std::vector<std::uint32_t>> replacements;
      for (const ShaderModule& module : shader_modules()) {
        if (std::find(next.modules.begin(), next.modules.end(), module.name) == next.modules.end()) continue;
        CompiledShader compiled = compile_shader(module, folder);
        if (!compiled.error.empty()) throw Error(ErrorKind::kUsage, compiled.error);
        replacements[module.name] = std::move(compiled.spirv);
      }
      watch.say("the edited kernel");
      vulkan::replace_modules(std::move(replacements));
      session.forget(device);
      next.in_use = true;
      ++next.edits;
      next.edited = run(*session.open(device), problem, watch);
      next.comparison.reset();
      if (next.edited->verified && next.built->verified)
        next.comparison = compare_samples(next.built->sample, next.edited->sample, 0.05);
    }
  } catch (const Error& e) {
    next.error = e.what();
  }
  const std::lock_guard lock(mutex_);
  result_ = std::move(next);
}

ShaderResult ShaderEditor::result() const {
  const std::lock_guard lock(mutex_);
  return result_;
}

}  // namespace statescope::gui
