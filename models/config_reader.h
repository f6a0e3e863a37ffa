// config.json as a program meets it: typed access with the key, the found and the wanted in every error.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace statescope {

using ConfigJson = nlohmann::ordered_json;

/// Parses JSON as Python writes it: Infinity, -Infinity and NaN stand for numbers; they become strings.
/// Throws Error(kUsage) when it is not a JSON object.
ConfigJson parse_config_json(const std::string& text);

/// The inverse: indented, the three words bare again.
std::string dump_config_json(const ConfigJson& json);

/// Reads keys of one object; a key that is absent or null takes the default.
class ConfigReader {
 public:
  explicit ConfigReader(const ConfigJson& json) : json_(json) {}

  bool has(const char* key) const;
  std::int64_t integer(const char* key, std::int64_t preset) const;
  /// At least 1 and at most 2^31 - 1.
  std::int64_t size(const char* key, std::int64_t preset) const;
  /// As size(); throws when the key is absent.
  std::int64_t size(const char* key) const;
  /// "Infinity" is a number too.
  double number(const char* key, double preset) const;
  double number(const ConfigJson& value, const char* key) const;
  bool flag(const char* key, bool preset) const;
  std::string word(const char* key, const std::string& preset) const;
  const ConfigJson& json() const { return json_; }

  /// Throws Error(kUsage): "config.json: key: found X, wanted Y".
  [[noreturn]] void fail(const std::string& key, const std::string& wanted) const;

 private:
  const ConfigJson& json_;
};

}  // namespace statescope
