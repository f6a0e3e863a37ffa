// The built program as a child process.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "profiler/subprocess.h"
#include "tests/temporary_directory.h"

namespace statescope {

inline std::string program_path() {
  const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "statescope";
  return std::filesystem::exists(beside) ? beside.string() : STATESCOPE_PROGRAM;
}

/// Runs `statescope arguments...` to its end.
inline ProcessResult statescope_program(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program_path());
  const auto result = run_process(arguments);
  if (!result) throw std::runtime_error(program_path() + " is not there");
  return *result;
}

/// Exit code, one line on stderr that has every one of `parts`, nothing on stdout.
inline void expect_refusal(const std::vector<std::string>& arguments, int exit_code,
                           const std::vector<std::string>& parts) {
  const ProcessResult result = statescope_program(arguments);
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  for (const std::string& part : parts)
    EXPECT_NE(result.err.find(part), std::string::npos) << "wanted: " << part << "\nfound: " << result.err;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json parse_json(const std::string& text) {
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << text.substr(0, 400);
  return parsed;
}

}  // namespace statescope
