#include "profiler/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace statescope {
namespace {

constexpr double kLeft = 72, kRight = 14, kTop = 10, kBottom = 42;

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  char text[160];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

/// Where data goes on the page.
struct Frame {
  double left = kLeft, right = 0, top = kTop, bottom = 0;
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;  // in log units where the axis is logarithmic
  Scale y_scale = Scale::kLinear;

  double x(double value) const {
    return left + (std::log2(value) - x_low) / (x_high - x_low) * (right - left);
  }
  double y(double value) const {
    const double at = y_scale == Scale::kLog ? std::log10(value) : value;
    return bottom - (at - y_low) / (y_high - y_low) * (bottom - top);
  }
};

Frame frame_of(const Chart& chart) {
  Frame f;
  f.right = chart.width - kRight - chart.limit_labels;
  f.bottom = chart.height - kBottom;
  f.y_scale = chart.y_scale;
  double low = INFINITY, high = -INFINITY;
  for (const ChartSeries& s : chart.series) {
    for (const ChartMark& m : s.marks) {
      low = std::min(low, m.y);
      high = std::max(high, m.y);
    }
  }
  if (chart.y_min != chart.y_max) {
    low = chart.y_min;
    high = chart.y_max;
  } else if (!std::isfinite(low)) {
    low = 1;
    high = 10;
  } else if (chart.y_scale == Scale::kLog) {
    low /= 2;  // room for the crosses below and the eye above
    high *= 1.5;
  } else {
    low = 0;
    high = high > 0 ? high * 1.08 : 1;
  }
  const bool log = chart.y_scale == Scale::kLog;
  f.y_low = log ? std::log10(low) : low;
  f.y_high = log ? std::log10(high) : high;
  const auto [first, last] = std::minmax_element(chart.x_ticks.begin(), chart.x_ticks.end());
  f.x_low = std::log2(*first) - 0.25;
  f.x_high = std::log2(*last) + 0.25;
  return f;
}

std::vector<double> y_ticks(const Chart& chart, const Frame& f) {
  std::vector<double> ticks;
  if (chart.y_scale == Scale::kLinear) {
    const double raw = (f.y_high - f.y_low) / 5;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    for (double t = std::ceil(f.y_low / step) * step; t <= f.y_high * 1.0001; t += step) ticks.push_back(t);
    return ticks;
  }
  if (chart.y_unit == "B") {
    for (double t = 1; t < 1e15; t *= 4) {
      if (std::log10(t) >= f.y_low && std::log10(t) <= f.y_high) ticks.push_back(t);
    }
    return ticks;
  }
  const double decades = f.y_high - f.y_low;
  const int every = std::max(1, static_cast<int>(std::ceil(decades / 7)));
  const std::vector<double> within = decades > 3     ? std::vector<double>{1}
                                     : decades > 1.2 ? std::vector<double>{1, 3}
                                                     : std::vector<double>{1, 2, 5};
  for (int d = static_cast<int>(std::floor(f.y_low)); d <= f.y_high; ++d) {
    if (decades > 3 && d % every != 0) continue;
    for (double m : within) {
      const double t = m * std::pow(10, d);
      if (std::log10(t) >= f.y_low && std::log10(t) <= f.y_high) ticks.push_back(t);
    }
  }
  return ticks;
}

std::string marker(int style, bool hollow, double x, double y, const std::string& attributes,
                   const std::string& text) {
  const std::string open = std::string(" class=\"mark") + (hollow ? " hollow" : "") + " s" +
                           std::to_string(style) + "\"" + attributes;
  const std::string close = text.empty() ? "/>" : "><title>" + html(text) + "</title></";
  const auto done = [&](const char* tag) { return text.empty() ? std::string() : std::string(tag) + ">"; };
  switch (style % 4) {
    case 0:
      return format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"", x, y) + open + close + done("circle");
    case 1:
      return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"8.4\" height=\"8.4\"", x - 4.2, y - 4.2) + open +
             close + done("rect");
    case 2:
      return format("<path d=\"M%.1f %.1fl5.2 9h-10.4z\"", x, y - 5.6) + open + close + done("path");
    default:
      return format("<path d=\"M%.1f %.1fl5.4 5.4l-5.4 5.4l-5.4 -5.4z\"", x, y - 5.4) + open + close +
             done("path");
  }
}

std::string legend(const Chart& chart) {
  if (chart.series.size() < 2) return "";
  std::string out = "<div class=\"legend\">";
  for (const ChartSeries& s : chart.series) {
    const std::string style = std::to_string(s.style);
    out += "<span><svg viewBox=\"0 0 28 14\" width=\"28\" height=\"14\" aria-hidden=\"true\">";
    if (s.line) {
      out += "<path d=\"M1 7h26\" class=\"curve s" + style + (s.dashed ? " dashed" : "") + "\"/>";
    }
    if (s.markers) out += marker(s.style, s.hollow, 14, 7, "", "");
    out += "</svg>" + html(s.name) + "</span>";
  }
  return out + "</div>";
}

std::string axes(const Chart& chart, const Frame& f) {
  std::string out;
  for (double t : y_ticks(chart, f)) {
    const double y = f.y(t);
    out += format("<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", f.left, y, f.right);
    out += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", f.left - 7, y + 4);
    out += short_number(t, chart.y_unit) + "</text>";
  }
  for (double t : chart.x_ticks) {
    out += format("<path class=\"grid\" d=\"M%.1f %.1fv5\"/>", f.x(t), f.bottom);
    out +=
        format("<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">", f.x(t), f.bottom + 17);
    out += short_number(t) + "</text>";
  }
  out += format("<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", f.left, f.top, f.bottom, f.right);
  out += format("<text class=\"label\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">", (f.left + f.right) / 2,
                chart.height - 8.0);
  out += html(chart.x_label) + "</text>";
  out += format("<text class=\"label\" text-anchor=\"middle\" transform=\"translate(13 %.1f) rotate(-90)\">",
                (f.top + f.bottom) / 2);
  return out + html(chart.y_label) + "</text>";
}

/// Labels stand on the lines, or right of the plot, where nearby lines push them apart.
std::string limit_lines(const Chart& chart, const Frame& f) {
  std::string out;
  std::vector<ChartLimit> limits = chart.limits;
  std::sort(limits.begin(), limits.end(), [](const ChartLimit& a, const ChartLimit& b) { return a.y < b.y; });
  double below = INFINITY;  // where the last label stands
  for (const ChartLimit& l : limits) {
    const double y = f.y(l.y);
    out +=
        format("<g class=\"limit\" data-y=\"%.17g\"><path d=\"M%.1f %.1fH%.1f\"/>", l.y, f.left, y, f.right);
    if (chart.limit_labels > 0) {
      below = std::min(y + 4, below - 15);
      out += format("<text x=\"%.1f\" y=\"%.1f\">", f.right + 8, below);
    } else {
      out += format("<text x=\"%.1f\" y=\"%.1f\">", f.left + 6, y - 4);
    }
    out += html(l.label) + "</text><title>" + html(l.text.empty() ? l.label : l.text) + "</title></g>";
  }
  return out;
}

/// How far from its x a mark stands so that `count` marks stand side by side.
double beside(std::size_t index, std::size_t count) {
  return (static_cast<double>(index) - static_cast<double>(count - 1) / 2) * 13;
}

std::string curve(const ChartSeries& s, double shift, const Frame& f) {
  std::string out;
  const std::string style = std::to_string(s.style);
  if (s.line && s.marks.size() > 1) {
    out += "<path class=\"curve s" + style + (s.dashed ? " dashed" : "") + "\" d=\"";
    for (std::size_t i = 0; i < s.marks.size(); ++i) {
      out += format("%s%.1f %.1f", i == 0 ? "M" : "L", f.x(s.marks[i].x), f.y(s.marks[i].y));
    }
    out += "\"/>";
  }
  for (const ChartMark& m : s.marks) {
    if (!s.markers) break;
    out += marker(
        s.style, s.hollow, f.x(m.x) + shift, f.y(m.y),
        " data-series=\"" + html(s.name) + "\"" + format(" data-x=\"%.17g\" data-y=\"%.17g\"", m.x, m.y),
        m.text);
  }
  return out;
}

/// Crosses on the lower edge, side by side where several curves are refused at one x.
std::string refusals(const Chart& chart, const Frame& f) {
  std::string out;
  const auto is_refused = [](const ChartSeries& s) { return !s.refused.empty(); };
  const auto count =
      static_cast<std::size_t>(std::count_if(chart.series.begin(), chart.series.end(), is_refused));
  std::size_t index = 0;
  for (const ChartSeries& s : chart.series) {
    if (!is_refused(s)) continue;
    const double shift = beside(index++, count);
    for (const ChartMark& m : s.refused) {
      out += "<path class=\"cross s" + std::to_string(s.style) + "\" data-series=\"" + html(s.name) + "\"" +
             format(" data-x=\"%.17g\" d=\"M%.1f %.1fl8 8m0 -8l-8 8\"", m.x, f.x(m.x) + shift - 4,
                    f.bottom - 14) +
             "><title>" + html(m.text) + "</title></path>";
    }
  }
  return out;
}

}  // namespace

std::string html(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string short_number(double value, const std::string& unit) {
  if (value == 0) return "0";
  const bool binary = unit == "B";
  const double base = binary ? 1024 : 1000;
  static constexpr std::array<const char*, 6> kMetric = {"", " k", " M", " G", " T", " P"};
  static constexpr std::array<const char*, 6> kBinary = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
  if (!binary && std::abs(value) < 0.01) return format("%.0e", value);
  std::size_t group = 0;
  while (std::abs(value) >= base * 0.9995 && group + 1 < kMetric.size()) {
    value /= base;
    ++group;
  }
  std::string digits = format("%.3g", value);
  if (std::abs(value) >= 100) digits = format("%.0f", value);
  return digits + (binary ? kBinary : kMetric)[group];
}

std::string draw(const Chart& chart) {
  const Frame f = frame_of(chart);
  std::string out = std::string("<figure class=\"chart") + (chart.wide ? " wide" : "") + "\" id=\"" +
                    html(chart.id) + "\"><figcaption>" + html(chart.title) + "</figcaption>";
  if (!chart.note.empty()) out += "<p class=\"note\">" + html(chart.note) + "</p>";
  out += legend(chart);
  out += format("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", chart.width, chart.height) +
         html(chart.title) + "\">";
  out += axes(chart, f) + limit_lines(chart, f);
  // Rings last, since they may lie on marks; else the first series on top: naive's single mark is not lost
  // under subheads' at E = 1.
  for (const bool hollow : {false, true}) {
    for (std::size_t i = chart.series.size(); i-- > 0;) {
      const ChartSeries& s = chart.series[i];
      if (s.hollow == hollow) out += curve(s, s.line ? 0 : beside(i, chart.series.size()), f);
    }
  }
  return out + refusals(chart, f) + "</svg></figure>\n";
}

}  // namespace statescope
