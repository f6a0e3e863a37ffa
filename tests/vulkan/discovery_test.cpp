// Machines without a driver, or with a broken one: one line of reason, no crash, and other drivers still
// work.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include <statescope/device.h>

#include "runtime/vulkan/vulkan_device.h"

namespace statescope {
namespace {

constexpr const char* kMissingLibrary =
    R"({"file_format_version": "1.0.0", "ICD": {"library_path": "/nowhere/libvulkan_none.so", "api_version": "1.3.0"}})";

/// Sets the variables that tell the loader where drivers are, and puts them back.
class Discovery : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("statescope_drivers_" + std::to_string(getpid()));
    std::filesystem::create_directories(directory_);
    for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"}) {
      const char* value = std::getenv(variable);
      before_[variable] = value ? std::optional<std::string>(value) : std::nullopt;
      unsetenv(variable);
    }
  }
  void TearDown() override {
    for (const auto& [variable, value] : before_) {
      if (value) {
        setenv(variable.c_str(), value->c_str(), 1);
      } else {
        unsetenv(variable.c_str());
      }
    }
    std::filesystem::remove_all(directory_);
  }

  std::string write(const std::string& file_name, const std::string& text) const {
    const auto path = directory_ / file_name;
    std::ofstream(path) << text;
    return path.string();
  }

  static BackendStatus look(const std::string& drivers) {
    // Both names: loaders before 1.3.207 know the second only.
    setenv("VK_DRIVER_FILES", drivers.c_str(), 1);
    setenv("VK_ICD_FILENAMES", drivers.c_str(), 1);
    BackendStatus status{Api::kVulkan, false, ""};
    status.available = !vulkan::find_devices(status).empty();
    return status;
  }

  static void expect_reason(const BackendStatus& status, const std::string& part) {
    EXPECT_FALSE(status.available);
    EXPECT_NE(status.reason.find(part), std::string::npos) << status.reason;
    EXPECT_EQ(status.reason.find('\n'), std::string::npos) << "one line: " << status.reason;
  }

  std::filesystem::path directory_;
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(Discovery, NoDriver) {
  const std::string nowhere = (directory_ / "nowhere.json").string();
  expect_reason(look(nowhere), "no Vulkan driver found");
  expect_reason(look(nowhere), nowhere);
}

TEST_F(Discovery, ADriverFileThatIsNoJson) {
  expect_reason(look(write("garbage.json", "not JSON at all {{{")), "no Vulkan driver found");
}

TEST_F(Discovery, ADriverWhoseLibraryIsMissing) {
  expect_reason(look(write("missing.json", kMissingLibrary)), "no Vulkan driver found");
}

TEST_F(Discovery, ABrokenDriverDoesNotHideAWorkingOne) {
  // This machine's own: what it was told, else llvmpipe.
  std::string working = before_["VK_DRIVER_FILES"].value_or("");
  for (const char* file :
       {"/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "/usr/share/vulkan/icd.d/lvp_icd.json"}) {
    if (working.empty() && std::filesystem::exists(file)) working = file;
  }
  if (working.empty()) GTEST_SKIP() << "neither VK_DRIVER_FILES nor llvmpipe";
  const BackendStatus status = look(write("missing.json", kMissingLibrary) + ":" + working);
  EXPECT_TRUE(status.available) << status.reason;
}

}  // namespace
}  // namespace statescope
