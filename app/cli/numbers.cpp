#include "app/cli/numbers.h"

#include <charconv>
#include <cmath>
#include <cstdint>

namespace statescope::cli {
namespace {

/// Nothing when all of the text is one number, else what CLI11 makes an error of.
template <typename Number, typename Allowed>
CLI::Validator validator(const std::string& wanted, Allowed allowed) {
  const auto check = [wanted, allowed](const std::string& text) {
    Number number{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    const bool good = error == std::errc() && stop == end && allowed(number);
    return good ? std::string() : "found '" + text + "', wanted " + wanted;
  };
  return CLI::Validator(check, "POSITIVE", "POSITIVE");
}

}  // namespace

CLI::Validator positive_count() {
  return validator<std::int64_t>("a positive whole number", [](std::int64_t n) { return n > 0; });
}

CLI::Validator positive_number() {
  return validator<double>("a positive number", [](double x) { return x > 0 && std::isfinite(x); });
}

}  // namespace statescope::cli
