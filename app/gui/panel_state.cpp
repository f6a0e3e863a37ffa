// What the expansion buys and costs on paper: state, the context it equals, parameters (sections 3.1
// and 4.1).
#include <algorithm>
#include <cstdio>
#include <map>
#include <tuple>

#include <statescope/cost.h>

#include "app/gui/panels.h"
#include "app/gui/quantity.h"
#include "models/accounting.h"
#include "models/presets.h"
#include "profiler/published.h"

namespace statescope::gui {
namespace {

/// The paper's 400M model of a rule.
const char* model_of(Rule rule) {
  switch (rule) {
    case Rule::kLinear:
      return "linear-400m";
    case Rule::kSsd:
      return "retnet-400m";
    case Rule::kGla:
      return "gla-400m";
    case Rule::kGatedDelta:
      break;
  }
  return "gdn-400m";
}

/// A whole model of the paper's size with its queries and keys expanded.
struct Cost {
  double parameters = 0, query_key_ratio = 1;
};

/// Counted on the configuration, tensor by tensor; kept, since a frame asks for the same ones again.
Cost cost_of(Rule rule, ExpansionMethod method, std::int64_t expansion) {
  static std::map<std::tuple<Rule, ExpansionMethod, std::int64_t>, Cost> known;
  const auto [entry, fresh] = known.try_emplace({rule, method, expansion});
  if (fresh) {
    const Accounting counted = account(parse_config(preset_config(model_of(rule), {expansion, method})));
    entry->second = {static_cast<double>(counted.parameters), counted.query_key_ratio};
  }
  return entry->second;
}

std::string model_size(double parameters) {
  char text[16];
  if (parameters < 1e9) {
    std::snprintf(text, sizeof text, "%.0fM", parameters / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2fB", parameters / 1e9);
  }
  return text;
}

/// Table 4 has two rules; the others stand nearer to gla.
Rule recall_rule(Rule rule) {
  return rule == Rule::kGatedDelta ? rule : Rule::kGla;
}

/// What the state is for, as the paper reports it: table 4 has gated_delta and gla.
void draw_recall(const Theme& theme, const Settings& settings, ImVec2 size) {
  if (!plot::begin("published-recall", size, false)) return;
  plot::setup_axis(plot::Axis::kX, "E", "", plot::Scale::kLog2, plot::Range{0.85, 37});
  plot::setup_axis(plot::Axis::kY, "published recall", "%", plot::Scale::kLinear, plot::Range{20, 42});
  std::vector<plot::Tick> ticks;
  for (int e = 1; e <= kMostExpansion; e *= 2)
    ticks.push_back({static_cast<double>(e), std::to_string(e), true});
  plot::setup_ticks(plot::Axis::kX, std::move(ticks));
  std::vector<double> xs, ys;
  const Rule rule = recall_rule(settings.rule);
  for (const PublishedRecall& row : published_table_4()) {
    if (row.rule != rule) continue;
    xs.push_back(row.expansion);
    ys.push_back(row.average);
  }
  plot::limit_line("", plot::Axis::kX, static_cast<double>(settings.expansion), theme.palette.dim);
  plot::line(model_of(rule), xs, ys,
             {.color = theme.palette.text, .width = 1.5f, .marker = plot::Marker::kCircle, .hollow = true});
  plot::end();
}

/// The same as figures, where there is no room for a chart.
void list_recall(const Theme& theme, const Settings& settings, float width) {
  const Rule rule = recall_rule(settings.rule);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(4), theme.px(2)});
  text(theme.fonts.small, theme.palette.dim, "published recall, %", width);
  help_on_hover(theme, "published-recall");
  for (const bool values : {false, true}) {
    float x = 0;
    for (const PublishedRecall& row : published_table_4()) {
      if (row.rule != rule) continue;
      if (x > 0) same_line_at(x);
      char line[16];
      std::snprintf(line, sizeof line, values ? "%.1f" : "E %.0f", values ? row.average : row.expansion);
      const bool now = row.expansion == settings.expansion;
      text(theme.fonts.small,
           now      ? theme.palette.accent
           : values ? theme.palette.text
                    : theme.palette.dim,
           line);
      x += width / 4;
    }
  }
  ImGui::PopStyleVar();
}

void figure(const Theme& theme, const char* title, const char* help_key, const std::string& value,
            const std::string& unit) {
  text(theme.fonts.small, theme.palette.dim, title);
  help_on_hover(theme, help_key);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(1)});
  text(theme.fonts.large, theme.palette.text, value);
  ImGui::SameLine();
  ImGui::SetCursorPosY(ImGui::GetCursorPosY() + theme.px(13));
  text(theme.fonts.small, theme.palette.dim, unit, ImGui::GetContentRegionAvail().x);
  ImGui::PopStyleVar();
}

void parameter_bar(const Theme& theme, const char* name, const Cost& cost, double most, ImU32 packed) {
  const float width = ImGui::GetContentRegionAvail().x, name_width = theme.px(68), value_width = theme.px(42);
  text(theme.fonts.small, theme.palette.text, name);
  same_line_at(name_width);
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  const float full = width - name_width - value_width;
  const float length = std::max(full * static_cast<float>(cost.parameters / most), theme.px(2));
  ImGui::GetWindowDrawList()->AddRectFilled(
      {corner.x, corner.y + theme.px(3)}, {corner.x + length, corner.y + theme.px(12)}, packed, theme.px(2));
  ImGui::Dummy({full, theme.px(14)});
  same_line_at(name_width + full + theme.px(8));
  text(theme.fonts.small, theme.palette.text, model_size(cost.parameters));
  if (ImGui::IsItemHovered()) {
    ImGui::SetTooltip("W_q and W_k with their expansion: %.2f times those of E = 1", cost.query_key_ratio);
  }
}

}  // namespace

void state_panel(const View& view, Rect rect) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  Problem problem = view.base;
  problem.expansion = view.settings.expansion;
  const ImVec2 size =
      begin_panel(theme, "state-panel", rect, "State of a layer", "", "state", view.highlight == "state");
  const auto elements = static_cast<std::int64_t>(state_elements(problem));
  figure(theme, "E H K V", "state", plot::format_value(static_cast<double>(elements)),
         "elements, " + memory_size(static_cast<double>(elements) * 4));
  ImGui::Dummy({0, theme.px(4)});
  const double context = transformer_equivalent_context(static_cast<double>(problem.expansion),
                                                        static_cast<double>(problem.key_dim),
                                                        static_cast<double>(problem.value_dim));
  figure(theme, "equals a Transformer's cache at", "context", grouped(static_cast<std::int64_t>(context)),
         "tokens");
  ImGui::Dummy({0, theme.px(4)});
  text(theme.fonts.small, p.dim, "parameters of a 400M model");
  help_on_hover(theme, "parameters");
  const Cost headwise = cost_of(problem.rule, ExpansionMethod::kHeadwise, problem.expansion);
  const Cost naive = cost_of(problem.rule, ExpansionMethod::kNaive, problem.expansion);
  const double most = std::max(naive.parameters, headwise.parameters);
  parameter_bar(theme, "naive", naive, most, p.naive);
  parameter_bar(theme, "head-wise", headwise, most, p.subheads);
  ImGui::Dummy({0, theme.px(4)});
  const ImVec2 left = ImGui::GetContentRegionAvail();
  if (left.y > theme.px(110)) {
    draw_recall(theme, view.settings, {size.x, left.y});
    help_on_hover(theme, "published-recall");
  } else {
    list_recall(theme, view.settings, size.x);
  }
  end_panel();
}

}  // namespace statescope::gui
