#include "app/gui/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <span>

#include <nlohmann/json.hpp>

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope::gui {
namespace {

/// The one table of settings: the command line, the file and the help read it.
struct Field {
  const char* key;
  const char* wanted;
  std::function<void(Settings&, const std::string&)> write;
  std::function<std::string(const Settings&)> read;
};

[[noreturn]] void refuse(const std::string& value, const std::string& wanted) {
  throw Error(ErrorKind::kUsage, "found '" + value + "', wanted " + wanted);
}

template <typename T>
T number(const std::string& value, T min, T max, const char* wanted) {
  T result{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || end != value.data() + value.size() || !(result >= min && result <= max)) {
    refuse(value, wanted);
  }
  return result;
}

template <typename T>
Field integer(const char* key, const char* wanted, T Settings::*member, std::int64_t min, std::int64_t max,
              std::int64_t multiple = 1, bool zero_is_default = false) {
  return {key, wanted,
          [=](Settings& s, const std::string& value) {
            const auto found = number<std::int64_t>(value, zero_is_default ? 0 : min, max, wanted);
            if ((found < min && found != 0) || found % multiple != 0) refuse(value, wanted);
            s.*member = static_cast<T>(found);
          },
          [=](const Settings& s) { return std::to_string(s.*member); }};
}

Field flag(const char* key, bool Settings::*member) {
  return {key, "on or off",
          [=](Settings& s, const std::string& value) {
            if (value != "on" && value != "off") refuse(value, "on or off");
            s.*member = value == "on";
          },
          [=](const Settings& s) { return std::string(s.*member ? "on" : "off"); }};
}

Field text(const char* key, const char* wanted, std::string Settings::*member) {
  return {key, wanted, [=](Settings& s, const std::string& value) { s.*member = value; },
          [=](const Settings& s) { return s.*member; }};
}

Field list(const char* key, const char* wanted, std::vector<std::string> Settings::*member) {
  return {key, wanted,
          [=](Settings& s, const std::string& value) {
            (s.*member).clear();
            std::size_t from = 0;
            while (from < value.size()) {
              const std::size_t to = std::min(value.find(';', from), value.size());
              if (to > from) (s.*member).push_back(value.substr(from, to - from));
              from = to + 1;
            }
          },
          [=](const Settings& s) {
            std::string joined;
            for (const std::string& entry : s.*member) joined += (joined.empty() ? "" : ";") + entry;
            return joined;
          }};
}

Field layer_size(const char* key, const char* wanted, std::int64_t GeneratedLayer::*member, std::int64_t min,
                 std::int64_t max, std::int64_t multiple) {
  return {key, wanted,
          [=](Settings& s, const std::string& value) {
            const auto found = number<std::int64_t>(value, min, max, wanted);
            if (found % multiple != 0) refuse(value, wanted);
            s.state_layer.*member = found;
          },
          [=](const Settings& s) { return std::to_string(s.state_layer.*member); }};
}

template <typename T>
Field word(const char* key, const char* wanted, T Settings::*member,
           std::vector<std::pair<std::string, T>> allowed) {
  return {key, wanted,
          [=](Settings& s, const std::string& value) {
            for (const auto& [name, meaning] : allowed) {
              if (name == value) {
                s.*member = meaning;
                return;
              }
            }
            refuse(value, wanted);
          },
          [=](const Settings& s) {
            for (const auto& [name, meaning] : allowed) {
              if (meaning == s.*member) return name;
            }
            return std::string();
          }};
}

const std::vector<Field>& fields() {
  static const std::vector<Field> table = {
      word<std::string>(
          "view", "explore, profile, state or tour", &Settings::view,
          {{"explore", "explore"}, {"profile", "profile"}, {"state", "state"}, {"tour", "tour"}}),
      word<bool>("theme", "dark or light", &Settings::dark, {{"dark", true}, {"light", false}}),
      {"scale", "0 (the display's) or 0.5 to 4",
       [](Settings& s, const std::string& value) {
         const auto found = number<double>(value, 0, 4, "0 (the display's) or 0.5 to 4");
         if (found != 0 && found < 0.5) refuse(value, "0 (the display's) or 0.5 to 4");
         s.scale = found;
       },
       [](const Settings& s) { return std::to_string(s.scale); }},
      integer("width", "640 to 16384", &Settings::width, 640, 16384),
      integer("height", "400 to 16384", &Settings::height, 400, 16384),
      integer("expansion", "1 to 32", &Settings::expansion, 1, 32),
      {"rule", "linear, ssd, gla or gated_delta",
       [](Settings& s, const std::string& value) { s.rule = parse_rule(value); },
       [](const Settings& s) { return std::string(name(s.rule)); }},
      word<Compare>("division", "both, subheads or naive", &Settings::compare,
                    {{"both", Compare::kBoth}, {"subheads", Compare::kSubheads}, {"naive", Compare::kNaive}}),
      integer("key-dim", "a multiple of 16 from 16 to 256, or 0", &Settings::key_dim, 16, 256, 16, true),
      integer("value-dim", "a multiple of 16 from 16 to 256, or 0", &Settings::value_dim, 16, 256, 16, true),
      integer("heads", "1 to 64, or 0", &Settings::heads, 1, 64, 1, true),
      integer("seq-len", "1 to 65536, or 0", &Settings::seq_len, 1, 65536, 1, true),
      integer("batch", "1 to 64, or 0", &Settings::batch, 1, 64, 1, true),
      {"dtype", "f32, bf16, f16 or nothing",
       [](Settings& s, const std::string& value) {
         if (!value.empty() && value != "f32" && value != "bf16" && value != "f16") {
           refuse(value, "f32, bf16, f16 or nothing");
         }
         s.dtype = value;
       },
       [](const Settings& s) { return s.dtype; }},
      list("devices", "names of devices, separated by ;", &Settings::devices),
      list("limit-devices", "labels of the device database, separated by ;", &Settings::limit_devices),
      word<std::optional<KeySource>>(
          "keys", "independent, linear-expansion, silu-expansion or captured", &Settings::keys,
          {{std::string(name(KeySource::kIndependent)), KeySource::kIndependent},
           {std::string(name(KeySource::kLinearExpansion)), KeySource::kLinearExpansion},
           {std::string(name(KeySource::kSiluExpansion)), KeySource::kSiluExpansion},
           {"captured", std::nullopt}}),
      text("keys-file", "a safetensors file with a tensor k [B, T, H, E, K], or a checkpoint's folder",
           &Settings::keys_file),
      text("keys-text",
           "a text file for the checkpoint to read (or input_ids [1, T] in a .safetensors file), or nothing",
           &Settings::keys_text),
      integer("keys-layer", "0 to 255", &Settings::keys_layer, 0, 255),
      integer("pairs", "2 to 512", &Settings::pairs, 2, 512),
      flag("measure", &Settings::measure),
      text("capture", "a capture to open, or nothing", &Settings::capture),
      text("baseline", "a capture to compare with, or nothing", &Settings::baseline),
      text("profile-device", "name of a device, or nothing", &Settings::profile_device),
      word<Pass>("profile-pass", "forward, backward or step", &Settings::profile_pass,
                 {{"forward", Pass::kForward}, {"backward", Pass::kBackward}, {"step", Pass::kStep}}),
      word<bool>("profile-expansions", "one or powers", &Settings::profile_powers,
                 {{"one", false}, {"powers", true}}),
      word<int>("profile-tab", "kernel, code, roofline, baseline or shader", &Settings::profile_tab,
                {{"kernel", 0}, {"code", 1}, {"roofline", 2}, {"baseline", 3}, {"shader", 4}}),
      word<int>("shader-series", "naive, subheads or production", &Settings::shader_series,
                {{"naive", 0}, {"subheads", 1}, {"production", 2}}),
      {"threshold", "0 to 1",
       [](Settings& s, const std::string& value) { s.threshold = number<double>(value, 0, 1, "0 to 1"); },
       [](const Settings& s) {
         char text[32];
         std::snprintf(text, sizeof text, "%g", s.threshold);
         return std::string(text);
       }},
      word<bool>("state-model", "generated or checkpoint", &Settings::state_generated,
                 {{"generated", true}, {"checkpoint", false}}),
      {"state-type", "retnet, mamba2, gla, gated_deltanet or linear_attn",
       [](Settings& s, const std::string& value) {
         if (std::find(std::begin(kLayerTypes), std::end(kLayerTypes), value) == std::end(kLayerTypes))
           refuse(value, "retnet, mamba2, gla, gated_deltanet or linear_attn");
         s.state_layer.type = value;
       },
       [](const Settings& s) { return s.state_layer.type; }},
      layer_size("state-heads", "1 to 64", &GeneratedLayer::heads, 1, 64, 1),
      layer_size("state-key-dim", "a multiple of 16 from 16 to 256", &GeneratedLayer::key_dim, 16, 256, 16),
      layer_size("state-value-dim", "a multiple of 16 from 16 to 256", &GeneratedLayer::value_dim, 16, 256,
                 16),
      text("state-checkpoint", "a checkpoint's folder, or nothing", &Settings::state_checkpoint),
      text("state-text", "a text file for the model to read, or nothing", &Settings::state_text),
      integer("state-tokens", "2 to 1048576", &Settings::state_tokens, 2, 1048576),
      integer("state-trained", "1 to 1048575", &Settings::state_trained, 1, 1048575),
      list("recordings", "files of statescope collapse --json, separated by ;", &Settings::recordings),
      word<int>("state-quantity", "norm, mean or variance", &Settings::state_quantity,
                {{"norm", 0}, {"mean", 1}, {"variance", 2}}),
      integer("state-layer", "0 to 4095", &Settings::state_shown_layer, 0, 4095),
      integer("tour-step", "0 to 4", &Settings::tour_step, 0, 4),
  };
  return table;
}

const Field& field(const std::string& key) {
  for (const Field& candidate : fields()) {
    if (key == candidate.key) return candidate;
  }
  std::string known;
  for (const Field& candidate : fields()) known += std::string(known.empty() ? "" : ", ") + candidate.key;
  throw Error(ErrorKind::kUsage, "setting: found '" + key + "', wanted one of " + known);
}

}  // namespace

std::string settings_help() {
  std::string help;
  for (const Field& f : fields()) help += "  " + std::string(f.key) + "=" + f.wanted + "\n";
  return help;
}

void set(Settings& settings, const std::string& key, const std::string& value) {
  const Field& f = field(key);
  try {
    f.write(settings, value);
  } catch (const Error& e) {
    throw Error(ErrorKind::kUsage, "setting " + key + ": " + e.what());
  }
}

std::string get(const Settings& settings, const std::string& key) {
  return field(key).read(settings);
}

std::vector<std::string> setting_keys() {
  std::vector<std::string> keys;
  for (const Field& f : fields()) keys.push_back(f.key);
  return keys;
}

std::filesystem::path settings_path() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = config && *config ? std::filesystem::path(config)
                                     : home && *home   ? std::filesystem::path(home) / ".config"
                                                       : std::filesystem::path(".");
  return base / "statescope" / "app.json";
}

Settings load_settings(const std::filesystem::path& path) {
  Settings settings;
  std::ifstream file(path);
  if (!file) return settings;
  try {
    const auto json = nlohmann::json::parse(file);
    for (const auto& [key, value] : json.at("settings").items()) {
      try {
        set(settings, key, value.get<std::string>());
      } catch (const Error& e) {
        std::cerr << path.string() << ": " << e.what() << "; left out\n";
      }
    }
  } catch (const nlohmann::json::exception& e) {
    std::cerr << path.string() << ": not a settings file (" << e.what() << "); starting with defaults\n";
  }
  return settings;
}

void save_settings(const Settings& settings, const std::filesystem::path& path) {
  nlohmann::json values;
  for (const Field& f : fields()) values[f.key] = f.read(settings);
  const std::string text =
      nlohmann::json{{"schema", "statescope.settings/1"}, {"settings", values}}.dump(2) + "\n";
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw Error(ErrorKind::kDevice, path.parent_path().string() + ": " + error.message());
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace statescope::gui
