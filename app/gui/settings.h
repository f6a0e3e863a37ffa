// What the user has set, kept from one start to the next in $XDG_CONFIG_HOME/statescope/app.json (or
// ~/.config).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <statescope/types.h>

#include "models/dilution.h"

namespace statescope::gui {

/// A model of one layer with random weights: what the State view records where there is no checkpoint.
struct GeneratedLayer {
  std::string type = "retnet";  ///< as in config.json
  std::int64_t heads = 8, key_dim = 64, value_dim = 64;
  bool operator==(const GeneratedLayer&) const = default;
};
inline constexpr const char* kLayerTypes[] = {"retnet", "mamba2", "gla", "gated_deltanet", "linear_attn"};

/// Which series the panels show.
enum class Compare { kBoth, kSubheads, kNaive };

struct Settings {
  std::string view = "explore";
  bool dark = true;
  double scale = 0;  ///< of the interface; 0: the display's
  int width = 1280, height = 720;

  std::int64_t expansion = 8;
  Rule rule = Rule::kGatedDelta;
  Compare compare = Compare::kBoth;
  /// 0: the device's own default (statescope bench's configuration).
  std::int64_t key_dim = 0, value_dim = 0, heads = 0, seq_len = 0, batch = 0;
  std::string dtype;                       ///< "f32" ...; empty: the device's default
  std::vector<std::string> devices;        ///< that measure; empty: the default device
  std::vector<std::string> limit_devices;  ///< labels of the device database; empty: one of each limit
  std::optional<KeySource> keys = KeySource::kSiluExpansion;  ///< shown; nothing: the captured ones
  std::string keys_file;        ///< safetensors with a tensor k, or a checkpoint's folder
  std::string keys_text;        ///< what the checkpoint reads; empty: random tokens
  std::int64_t keys_layer = 0;  ///< of the checkpoint
  std::int64_t pairs = 64;
  bool measure = true;  ///< throughput in the background

  // Profile.
  std::string capture, baseline;  ///< files that are open; empty: none, or one that was measured here
  std::string profile_device;     ///< empty: the default device
  Pass profile_pass = Pass::kForward;
  bool profile_powers = true;  ///< E = 1, 2, 4 ... up to the slider's; else the slider's alone
  std::string shader_dir;      ///< whose shaders are watched; not kept from one start to the next
  int shader_series = 2;       ///< SweepSeries that an edited shader is measured as
  int profile_tab = 0;         ///< ProfileTab
  double threshold = 0.05;     ///< past which a kernel counts as changed

  // State.
  bool state_generated = true;   ///< the generated layer; else the checkpoint
  GeneratedLayer state_layer;    ///< "retnet", H, K, V
  std::string state_checkpoint;  ///< a folder
  std::string state_text;        ///< what it reads; empty: newlines
  std::int64_t state_tokens = 2048, state_trained = 256;
  std::vector<std::string> recordings;  ///< files that are open; empty: none, or what was recorded here
  int state_quantity = 0;               ///< StateQuantity
  std::int64_t state_shown_layer = 0;

  int tour_step = 0;
};

/// Every key that can be set, with the values it takes: for --help.
std::string settings_help();
/// Throws Error(kUsage) that names the key, the found and the wanted.
void set(Settings& settings, const std::string& key, const std::string& value);
/// The inverse of set().
std::string get(const Settings& settings, const std::string& key);
std::vector<std::string> setting_keys();

std::filesystem::path settings_path();
/// Defaults where there is no file. A file that cannot be read, or a value in it that is not allowed, is
/// reported on stderr and left out.
Settings load_settings(const std::filesystem::path& path);
/// Throws Error(kDevice) when it cannot be written.
void save_settings(const Settings& settings, const std::filesystem::path& path);

}  // namespace statescope::gui
