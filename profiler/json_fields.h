// Plain structs to JSON and back from one list of fields each, so that what is written is what is read.
//
// A struct takes part with a free function, found by its argument:
//   template <typename Visit, MaybeConst<Point> P> void visit_fields(Visit& visit, P& point) {
//     visit("x", point.x); ...
//   }
// Reading is strict: every field must be there and of the right type and range. Errors are Error(kUsage), one
// line that names the field by its path: "entries[3].launches[0].registers: found a string, wanted a number".
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <statescope/error.h>
#include <statescope/types.h>

namespace statescope {

template <typename T, typename Struct>
concept MaybeConst = std::same_as<std::remove_const_t<T>, Struct>;

namespace json_fields {

using Json = nlohmann::json;
using Uuid = std::array<std::uint8_t, 16>;

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsArray : std::false_type {};
template <typename T, std::size_t N>
struct IsArray<std::array<T, N>> : std::true_type {};

[[noreturn]] inline void fail(const std::string& path, const std::string& what) {
  throw Error(ErrorKind::kUsage, path + ": " + what);
}
[[noreturn]] inline void wrong_type(const std::string& path, const Json& found, const char* wanted) {
  fail(path, std::string("found ") + found.type_name() + ", wanted " + wanted);
}

// The enumerations that are stored by name.
inline void parse_name(const std::string& text, Rule& value) {
  value = parse_rule(text);
}
inline void parse_name(const std::string& text, Pass& value) {
  value = parse_pass(text);
}
inline void parse_name(const std::string& text, Division& value) {
  value = parse_division(text);
}
inline void parse_name(const std::string& text, Form& value) {
  value = parse_form(text);
}
inline void parse_name(const std::string& text, Series& value) {
  value = parse_series(text);
}
inline void parse_name(const std::string& text, DType& value) {
  value = parse_dtype(text);
}
/// For enumerations without a parse function of their own.
template <typename E>
void parse_one_of(const std::string& text, E& value, std::initializer_list<E> all) {
  std::string wanted;
  for (const E one : all) {
    if (text == name(one)) {
      value = one;
      return;
    }
    wanted += wanted.empty() ? "" : ", ";
    wanted += name(one);
  }
  throw Error(ErrorKind::kUsage, "found '" + text + "', wanted one of " + wanted);
}
inline void parse_name(const std::string& text, Api& value) {
  parse_one_of(text, value, {Api::kCpu, Api::kVulkan, Api::kCuda});
}

/// Sixteen bytes are 32 hexadecimal digits in a file.
inline std::string hex(const Uuid& uuid) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : uuid) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}
inline void parse_hex(const std::string& text, const std::string& path, Uuid& uuid) {
  if (text.size() != 32 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    fail(path, "found '" + text + "', wanted 32 hexadecimal digits");
  for (std::size_t i = 0; i < uuid.size(); ++i)
    uuid[i] = static_cast<std::uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
}

template <typename T>
Json write(const T& value);

struct Writer {
  Json object = Json::object();
  template <typename T>
  void operator()(const char* field, const T& value) {
    object[field] = write(value);
  }
  template <typename T>
  void added(const char* field, const T& value) {
    object[field] = write(value);
  }
};

template <typename T>
Json write(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(name(value));
  } else if constexpr (std::is_same_v<T, Uuid>) {
    return hex(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);  // JSON has no infinity and no NaN
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (IsOptional<T>::value) {
    return value ? write(*value) : Json(nullptr);
  } else if constexpr (IsVector<T>::value || IsArray<T>::value) {
    Json array = Json::array();
    for (const auto& element : value) array.push_back(write(element));
    return array;
  } else {
    Writer writer;
    visit_fields(writer, value);
    return std::move(writer.object);
  }
}

template <typename T>
void read(const Json& from, const std::string& path, T& value);

struct Reader {
  const Json& object;
  std::string path;
  template <typename T>
  void operator()(const char* field, T& value) {
    const auto found = object.find(field);
    const std::string where = path.empty() ? field : path + "." + field;
    if (found == object.end()) fail(where, "missing");
    read(*found, where, value);
  }
  /// A field that files of older programs lack: the value stays what it is.
  template <typename T>
  void added(const char* field, T& value) {
    if (object.contains(field)) (*this)(field, value);
  }
};

template <typename T>
void read_integer(const Json& from, const std::string& path, T& value) {
  if (!from.is_number_integer()) wrong_type(path, from, "an integer");
  const auto out_of_range = [&] { fail(path, "found " + from.dump() + ", out of range"); };
  if (from.is_number_unsigned()) {
    const auto wide = from.get<std::uint64_t>();
    if (!std::in_range<T>(wide)) out_of_range();
    value = static_cast<T>(wide);
  } else {
    const auto wide = from.get<std::int64_t>();
    if (!std::in_range<T>(wide)) out_of_range();
    value = static_cast<T>(wide);
  }
}

template <typename T>
void read(const Json& from, const std::string& path, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!from.is_boolean()) wrong_type(path, from, "true or false");
    value = from.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    read_integer(from, path, value);
  } else if constexpr (std::is_same_v<T, Uuid>) {
    if (!from.is_string()) wrong_type(path, from, "a string");
    parse_hex(from.get<std::string>(), path, value);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!from.is_number()) wrong_type(path, from, "a number");
    value = from.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!from.is_string()) wrong_type(path, from, "a string");
    value = from.get<std::string>();
  } else if constexpr (std::is_enum_v<T>) {
    if (!from.is_string()) wrong_type(path, from, "a string");
    try {
      parse_name(from.get<std::string>(), value);
    } catch (const Error& e) {
      fail(path, e.what());
    }
  } else if constexpr (IsOptional<T>::value) {
    if (from.is_null()) {
      value.reset();
    } else {
      read(from, path, value.emplace());
    }
  } else if constexpr (IsVector<T>::value) {
    if (!from.is_array()) wrong_type(path, from, "an array");
    value.resize(from.size());
    for (std::size_t i = 0; i < value.size(); ++i)
      read(from[i], path + "[" + std::to_string(i) + "]", value[i]);
  } else if constexpr (IsArray<T>::value) {
    if (!from.is_array()) wrong_type(path, from, "an array");
    if (from.size() != value.size()) {
      fail(path,
           "found " + std::to_string(from.size()) + " elements, wanted " + std::to_string(value.size()));
    }
    for (std::size_t i = 0; i < value.size(); ++i)
      read(from[i], path + "[" + std::to_string(i) + "]", value[i]);
  } else {
    if (!from.is_object()) wrong_type(path, from, "an object");
    Reader reader{from, path};
    visit_fields(reader, value);
  }
}

}  // namespace json_fields
}  // namespace statescope
