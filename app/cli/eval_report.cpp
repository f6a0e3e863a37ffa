#include "app/cli/eval_report.h"

#include <algorithm>
#include <cmath>

#include "app/cli/text_table.h"
#include "models/tasks.h"
#include "profiler/chart.h"
#include "profiler/report_style.h"

namespace statescope::cli {
namespace {

Chart accuracy_chart(const EvalResult& result) {
  Chart chart;
  chart.id = "accuracy";
  chart.title = "Accuracy against context length";
  chart.note = "Share of " + std::to_string(result.samples) + " samples a length that are answered right.";
  chart.x_label = "context, " + result.unit;
  chart.y_label = "accuracy";
  chart.y_max = 1;
  ChartSeries measured{result.task};
  for (std::size_t i = 0; i < result.lengths.size(); ++i) {
    chart.x_ticks.push_back(static_cast<double>(result.lengths[i]));
    measured.marks.push_back(
        {chart.x_ticks.back(), result.accuracy[i],
         std::to_string(result.lengths[i]) + " " + result.unit + ": " + percent(result.accuracy[i])});
  }
  chart.series.push_back(measured);
  for (double threshold : kThresholds) chart.limits.push_back({threshold, fixed(threshold, 1), ""});
  return chart;
}

/// A fit over state sizes, where it is above zero.
ChartSeries fit_series(const std::string& name, int style, const std::vector<double>& millions,
                       double (*length)(double)) {
  ChartSeries series{name, style};
  series.dashed = series.hollow = true;
  for (double n : millions) {
    const double tokens = 1000 * length(n);
    if (tokens > 0)
      series.marks.push_back(
          {n, tokens, name + " at " + fixed(n, 2) + " M: " + short_number(tokens) + " tokens"});
  }
  return series;
}

Chart capacity_chart(const EvalResult& result) {
  Chart chart;
  chart.id = "capacity";
  chart.title = "Capacity against state size";
  chart.note =
      "Rings: fits of trained Mamba-2 models (Chen et al.), six points each. Marks: the longest length of "
      "this run "
      "above each accuracy; a cross where there is none.";
  chart.x_label = "state elements over the model, millions";
  chart.y_label = "context, tokens";
  chart.y_scale = Scale::kLog;
  chart.x_ticks = {1, 2, 4, 8, 16};
  std::vector<double> sizes = chart.x_ticks;
  sizes.push_back(result.state_millions);
  std::ranges::sort(sizes);
  if (result.state_millions < 1 || result.state_millions > 16) {
    chart.x_ticks.push_back(result.state_millions);
    std::ranges::sort(chart.x_ticks);
  }
  chart.series.push_back(fit_series("forgets past (fit)", 0, sizes, forget_length));
  chart.series.push_back(fit_series("recalls a passkey to (fit)", 1, sizes, recall_length));
  int style = 2;
  for (double threshold : kThresholds) {
    ChartSeries series{"accuracy of " + fixed(threshold, 1) + " to", style++, false};
    const auto longest = static_cast<double>(longest_above(result.lengths, result.accuracy, threshold));
    ChartMark mark{result.state_millions, longest, short_number(longest) + " " + result.unit};
    if (longest > 0) {
      series.marks.push_back(mark);
    } else {
      mark.text = "none of the lengths reaches " + fixed(threshold, 1);
      series.refused.push_back(mark);
    }
    chart.series.push_back(series);
  }
  return chart;
}

}  // namespace

std::string eval_html(const EvalResult& result) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Statescope: " +
         html(result.task) + "</title><style>" + kReportStyle + "</style></head><body><header><h1>" +
         html(result.task) + "</h1><p>" + html(result.model) + " on " + html(result.device) + ", " +
         fixed(result.state_millions, 2) + " million state elements.</p></header><div class=\"grid2\">" +
         draw(accuracy_chart(result)) + draw(capacity_chart(result)) + "</div></body></html>\n";
}

}  // namespace statescope::cli
