#include "profiler/report.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include <statescope/cost.h>

#include "profiler/build_info.h"
#include "profiler/chart.h"
#include "profiler/published.h"
#include "profiler/report_style.h"

namespace statescope {
namespace {

std::string number(double value, const char* pattern = "%.3g") {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string error_text(double value) {
  return number(value, "%.1e");
}

/// A row of cells; `tag` th or td.
std::string cells(const std::vector<std::string>& texts, const char* tag = "td") {
  std::string out = "<tr>";
  for (const std::string& text : texts) out += std::string("<") + tag + ">" + html(text) + "</" + tag + ">";
  return out + "</tr>\n";
}

std::vector<double> expansions_of(const SweepResult& sweep) {
  std::vector<double> values;
  for (const SweepRow& row : sweep.rows) values.push_back(static_cast<double>(row.expansion));
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.empty()) values.push_back(1);
  return values;
}

std::string series_label(SweepSeries series, const DeviceInfo& info) {
  if (info.api == Api::kCpu) return series == SweepSeries::kNaive ? "naive" : "subheads";
  switch (series) {
    case SweepSeries::kNaive:
      return "naive, state in shared memory";
    case SweepSeries::kSubheads:
      return "subheads, state in shared memory";
    case SweepSeries::kProduction:
      return "subheads, production kernel";
  }
  return "";
}

/// Naive is the warning colour everywhere.
int series_style(SweepSeries series) {
  return static_cast<int>(series);
}

std::string size_text(const Problem& p) {
  return std::string(name(p.rule)) + ", " + std::string(name(p.dtype)) + ", B " + std::to_string(p.batch) +
         ", T " + std::to_string(p.seq_len) + ", H " + std::to_string(p.heads) + ", K " +
         std::to_string(p.key_dim) + ", V " + std::to_string(p.value_dim);
}

std::string measured_text(const SweepRow& row, const DeviceInfo& info) {
  const Measurement& m = *row.measurement;
  return series_label(row.series, info) + ", E " + std::to_string(row.expansion) + "\n" +
         short_number(m.tokens_per_second) + " tokens/s, " + number(m.seconds.median * 1e3) + " ms (p10 " +
         number(m.seconds.p10 * 1e3) + ", p90 " + number(m.seconds.p90 * 1e3) + ", " +
         std::to_string(m.seconds.count) + " runs)\n" + short_number(m.flop_per_second) + "flop/s, " +
         short_number(m.bytes_per_second) + "B/s";
}

/// One chart a device and pass.
std::vector<Chart> throughput_charts(const SweepResult& sweep, const std::vector<double>& expansions) {
  std::map<std::pair<std::size_t, Pass>, Chart> charts;
  for (const SweepRow& row : sweep.rows) {
    const SweepDevice& device = sweep.devices[row.device];
    Chart& chart = charts[{row.device, row.problem.pass}];
    if (chart.id.empty()) {
      chart.id = "throughput-" + std::to_string(row.device) + "-" + std::string(name(row.problem.pass));
      chart.title = device.info.name + ": " + device.info.description;
      chart.note = std::string(name(row.problem.pass)) + ", " + size_text(device.base) +
                   (device.info.api == Api::kCpu ? ". The float64 reference: right, not fast." : ".");
      chart.x_label = "expansion factor E";
      chart.y_label = "throughput (tokens/s)";
      chart.y_scale = Scale::kLog;
      chart.x_ticks = expansions;
    }
    const std::string label = series_label(row.series, device.info);
    auto series = std::find_if(chart.series.begin(), chart.series.end(),
                               [&](const ChartSeries& s) { return s.name == label; });
    if (series == chart.series.end()) {
      chart.series.push_back({label, series_style(row.series)});
      series = std::prev(chart.series.end());
    }
    const auto e = static_cast<double>(row.expansion);
    if (row.status == SweepStatus::kMeasured) {
      series->marks.push_back({e, row.measurement->tokens_per_second, measured_text(row, device.info)});
    } else {
      series->refused.push_back({e, 0,
                                 label + ", E " + std::to_string(row.expansion) + ": " +
                                     std::string(name(row.status)) + "\n" + row.reason});
    }
  }
  std::vector<Chart> all;
  for (auto& [key, chart] : charts) all.push_back(std::move(chart));
  return all;
}

/// Throughput over that at E = 1, with the paper's training rates as a curve of another kind.
Chart relative_chart(const SweepResult& sweep, const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "relative";
  chart.title = "What expansion costs: throughput relative to E = 1";
  chart.note =
      "Ours: one kernel, forward. The paper's table 9: training of whole models, another measure, for its "
      "shape only.";
  chart.x_label = "expansion factor E";
  chart.y_label = "throughput (ratio to E = 1)";
  chart.y_scale = Scale::kLog;
  chart.x_ticks = expansions;
  constexpr int kStyles[] = {2, 3, 6, 1, 5, 4};  // not naive's
  for (std::size_t d = 0; d < sweep.devices.size(); ++d) {
    const DeviceInfo& info = sweep.devices[d].info;
    ChartSeries series{info.name + (info.api == Api::kCpu ? " subheads" : " production"),
                       kStyles[d % std::size(kStyles)],
                       true,
                       true,
                       false,
                       {},
                       {}};
    double base = 0;
    for (const SweepRow& row : sweep.rows) {
      if (row.device != d || row.series != SweepSeries::kProduction || row.status != SweepStatus::kMeasured ||
          row.problem.pass != Pass::kForward) {
        continue;
      }
      if (row.expansion == 1) base = row.measurement->tokens_per_second;
      if (base <= 0) continue;
      const double ratio = row.measurement->tokens_per_second / base;
      series.marks.push_back({static_cast<double>(row.expansion), ratio,
                              series.name + ", E " + std::to_string(row.expansion) + ": " + number(ratio)});
    }
    if (!series.marks.empty()) chart.series.push_back(std::move(series));
  }
  ChartSeries paper{"paper, table 9 (training)", 7};
  paper.dashed = paper.hollow = true;
  for (const PublishedTraining& p : published_table_9()) {
    if (p.expansion < expansions.front() || p.expansion > expansions.back()) continue;
    paper.marks.push_back({static_cast<double>(p.expansion), p.ratio,
                           "published: Gated DeltaNet-E" + std::to_string(p.expansion) + " trains at " +
                               std::to_string(p.tokens_per_second) + " tokens a GPU-second, " +
                               number(p.ratio) + " of E1"});
  }
  chart.series.push_back(std::move(paper));
  return chart;
}

/// Devices of the database that share a limit.
std::vector<ChartLimit> limit_lines(const std::vector<DeviceLimitsRow>& rows) {
  std::map<std::size_t, std::vector<std::string>> by_limit;
  for (const DeviceLimitsRow& row : rows)
    by_limit[row.device.limits.shared_memory_per_workgroup].push_back(row.device.label());
  std::vector<ChartLimit> lines;
  for (const auto& [bytes, devices] : by_limit) {
    std::string all;
    for (std::size_t i = 0; i < devices.size(); ++i) all += (i ? ", " : "") + devices[i];
    std::string few = devices.front();
    if (devices.size() > 1) few += " and " + std::to_string(devices.size() - 1) + " more";
    const std::string size = short_number(static_cast<double>(bytes), "B");
    lines.push_back(
        {static_cast<double>(bytes), size + ": " + few, size + " of shared memory a workgroup: " + all});
  }
  return lines;
}

Chart memory_chart(const ReportInputs& in, const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "shared-memory";
  chart.title = "State and shared memory of a workgroup against the devices' limits";
  chart.note = "Predicted from the kernel table: comparison kernels, " +
               std::string(name(in.limits_shape.rule)) + " " + std::string(name(in.limits_shape.dtype)) +
               ", K = " + std::to_string(in.limits_shape.key_dim) +
               ", V = " + std::to_string(in.limits_shape.value_dim) +
               ", float32 state. A curve above a line does not run there.";
  chart.x_label = "expansion factor E";
  chart.y_label = "shared memory of a workgroup";
  chart.y_unit = "B";
  chart.y_scale = Scale::kLog;
  chart.y_min = 16 * 1024;
  chart.y_max = 3 * 1024 * 1024;
  chart.wide = true;
  chart.width = 1160;
  chart.height = 380;
  chart.limit_labels = 290;
  chart.x_ticks = expansions;
  chart.limits = limit_lines(in.limits);
  struct Curve {
    Division division;
    Api api;
    int style;
  };
  for (const Curve& c :
       {Curve{Division::kNaive, Api::kCuda, 0}, Curve{Division::kSubheads, Api::kCuda, 1},
        Curve{Division::kNaive, Api::kVulkan, 4}, Curve{Division::kSubheads, Api::kVulkan, 5}}) {
    DeviceLimits limits;
    limits.api = c.api;
    ChartSeries series{std::string(name(c.division)) + " (" + std::string(name(c.api)) + ")", c.style};
    series.dashed = c.api == Api::kVulkan;
    for (double e : expansions) {
      const auto geometry =
          comparison_geometry(in.limits_shape, c.division, static_cast<std::int64_t>(e), limits);
      if (!geometry) continue;
      const auto bytes = static_cast<double>(geometry->shared_memory_bytes());
      series.marks.push_back({e, bytes,
                              series.name + ", E " + number(e) + ": state " +
                                  short_number(static_cast<double>(geometry->state_bytes), "B") +
                                  " + tiles " + short_number(static_cast<double>(geometry->tile_bytes), "B") +
                                  " = " + short_number(bytes, "B")});
    }
    if (!series.marks.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart error_chart(const SweepResult& sweep, const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "error";
  chart.title = "Error of every result against the float64 reference";
  chart.note =
      "RMS of the difference over RMS of the reference, the worst output of each result. Above the tolerance "
      "it would not be timed.";
  chart.wide = true;
  chart.width = 1160;
  chart.height = 260;
  chart.x_label = "expansion factor E";
  chart.y_label = "relative RMS error";
  chart.y_scale = Scale::kLog;
  chart.x_ticks = expansions;
  std::map<double, std::string> tolerances;
  double low = 1e-8, high = 1e-4;
  for (std::size_t d = 0; d < sweep.devices.size(); ++d) {
    const DeviceInfo& info = sweep.devices[d].info;
    ChartSeries series{info.name, static_cast<int>(d % 8)};
    series.line = false;
    for (const SweepRow& row : sweep.rows) {
      if (row.device != d || !row.measurement || row.measurement->errors.empty()) continue;
      const OutputError& bad = worst(row.measurement->errors);
      const double error = std::clamp(bad.error, 1e-18, 1e3);
      series.marks.push_back({static_cast<double>(row.expansion), error,
                              info.name + " " + std::string(name(row.problem.pass)) + " " +
                                  series_label(row.series, info) + ", E " + std::to_string(row.expansion) +
                                  "\n" + std::string(name(bad.slot)) + " " + error_text(bad.error) +
                                  (bad.ok() ? " <= " : " > ") + error_text(bad.tolerance)});
      low = std::min(low, error / 3);
      high = std::max({high, error * 3, bad.tolerance * 3});
      tolerances[bad.tolerance] = "tolerance " + error_text(bad.tolerance);
    }
    if (!series.marks.empty()) chart.series.push_back(std::move(series));
  }
  for (const auto& [y, label] : tolerances) chart.limits.push_back({y, label, label});
  chart.y_min = low;
  chart.y_max = high;
  return chart;
}

ChartMark not_measured(const DilutionCurve& curve, const DilutionCurve::Point& point) {
  return {static_cast<double>(point.expansion), 0,
          curve.name + ", E " + std::to_string(point.expansion) + ": not measured\n" + point.reason};
}

Chart interference_chart(const ReportInputs& in, const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "dilution";
  chart.title = "Attention dilution: interference of " + std::to_string(in.dilution_pairs) + " stored pairs";
  chart.note = "Measured on random keys, K = " + std::to_string(in.dilution_key_dim) +
               ". (n-1)/(EK) is the expectation for independent subkeys only: expanding a random key gains "
               "little, which is why the expansion is trained.";
  chart.x_label = "expansion factor E";
  chart.y_label = "interference I (lower is better)";
  chart.y_scale = Scale::kLog;
  chart.x_ticks = expansions;
  int style = 0;
  constexpr int kStyles[] = {1, 2, 0, 6};
  for (const DilutionCurve& curve : in.dilution) {
    ChartSeries measured{curve.name, kStyles[style++ % 4]};
    ChartSeries theory{"theory (n-1)/(EK), independent only", 7};
    theory.dashed = theory.hollow = true;
    for (const auto& p : curve.points) {
      const auto e = static_cast<double>(p.expansion);
      if (!p.reason.empty()) {
        measured.refused.push_back(not_measured(curve, p));
        continue;
      }
      measured.marks.push_back(
          {e, p.interference, curve.name + ", E " + number(e) + ": I = " + number(p.interference)});
      theory.marks.push_back(
          {e, p.theory, "theory, independent subkeys, E " + number(e) + ": " + number(p.theory)});
    }
    chart.series.push_back(std::move(measured));
    if (curve.has_theory) chart.series.push_back(std::move(theory));
  }
  return chart;
}

Chart recall_chart(const ReportInputs& in, const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "recall";
  chart.title = "Recall@1 of " + std::to_string(in.dilution_pairs) + " stored pairs";
  chart.note = "The recurrence itself: n write tokens, then n read tokens; " + in.recall_run + ".";
  chart.x_label = "expansion factor E";
  chart.y_label = "recall@1 (share of pairs)";
  chart.y_min = 0;
  chart.y_max = 1.05;
  chart.x_ticks = expansions;
  int style = 0;
  constexpr int kStyles[] = {1, 2, 0, 6};
  for (const DilutionCurve& curve : in.dilution) {
    ChartSeries series{curve.name, kStyles[style++ % 4]};
    for (const auto& p : curve.points) {
      const auto e = static_cast<double>(p.expansion);
      if (!p.reason.empty()) {
        series.refused.push_back(not_measured(curve, p));
        continue;
      }
      series.marks.push_back(
          {e, p.recall, curve.name + ", E " + number(e) + ": " + number(100 * p.recall) + " %"});
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart context_chart(const std::vector<double>& expansions) {
  Chart chart;
  chart.id = "context";
  chart.title = "State, as the context of a Transformer that holds as much";
  chart.note =
      "E H K V elements a layer against the average of a key-value cache: 2 E K V / (K + V) tokens (paper, "
      "section 3.1).";
  chart.x_label = "expansion factor E";
  chart.y_label = "equivalent context (tokens)";
  chart.y_scale = Scale::kLog;
  chart.x_ticks = expansions;
  int style = 1;
  for (const std::int64_t dim : {64, 128, 256}) {
    ChartSeries series{"K = V = " + std::to_string(dim), style++};
    for (double e : expansions) {
      const auto d = static_cast<double>(dim);
      const double context = transformer_equivalent_context(e, d, d);
      series.marks.push_back({e, context,
                              series.name + ", E " + number(e) + ": " + number(context, "%.0f") +
                                  " tokens; state of a layer with 8 heads " + short_number(8 * e * d * d) +
                                  " elements"});
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string parameter_table(const ReportInputs& in) {
  std::string out =
      "<figure class=\"chart\" id=\"parameters\"><figcaption>State and parameters of each choice</figcaption>"
      "<p class=\"note\">" +
      html(in.parameter_model) +
      ", 8 heads, K = V = 128. Ratios are of W_q and W_k (paper, table 1).</p><table>" +
      cells({"E", "state a layer (elements)", "context (tokens)", "W_q head-wise", "W_q naive", "parameters",
             "overhead"},
            "th");
  for (const ParameterPoint& p : in.parameters) {
    const auto e = static_cast<double>(p.expansion);
    out += cells({std::to_string(p.expansion), short_number(8 * e * 128 * 128),
                  number(transformer_equivalent_context(e, 128, 128), "%.0f"), number(p.headwise_ratio) + "x",
                  number(p.naive_ratio) + "x",
                  number(static_cast<double>(p.model_parameters) / 1e6, "%.1f") + " M",
                  "+" + number(100 * p.model_overhead, "%.1f") + " %"});
  }
  return out + "</table></figure>\n";
}

std::string device_table(const SweepResult& sweep) {
  std::string out = "<table>" + cells({"device", "description", "driver", "shared memory a workgroup", "copy",
                                       "float32", "matrix units"},
                                      "th");
  for (const SweepDevice& d : sweep.devices) {
    const auto rate = [](double value, const char* unit) {
      return value > 0 ? short_number(value) + unit : std::string("-");
    };
    out +=
        cells({d.info.name, d.info.description, d.info.driver,
               d.info.api == Api::kCpu
                   ? "-"
                   : short_number(static_cast<double>(d.info.limits.shared_memory_per_workgroup), "B"),
               rate(d.ceilings.copy_bytes_per_second, "B/s"), rate(d.ceilings.f32_flop_per_second, "flop/s"),
               rate(d.ceilings.matrix_flop_per_second, "flop/s")});
  }
  return out + "</table>\n";
}

std::string row_table(const SweepResult& sweep) {
  std::string out = "<details><summary>All " + std::to_string(sweep.rows.size()) +
                    " results</summary><div class=\"scroll\"><table>" +
                    cells({"device", "pass", "kernels", "E", "status", "kernel", "median", "p10", "p90",
                           "tokens/s", "flop/s", "B/s", "worst error", "tolerance", "reason"},
                          "th");
  for (const SweepRow& row : sweep.rows) {
    const DeviceInfo& info = sweep.devices[row.device].info;
    std::vector<std::string> texts{info.name, std::string(name(row.problem.pass)),
                                   series_label(row.series, info), std::to_string(row.expansion),
                                   std::string(name(row.status))};
    if (const Measurement* m = row.measurement ? &*row.measurement : nullptr) {
      const OutputError& bad = worst(m->errors);
      const auto ms = [&](double s) { return m->verified ? number(s * 1e3) + " ms" : std::string("-"); };
      texts.insert(texts.end(),
                   {m->plan.variant ? std::string(m->plan.variant->name) : "cpu.reference",
                    ms(m->seconds.median), ms(m->seconds.p10), ms(m->seconds.p90),
                    short_number(m->tokens_per_second), short_number(m->flop_per_second),
                    short_number(m->bytes_per_second), error_text(bad.error), error_text(bad.tolerance)});
    } else {
      texts.insert(texts.end(), 9, "-");
    }
    texts.push_back(row.reason);
    out += cells(texts);
  }
  return out + "</table></div></details>\n";
}

}  // namespace

std::string report_html(const ReportInputs& in) {
  const std::vector<double> expansions = expansions_of(in.sweep);
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Statescope sweep</title>"
      "<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light "
      "dark\"><style>" +
      std::string(kReportStyle) + "</style></head><body><header><h1>Statescope sweep</h1><p>statescope " +
      html(std::string(version())) + ", commit " + html(std::string(commit())) + ", " +
      number(in.sweep.wall_seconds) +
      " s in all. Every time is of a kernel whose outputs were first held against the float64 reference. "
      "Point at a "
      "mark for its figures; "
      "a cross on the lower edge is a cell that did not run, with the reason.</p></header>\n";
  out += device_table(in.sweep);
  out += "<h2>Throughput</h2><div class=\"grid2\">";
  for (const Chart& chart : throughput_charts(in.sweep, expansions)) out += draw(chart);
  out += draw(relative_chart(in.sweep, expansions));
  out += "</div>\n<h2>Memory</h2><div class=\"grid2\">" + draw(memory_chart(in, expansions)) +
         draw(context_chart(expansions)) + parameter_table(in) + "</div>\n";
  out += "<h2>Attention dilution</h2><div class=\"grid2\">" + draw(interference_chart(in, expansions)) +
         draw(recall_chart(in, expansions)) + "</div>\n";
  out += "<h2>Error</h2><div class=\"grid2\">" + draw(error_chart(in.sweep, expansions)) + "</div>\n";
  return out + row_table(in.sweep) + "</body></html>\n";
}

}  // namespace statescope
