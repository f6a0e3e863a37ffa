// devices: what is here, and the reason for what is not, with no driver and with a broken one.
#include "tests/cli/program.h"

namespace statescope {
namespace {

ProcessResult devices_with_driver(const std::string& driver_file) {
  return *run_process(
      {program_path(), "devices", "--json"}, {},
      {{"VK_ICD_FILENAMES", driver_file}, {"VK_DRIVER_FILES", driver_file}, {"VK_ADD_DRIVER_FILES", ""}});
}

/// The cpu is always there; Vulkan is absent with a reason.
void expect_no_vulkan(const ProcessResult& result) {
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out);
  bool cpu = false;
  for (const auto& device : json["devices"]) {
    EXPECT_NE(device["api"], "vulkan");
    cpu = cpu || device["name"] == "cpu";
  }
  EXPECT_TRUE(cpu);
  for (const auto& backend : json["backends"]) {
    if (backend["api"] != "vulkan") continue;
    EXPECT_EQ(backend["available"], false);
    EXPECT_NE(backend["reason"], "");
  }
}

TEST(Devices, ListsTheCpuAndEveryBackend) {
  const ProcessResult result = statescope_program({"devices", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out);
  EXPECT_EQ(json["schema"], "statescope.devices.found/1");
  EXPECT_EQ(json["backends"].size(), 3u);
  EXPECT_EQ(json["devices"].back()["name"], "cpu");
  for (const auto& backend : json["backends"]) {
    EXPECT_EQ(backend["available"].get<bool>(), backend["reason"] == "") << backend.dump();
  }
}

TEST(Devices, NoDriver) {
  expect_no_vulkan(devices_with_driver("/nonexistent/driver.json"));
}

TEST(Devices, BrokenDriver) {
  TemporaryDirectory directory;
  std::ofstream(directory / "broken.json")
      << R"({"file_format_version": "1.0.0", "ICD": {"library_path": "/nonexistent/libvulkan_broken.so", "api_version": "1.3.0"}})";
  expect_no_vulkan(devices_with_driver(directory / "broken.json"));
}

TEST(Devices, TextSaysWhyABackendIsAbsent) {
  const auto result = run_process(
      {program_path(), "devices"}, {},
      {{"VK_ICD_FILENAMES", "/nonexistent/driver.json"}, {"VK_DRIVER_FILES", "/nonexistent/driver.json"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_NE(result->out.find("vulkan: absent, "), std::string::npos) << result->out;
}

}  // namespace
}  // namespace statescope
