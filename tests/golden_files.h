// The golden cases that this machine has: STATESCOPE_GOLDEN (a directory) when set, else the subset in this
// repository and the whole set where it lies beside the repository.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <vector>

namespace statescope {

inline std::vector<std::filesystem::path> golden_directories() {
  if (const char* directory = std::getenv("STATESCOPE_GOLDEN")) return {directory};
  const std::filesystem::path source = STATESCOPE_SOURCE_DIR;
  return {source / "tests/golden", source.parent_path() / "shared/golden"};
}

/// The entries under `folder` of every golden directory that `wanted` takes, sorted by name; a name that
/// stands in two directories comes once.
template <typename Wanted>
std::vector<std::filesystem::path> golden_entries(const char* folder, Wanted wanted) {
  std::map<std::filesystem::path, std::filesystem::path> found;
  for (const auto& directory : golden_directories()) {
    if (!std::filesystem::is_directory(directory / folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(directory / folder)) {
      if (wanted(entry.path())) found.emplace(entry.path().filename(), entry.path());
    }
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& [name, path] : found) paths.push_back(path);
  EXPECT_FALSE(paths.empty()) << "no golden files: set STATESCOPE_GOLDEN to their directory";
  return paths;
}

inline std::vector<std::filesystem::path> golden_files() {
  return golden_entries("", [](const auto& path) { return path.extension() == ".safetensors"; });
}

/// Directories of small models with the logits that their own library computed.
inline std::vector<std::filesystem::path> golden_models() {
  return golden_entries(
      "models", [](const auto& path) { return std::filesystem::exists(path / "expected.safetensors"); });
}

}  // namespace statescope
