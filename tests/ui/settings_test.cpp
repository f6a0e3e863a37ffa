#include "app/gui/settings.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <statescope/error.h>

namespace statescope::gui {
namespace {

class SettingsTest : public testing::Test {
 protected:
  // A folder a process: tests run beside each other.
  std::filesystem::path file = std::filesystem::path(testing::TempDir()) /
                               ("statescope-settings-" + std::to_string(getpid())) / "app.json";
  void SetUp() override { std::filesystem::remove_all(file.parent_path()); }
  void TearDown() override { std::filesystem::remove_all(file.parent_path()); }
};

TEST_F(SettingsTest, EverySettingSurvivesTheFile) {
  Settings settings;
  const std::pair<const char*, const char*> values[] = {{"view", "tour"},
                                                        {"theme", "light"},
                                                        {"scale", "1.500000"},
                                                        {"width", "1920"},
                                                        {"height", "1080"},
                                                        {"expansion", "12"},
                                                        {"rule", "gla"},
                                                        {"division", "naive"},
                                                        {"key-dim", "128"},
                                                        {"value-dim", "256"},
                                                        {"heads", "8"},
                                                        {"seq-len", "4096"},
                                                        {"batch", "4"},
                                                        {"dtype", "bf16"},
                                                        {"devices", "cpu;vulkan:0"},
                                                        {"limit-devices", "A100 (cuda)"},
                                                        {"keys", "captured"},
                                                        {"keys-file", "a file.safetensors"},
                                                        {"keys-text", "t.txt"},
                                                        {"keys-layer", "3"},
                                                        {"pairs", "128"},
                                                        {"measure", "off"},
                                                        {"capture", "c.json"},
                                                        {"baseline", "b.json"},
                                                        {"profile-device", "cpu"},
                                                        {"profile-pass", "step"},
                                                        {"profile-expansions", "one"},
                                                        {"shader-series", "naive"},
                                                        {"profile-tab", "roofline"},
                                                        {"threshold", "0.02"},
                                                        {"state-model", "checkpoint"},
                                                        {"state-type", "gla"},
                                                        {"state-heads", "3"},
                                                        {"state-key-dim", "32"},
                                                        {"state-value-dim", "48"},
                                                        {"state-checkpoint", "folder"},
                                                        {"state-text", "t.txt"},
                                                        {"state-tokens", "1000"},
                                                        {"state-trained", "99"},
                                                        {"recordings", "a.json;b.json"},
                                                        {"state-quantity", "mean"},
                                                        {"state-layer", "2"},
                                                        {"tour-step", "4"}};
  EXPECT_EQ(std::size(values), setting_keys().size());
  for (const auto& [key, value] : values) set(settings, key, value);
  save_settings(settings, file);
  const Settings loaded = load_settings(file);
  for (const auto& [key, value] : values) EXPECT_EQ(get(loaded, key), value) << key;
  EXPECT_EQ(loaded.devices, (std::vector<std::string>{"cpu", "vulkan:0"}));
  EXPECT_EQ(loaded.keys, std::nullopt);
}

TEST_F(SettingsTest, BadValuesAreRefusedWithWhatIsWanted) {
  Settings settings;
  for (const auto& [key, value] : {std::pair("expansion", "0"),
                                   {"expansion", "33"},
                                   {"expansion", "8x"},
                                   {"key-dim", "40"},
                                   {"key-dim", "272"},
                                   {"rule", "lstm"},
                                   {"theme", "pink"},
                                   {"pairs", "1"},
                                   {"pairs", "100000"},
                                   {"measure", "yes"},
                                   {"scale", "0.1"},
                                   {"dtype", "f64"},
                                   {"heads", "-1"},
                                   {"tour-step", "9"},
                                   {"colour", "red"}}) {
    try {
      set(settings, key, value);
      ADD_FAILURE() << key << "=" << value << " was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage);
      EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("wanted"), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(settings.expansion, 8);
}

TEST_F(SettingsTest, AFileThatIsNoneGivesDefaults) {
  EXPECT_EQ(load_settings(file).expansion, 8);
  std::filesystem::create_directories(file.parent_path());
  for (const char* content : {"", "{", "[1]", R"({"settings": 3})", R"({"settings": {"expansion": 4}})"}) {
    std::ofstream(file) << content;
    EXPECT_EQ(load_settings(file).expansion, 8) << content;
  }
  std::ofstream(file) << R"({"settings": {"expansion": "99", "theme": "light"}})";
  const Settings partly = load_settings(file);
  EXPECT_EQ(partly.expansion, 8);
  EXPECT_FALSE(partly.dark);
}

}  // namespace
}  // namespace statescope::gui
