// Editing a kernel while the app runs: the folder of shaders is watched, what changed is compiled, checked
// and timed, and its time and error stand beside those of the kernel that was built in. A shader that does
// not compile changes nothing.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/gui/session.h"
#include "profiler/compare.h"

namespace statescope::gui {

/// One kernel, checked and timed.
struct ShaderRun {
  std::string kernel;
  std::vector<OutputError> errors;
  bool verified = false;
  std::vector<double> sample;  ///< seconds of each run; empty unless verified
  Spread seconds;
};

struct ShaderResult {
  Problem problem;
  std::string device;
  std::vector<std::string> modules;  ///< that the problem runs
  std::optional<ShaderRun> built, edited;
  std::optional<CompareRow> comparison;  ///< edited against built, where both were timed
  std::string error;                     ///< of the compiler, or why the problem cannot run
  bool in_use = false;                   ///< the edited modules run in the whole app
  int edits = 0;                         ///< how often something was compiled
};

class ShaderEditor {
 public:
  /// Watches the folder for this problem on a Vulkan device; call it each frame. Empty: nothing.
  void want(Session& session, const std::string& folder, const std::string& device, const Problem& problem);
  ShaderResult result() const;

 private:
  void work(Session& session, const std::string& folder, const std::string& device, const Problem& problem,
            bool edited, const Watch& watch);

  mutable std::mutex mutex_;
  ShaderResult result_;

  // Of the interface's thread.
  std::string folder_, device_;
  std::optional<Problem> problem_;
  std::map<std::string, std::filesystem::file_time_type> times_;
  double looked_ = -1;
  bool edited_ = false;
};

}  // namespace statescope::gui
