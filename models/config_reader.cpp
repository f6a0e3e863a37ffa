#include "models/config_reader.h"

#include <cstring>
#include <limits>

#include <statescope/error.h>

namespace statescope {
namespace {

/// What Python writes for numbers that JSON does not have.
constexpr const char* kNonfinite[] = {"-Infinity", "Infinity", "NaN"};

std::string quote_nonfinite(const std::string& text) {
  std::string quoted;
  quoted.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      quoted.append(text, i, 2);
      i += 2;
      continue;
    }
    if (text[i] == '"') in_string = !in_string;
    bool found = false;
    if (!in_string) {
      for (const char* word : kNonfinite) {
        if (text.compare(i, std::strlen(word), word) != 0) continue;
        quoted += '"' + std::string(word) + '"';
        i += std::strlen(word);
        found = true;
        break;
      }
    }
    if (!found) quoted += text[i++];
  }
  return quoted;
}

}  // namespace

ConfigJson parse_config_json(const std::string& text) {
  ConfigJson json;
  try {
    json = ConfigJson::parse(quote_nonfinite(text));
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::kUsage, "config.json: not JSON");
  }
  if (!json.is_object()) throw Error(ErrorKind::kUsage, "config.json: not a JSON object");
  return json;
}

std::string dump_config_json(const ConfigJson& json) {
  std::string text = json.dump(1);
  for (const char* word : kNonfinite) {
    const std::string quoted = '"' + std::string(word) + '"';
    for (std::size_t at = text.find(quoted); at != text.npos; at = text.find(quoted, at)) {
      text.replace(at, quoted.size(), word);
    }
  }
  return text;
}

void ConfigReader::fail(const std::string& key, const std::string& wanted) const {
  const auto it = json_.find(key);
  throw Error(ErrorKind::kUsage, "config.json: " + key + ": found " +
                                     (it == json_.end() ? std::string("nothing") : it->dump()) + ", wanted " +
                                     wanted);
}

bool ConfigReader::has(const char* key) const {
  const auto it = json_.find(key);
  return it != json_.end() && !it->is_null();
}

std::int64_t ConfigReader::integer(const char* key, std::int64_t preset) const {
  if (!has(key)) return preset;
  if (!json_[key].is_number_integer()) fail(key, "a whole number");
  return json_[key].get<std::int64_t>();
}

std::int64_t ConfigReader::size(const char* key, std::int64_t preset) const {
  const std::int64_t value = integer(key, preset);
  if (value < 1 || value > std::numeric_limits<std::int32_t>::max()) fail(key, "1 to 2147483647");
  return value;
}

std::int64_t ConfigReader::size(const char* key) const {
  if (!has(key)) fail(key, "1 to 2147483647");
  return size(key, 1);
}

double ConfigReader::number(const ConfigJson& value, const char* key) const {
  if (value == "Infinity") return std::numeric_limits<double>::infinity();
  if (!value.is_number()) fail(key, "a number");
  return value.get<double>();
}

double ConfigReader::number(const char* key, double preset) const {
  return has(key) ? number(json_[key], key) : preset;
}

bool ConfigReader::flag(const char* key, bool preset) const {
  if (!has(key)) return preset;
  if (!json_[key].is_boolean()) fail(key, "true or false");
  return json_[key].get<bool>();
}

std::string ConfigReader::word(const char* key, const std::string& preset) const {
  if (!has(key)) return preset;
  if (!json_[key].is_string()) fail(key, "a word");
  return json_[key].get<std::string>();
}

}  // namespace statescope
