// The golden cases that this machine has: STATESCOPE_GOLDEN (a directory) when set, else the subset in this
// repository and the whole set where it lies beside the repository.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <vector>

namespace statescope {

/// Sorted by name; a name that stands in two directories comes once.
inline std::vector<std::filesystem::path> golden_files() {
  std::vector<std::filesystem::path> directories;
  if (const char* directory = std::getenv("STATESCOPE_GOLDEN")) {
    directories = {directory};
  } else {
    const std::filesystem::path source = STATESCOPE_SOURCE_DIR;
    directories = {source / "tests/golden", source.parent_path() / "shared/golden"};
  }
  std::map<std::filesystem::path, std::filesystem::path> files;
  for (const auto& directory : directories) {
    if (!std::filesystem::is_directory(directory)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.path().extension() == ".safetensors") files.emplace(entry.path().filename(), entry.path());
    }
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& [name, path] : files) paths.push_back(path);
  EXPECT_FALSE(paths.empty()) << "no golden files: set STATESCOPE_GOLDEN to their directory";
  return paths;
}

}  // namespace statescope
