// Every kernel compiled to AMD machine code by Mesa's RADV on null hardware, and what it costs there held
// against radv_table.txt: a change that makes a kernel spill, or fewer subgroups fit, is seen without an AMD
// GPU.
//
// To rewrite the table after a change that is meant, once a target (the driver reads its environment once):
//   STATESCOPE_WRITE_RADV_TABLE=1 build/release/tests/vulkan/statescope_tests_vulkan
//   --gtest_filter='Radv*/navi21'
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <statescope/device.h>

#include "runtime/vulkan/vulkan_device.h"

namespace statescope {
namespace {

constexpr const char* kRadeon = "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json";
// What `scripts/setup --newer-mesa` unpacks: GPUs that Debian 12's Mesa does not know, or not their
// cooperative matrices.
const std::filesystem::path kNewerMesa = STATESCOPE_SOURCE_DIR "/build/newer-mesa/usr";
constexpr const char* kTable = STATESCOPE_SOURCE_DIR "/tests/vulkan/radv_table.txt";
constexpr const char* kColumns[] = {"VGPRs", "LDS size", "Spilled VGPRs", "Scratch size",
                                    "Subgroups per SIMD"};

/// Kernel, type and size -> the columns' figures, as text.
using Rows = std::map<std::string, std::string>;
/// Target and compilers -> rows.
using Table = std::map<std::string, Rows>;

/// Lines "[target, driver, shader compiler]", then "kernel type size: figure figure ...".
Table read_table() {
  Table table;
  std::ifstream file(kTable);
  std::string line, section;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      section = line.substr(1, line.size() - 2);
    } else {
      const std::size_t colon = line.find(": ");
      table[section][line.substr(0, colon)] = line.substr(colon + 2);
    }
  }
  return table;
}

void write_table(const Table& table) {
  std::ofstream file(kTable);
  file << "# What AMD kernels cost, by Mesa's RADV on null hardware; null_hardware_test.cpp compares, and "
          "rewrites.\n# ";
  for (const char* column : kColumns) file << column << (column == std::end(kColumns)[-1] ? "\n" : ", ");
  for (const auto& [section, rows] : table) {
    file << "\n[" << section << "]\n";
    for (const auto& [kernel, figures] : rows) file << kernel << ": " << figures << "\n";
  }
}

Problem problem_of_size(Series series, Form form, Pass pass, Rule rule, DType dtype, std::int64_t size) {
  Problem p;
  p.series = series;
  p.form = form;
  p.pass = pass;
  p.rule = rule;
  p.dtype = dtype;
  p.seq_len = pass == Pass::kStep ? 1 : 64;
  p.initial_state = pass == Pass::kStep;
  p.key_dim = p.value_dim = size;
  p.expansion = series == Series::kComparison ? 1 : 8;
  return p;
}

void compile(Device& device, const Problem& p, Rows& rows) {
  SCOPED_TRACE(describe(p));
  for (const CompiledKernel& kernel : device.compile(device.plan(p))) {
    // What lies behind a front end is there without it.
    if (p.front_end && !kernel.kernel.starts_with("vulkan.front_end")) continue;
    EXPECT_FALSE(kernel.representations.empty());
    EXPECT_FALSE(kernel.spirv.empty());
    std::ostringstream figures;
    for (const char* column : kColumns)
      for (const CompiledKernel::Statistic& statistic : kernel.statistics)
        if (statistic.name == column) figures << (figures.tellp() > 0 ? " " : "") << statistic.value;
    rows[kernel.kernel + " " + std::string(name(p.dtype)) + " " + std::to_string(p.key_dim)] = figures.str();
  }
}

Rows compile_all(Device& device) {
  Rows rows;
  // bf16 kernels differ from f16 ones in the conversion alone; the comparison kernels' size is only a
  // constant, and so is whether a front end norms.
  for (Series series : {Series::kProduction, Series::kComparison})
    for (Form form : {Form::kRecurrent, Form::kChunked})
      for (Pass pass : kPasses)
        for (Rule rule : kRules)
          for (DType dtype : {DType::kF32, DType::kF16})
            for (std::int64_t size : {64, 128, 256}) {
              Problem p = problem_of_size(series, form, pass, rule, dtype, size);
              if (!is_implemented(p, device.info().limits) || (series == Series::kComparison && size > 64))
                continue;
              compile(device, p, rows);
              p.front_end = rule == Rule::kGatedDelta && form == Form::kRecurrent &&
                            series == Series::kProduction && pass != Pass::kStep;
              if (p.front_end) compile(device, p, rows);
            }
  return rows;
}

/// "VGPRs LDS spilled scratch subgroups"
bool spills(const std::string& figures) {
  return figures.find(" 0 0 ") == std::string::npos;
}

struct Target {
  const char* family;
  bool newer_mesa;
};

/// The driver's file; empty where it is not there.
std::filesystem::path driver_of(const Target& target) {
  if (!target.newer_mesa) return std::filesystem::exists(kRadeon) ? kRadeon : "";
  const std::filesystem::path driver = kNewerMesa / "share/vulkan/icd.d/radeon_icd.json";
  if (!std::filesystem::exists(driver)) return {};
  // It wants newer libraries than the system's, which are found by name once they are loaded.
  for (const char* library : {"libdrm.so.2", "libdrm_amdgpu.so.1"})
    dlopen((kNewerMesa / "lib/x86_64-linux-gnu" / library).c_str(), RTLD_NOW | RTLD_GLOBAL);
  return driver;
}

class NullHardware : public testing::TestWithParam<Target> {};

TEST_P(NullHardware, KernelsCostWhatTheTableSays) {
  const std::filesystem::path driver = driver_of(GetParam());
  if (driver.empty())
    GTEST_SKIP() << (GetParam().newer_mesa ? "scripts/setup --newer-mesa was not run"
                                           : "Mesa's RADV is not installed");
  const std::string family = GetParam().family;
  // This test changes where the loader looks: it wants a process of its own, as ctest gives each test.
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) setenv(variable, driver.c_str(), 1);
  unsetenv("VK_ADD_DRIVER_FILES");
  // Debian 12's validation layer is older than cooperative matrices and takes their modules for broken ones.
  if (GetParam().newer_mesa) unsetenv("STATESCOPE_VALIDATION");
  setenv("RADV_FORCE_FAMILY", family.c_str(), 1);
  BackendStatus status{Api::kVulkan, false, ""};
  const std::vector<DeviceEntry> entries = vulkan::find_devices(status);
  ASSERT_EQ(entries.size(), 1u) << status.reason;
  EXPECT_FALSE(entries[0].info.can_run);
  const Rows found = compile_all(*entries[0].open());
  EXPECT_GT(found.size(), 100u);

  const std::string section = family + ", " + entries[0].info.driver + ", " STATESCOPE_SHADER_COMPILER;
  Table table = read_table();
  if (std::getenv("STATESCOPE_WRITE_RADV_TABLE")) {
    table[section] = found;
    write_table(table);
    return;
  }
  // Compilers that the table does not know make other code, but should not spill where those it knows do not.
  const bool known = table.contains(section);
  const auto same_target = std::find_if(
      table.begin(), table.end(), [&](const auto& entry) { return entry.first.starts_with(family + ","); });
  ASSERT_NE(same_target, table.end());
  const Rows& expected = known ? table[section] : same_target->second;
  for (const auto& [kernel, figures] : found) {
    const auto row = expected.find(kernel);
    ASSERT_NE(row, expected.end()) << kernel << " is not in " << kTable << "; its figures: " << figures;
    if (known) {
      EXPECT_EQ(figures, row->second) << kernel;
    } else {
      EXPECT_TRUE(spills(row->second) || !spills(figures)) << kernel << ": " << figures;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Target>& info) {
  return info.param.family;
}

INSTANTIATE_TEST_SUITE_P(Radv, NullHardware,
                         testing::Values(Target{"navi21", false}, Target{"gfx1100", false},
                                         Target{"navi31", true}, Target{"gfx1201", true}),
                         name_of);

}  // namespace
}  // namespace statescope
