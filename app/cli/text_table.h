// Tables on the terminal, and figures with units.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace statescope::cli {

/// Columns as wide as their widest cell, two spaces between; headings that start with '>' align to the right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> headings) : headings_(std::move(headings)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  void print(std::ostream& out) const;

 private:
  std::vector<std::string> headings_;
  std::vector<std::vector<std::string>> rows_;
};

/// Three significant digits with a metric prefix: si(1.234e-4, "s") is "123 us", si(4.29e12, "B/s") is "4.29
/// TB/s".
std::string si(double value, const std::string& unit);
/// 65536 is "64 KiB", 40 is "40 B".
std::string kib(std::size_t bytes);
/// "3.2e-07"
std::string scientific(double value);
/// "42 %"
std::string percent(double share);
/// "3.14": `digits` behind the point.
std::string fixed(double value, int digits);

}  // namespace statescope::cli
