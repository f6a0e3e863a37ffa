#include "app/cli/text_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace statescope::cli {
namespace {

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

}  // namespace

void TextTable::print(std::ostream& out) const {
  std::vector<bool> right;
  std::vector<std::string> headings;
  for (const std::string& heading : headings_) {
    right.push_back(!heading.empty() && heading[0] == '>');
    headings.push_back(right.back() ? heading.substr(1) : heading);
  }
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < headings.size(); ++c) {
    widths.push_back(headings[c].size());
    for (const auto& row : rows_) widths[c] = std::max(widths[c], row[c].size());
  }
  const auto print_row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string padding(widths[c] - cells[c].size(), ' ');
      line += right[c] ? padding + cells[c] : cells[c] + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << "\n";
  };
  print_row(headings);
  for (const auto& row : rows_) print_row(row);
}

std::string si(double value, const std::string& unit) {
  if (value == 0 || !std::isfinite(value)) return "- " + unit;
  static constexpr const char* kPrefixes[] = {"n", "u", "m", "", "k", "M", "G", "T", "P"};
  const int group = std::clamp(static_cast<int>(std::floor(std::log10(std::abs(value)) / 3 + 1e-9)), -3, 5);
  const double scaled = value / std::pow(1000, group);
  const int digits = scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
  return fixed(scaled, digits) + " " + kPrefixes[group + 3] + unit;
}

std::string kib(std::size_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  const double k = static_cast<double>(bytes) / 1024;
  return fixed(k, k == std::floor(k) ? 0 : 1) + " KiB";
}

std::string scientific(double value) {
  return format("%.1e", value);
}

std::string percent(double share) {
  return format(share < 0.0995 ? "%.1f %%" : "%.0f %%", share * 100);
}

std::string fixed(double value, int digits) {
  return format("%.*f", digits, value);
}

}  // namespace statescope::cli
