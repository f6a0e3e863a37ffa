// Charts as inline SVG: marks on labelled axes, a text for each mark on hover, colours from the page's style
// sheet.
//
// Every mark carries its data (data-series, data-x, data-y), so that a program can read back what is drawn.
#pragma once

#include <string>
#include <vector>

namespace statescope {

enum class Scale { kLinear, kLog };

struct ChartMark {
  double x = 0, y = 0;
  std::string text;  ///< on hover
};

/// A curve. Colour and marker shape go together, so that neither alone has to tell curves apart.
struct ChartSeries {
  std::string name;
  int style = 0;     ///< 0..7: colour and marker
  bool line = true;  ///< join the marks; those that are not joined stand side by side
  bool markers = true;
  bool dashed = false;
  bool hollow = false;  ///< rings: theory and published figures, which may lie on measured ones
  std::vector<ChartMark> marks = {};
  std::vector<ChartMark> refused = {};  ///< drawn as a cross on the lower edge; y is not used
};

/// A horizontal line with its label on it.
struct ChartLimit {
  double y = 0;
  std::string label;
  std::string text;  ///< on hover
};

struct Chart {
  std::string id;  ///< unique on the page
  std::string title;
  std::string note;              ///< a sentence under the title; may be empty
  std::string x_label, y_label;  ///< with units
  std::string y_unit;            ///< "B": ticks are binary multiples; else metric ones
  Scale y_scale = Scale::kLinear;
  std::vector<double> x_ticks;  ///< the axis is logarithmic (base 2) over these
  double y_min = 0, y_max = 0;  ///< 0, 0: from the marks
  int width = 560, height = 300;
  bool wide = false;     ///< spans the page
  int limit_labels = 0;  ///< room for the labels of limits right of the plot; 0: they stand on their lines
  std::vector<ChartSeries> series;
  std::vector<ChartLimit> limits;
};

/// A <figure> with title, legend and <svg>.
std::string draw(const Chart& chart);

/// Escapes &, <, > and quotes.
std::string html(const std::string& text);

/// Three significant digits with a metric prefix, or a binary one for unit "B": "1.23 M", "84.1 Ki".
std::string short_number(double value, const std::string& unit = "");

}  // namespace statescope
