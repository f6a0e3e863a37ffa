// Running another program and keeping what it says.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace statescope {

struct ProcessResult {
  std::optional<int> exit_code;  ///< nothing: ended by `signal`
  int signal = 0;
  std::string out, err;
};

/// Runs `arguments` (the first is the program, looked for in PATH) to its end with `input` on its standard
/// input. `environment` adds to or replaces what this process has. Nothing when there is no such program;
/// throws Error(kDevice) when the system refuses to start one.
std::optional<ProcessResult> run_process(const std::vector<std::string>& arguments,
                                         std::string_view input = {},
                                         const std::map<std::string, std::string>& environment = {});

}  // namespace statescope
