// The charts of the State view.
#include <algorithm>
#include <cmath>

#include "app/gui/state_view.h"

namespace statescope::gui {
namespace {

using All = std::vector<std::shared_ptr<const Recording>>;

/// A head's colour: from the one that forgets first to the one that forgets last, as the heads are numbered.
ImU32 head_color(const Theme& theme, std::size_t head, std::size_t heads) {
  const double unit = heads > 1 ? static_cast<double>(head) / static_cast<double>(heads - 1) : 0;
  return plot::blend(theme.palette.heads, unit);
}

struct Look {
  const char* title;
  const char* help_key;
  plot::Marker marker;
};
Look look_of(const std::string& mitigation) {
  if (mitigation == "forget-more") return {"forget more", "forget-more", plot::Marker::kSquare};
  if (mitigation == "window") return {"window", "window", plot::Marker::kTriangle};
  if (mitigation == "normalise") return {"normalise", "normalise", plot::Marker::kDiamond};
  return {"no mitigation", "mitigation", plot::Marker::kCircle};
}
ImU32 color_of(const Theme& theme, const std::string& mitigation) {
  const Palette& p = theme.palette;
  if (mitigation == "forget-more") return p.linear_expansion;
  if (mitigation == "window") return p.accent;
  if (mitigation == "normalise") return p.production;
  return p.bad;
}

double value_of(const HeadStatistics& s, int quantity) {
  switch (static_cast<StateQuantity>(quantity)) {
    case StateQuantity::kNorm:
      return s.rms;
    case StateQuantity::kMean:
      return s.mean;
    case StateQuantity::kVariance:
      break;
  }
  return s.variance;
}

const char* axis_name(int quantity) {
  switch (static_cast<StateQuantity>(quantity)) {
    case StateQuantity::kNorm:
      return "state norm / √(E K V)";
    case StateQuantity::kMean:
      return "mean of the state";
    case StateQuantity::kVariance:
      break;
  }
  return "variance of the state";
}

struct Curve {
  std::vector<double> tokens, values;
};

std::vector<Curve> curves_of(const Recording& recording, std::size_t layer, int quantity) {
  std::vector<Curve> curves;
  for (const StateRecord& record : recording.records) {
    if (layer >= record.layers.size()) continue;
    curves.resize(record.layers[layer].size());
    for (std::size_t head = 0; head < curves.size(); ++head) {
      curves[head].tokens.push_back(static_cast<double>(record.tokens));
      curves[head].values.push_back(value_of(record.layers[layer][head], quantity));
    }
  }
  return curves;
}

bool collapsed(const Recording& recording, std::size_t layer, std::size_t head) {
  if (!recording.collapse) return false;
  return std::any_of(
      recording.collapse->heads.begin(), recording.collapse->heads.end(), [&](const Collapse::Head& h) {
        return h.layer == static_cast<std::int64_t>(layer) && h.head == static_cast<std::int64_t>(head);
      });
}

/// The training length as a line.
void trained_line(const Theme& theme, std::int64_t trained) {
  plot::limit_line("trained", plot::Axis::kX, static_cast<double>(trained), theme.palette.dim);
}

double last_token(const All& all) {
  double last = 1;
  for (const auto& recording : all) {
    if (!recording->records.empty())
      last = std::max(last, static_cast<double>(recording->records.back().tokens));
  }
  return last;
}

void nothing_yet(const Theme& theme, const View& view, const char* what) {
  const Worker::State state = view.session.worker().state();
  wrapped_text(theme.fonts.body, theme.palette.dim,
               state.job == "states" ? "recording: " + state.step : std::string(what));
}

void draw_heads(const View& view, const Recording& recording, std::size_t place, plot::Range values,
                double last, ImVec2 size) {
  const Theme& theme = view.theme;
  const auto layer = static_cast<std::size_t>(view.settings.state_shown_layer);
  const auto curves = curves_of(recording, layer, view.settings.state_quantity);
  const bool log = view.settings.state_quantity != static_cast<int>(StateQuantity::kMean);
  if (!plot::begin(("heads-" + std::to_string(place)).c_str(), size, false)) return;
  plot::setup_axis(plot::Axis::kX, "tokens", "", plot::Scale::kLinear, plot::Range{0, last * 1.02});
  plot::setup_axis(plot::Axis::kY, axis_name(view.settings.state_quantity), "",
                   log ? plot::Scale::kLog10 : plot::Scale::kLinear, values);
  for (std::size_t head = 0; head < curves.size(); ++head) {
    const bool bad = collapsed(recording, layer, head);
    const std::string label = "head " + std::to_string(head) + (bad ? " (collapsed)" : "");
    plot::line(label.c_str(), curves[head].tokens, curves[head].values,
               {.color = head_color(theme, head, curves.size()),
                .width = bad ? 3.0f : 1.5f,
                .marker = bad ? plot::Marker::kCircle : plot::Marker::kNone,
                .marker_size = 2.5f});
  }
  trained_line(theme, recording.trained);
  plot::end();
}

/// One range for all charts, so that they compare.
plot::Range common_range(const View& view, const All& all) {
  std::vector<double> values;
  for (const auto& recording : all) {
    for (const Curve& curve : curves_of(*recording, static_cast<std::size_t>(view.settings.state_shown_layer),
                                        view.settings.state_quantity)) {
      values.insert(values.end(), curve.values.begin(), curve.values.end());
    }
  }
  const bool log = view.settings.state_quantity != static_cast<int>(StateQuantity::kMean);
  return plot::fit(log ? plot::Scale::kLog10 : plot::Scale::kLinear, values, 0.06);
}

}  // namespace

void heads_panel(const View& view, const All& all, Rect rect) {
  const Theme& theme = view.theme;
  const std::string layer = "layer " + std::to_string(view.settings.state_shown_layer);
  const ImVec2 size = begin_panel(theme, "heads-panel", rect, "State of each head",
                                  all.empty() ? "" : layer + "; thick: collapsed", "state-quantity");
  std::size_t heads = 0;
  for (const auto& recording : all) {
    if (recording->records.empty()) continue;
    const auto& layers = recording->records.front().layers;
    const auto shown = static_cast<std::size_t>(view.settings.state_shown_layer);
    if (shown < layers.size()) heads = std::max(heads, layers[shown].size());
  }
  if (heads == 0) {
    nothing_yet(theme, view,
                "Nothing is recorded. Press Record, or open what statescope collapse --json wrote.");
    end_panel();
    return;
  }
  // The scale of the heads' colours stands once.
  const float font_size = std::round(kSmallSize * theme.scale), width = theme.px(90);
  const std::string first = "head 0", final = "head " + std::to_string(heads - 1);
  const float first_width = theme.fonts.small->CalcTextSizeA(font_size, FLT_MAX, 0, first.c_str()).x;
  const float final_width = theme.fonts.small->CalcTextSizeA(font_size, FLT_MAX, 0, final.c_str()).x;
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float right = ImGui::GetWindowPos().x + ImGui::GetWindowSize().x - theme.px(11);
  const float y = ImGui::GetWindowPos().y + theme.px(10);
  const float bar = right - final_width - theme.px(6) - width;
  list.AddText(theme.fonts.small, font_size, {std::round(right - final_width), y}, theme.palette.dim,
               final.c_str());
  list.AddText(theme.fonts.small, font_size, {std::round(bar - theme.px(6) - first_width), y},
               theme.palette.dim, first.c_str());
  const float each = width / static_cast<float>(heads);
  for (std::size_t head = 0; head < heads; ++head) {
    const float x = bar + each * static_cast<float>(head);
    list.AddRectFilled({x, y + theme.px(3)}, {x + each, y + theme.px(11)}, head_color(theme, head, heads));
  }
  const plot::Range range = common_range(view, all);
  const double last = last_token(all);
  const float gap = theme.px(14);
  const auto count = static_cast<float>(std::max<std::size_t>(all.size(), 1));
  const float column = std::floor((size.x - gap * (count - 1)) / count);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Recording& recording = *all[i];
    if (i > 0) ImGui::SameLine(0, gap);
    ImGui::BeginGroup();
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(4)});
    const Look look = look_of(recording.mitigation);
    legend_entry(theme, color_of(theme, recording.mitigation), look.marker, false, look.title);
    help_on_hover(theme, look.help_key);
    if (!recording.parameters.empty()) {
      ImGui::SameLine(0, theme.px(8));
      text(theme.fonts.small, theme.palette.dim, recording.parameters);
    }
    const ImVec2 chart(column, size.y - theme.px(20));
    if (recording.records.empty()) {
      ImGui::BeginChild(("empty" + std::to_string(i)).c_str(), chart, false);
      wrapped_text(theme.fonts.small, theme.palette.dim,
                   !recording.error.empty() ? recording.error : std::string("recording …"));
      ImGui::EndChild();
    } else {
      draw_heads(view, recording, i, range, last, chart);
    }
    ImGui::PopStyleVar();
    ImGui::EndGroup();
  }
  end_panel();
}

void loss_panel(const View& view, const All& all, Rect rect) {
  const Theme& theme = view.theme;
  const ImVec2 size = begin_panel(theme, "loss-panel", rect, "Loss", "of the next token", "loss");
  std::vector<Curve> curves;
  for (const auto& recording : all) {
    Curve curve;
    for (const StateRecord& record : recording->records) {
      curve.tokens.push_back(static_cast<double>(record.tokens));
      curve.values.push_back(record.loss);
    }
    curves.push_back(std::move(curve));
  }
  const bool any =
      std::any_of(curves.begin(), curves.end(), [](const Curve& c) { return !c.tokens.empty(); });
  if (any && plot::begin("loss", size, false)) {
    plot::setup_axis(plot::Axis::kX, "tokens", "", plot::Scale::kLinear,
                     plot::Range{0, last_token(all) * 1.02});
    plot::setup_axis(plot::Axis::kY, "loss", "nats a token");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Look look = look_of(all[i]->mitigation);
      plot::line(look.title, curves[i].tokens, curves[i].values,
                 {.color = color_of(theme, all[i]->mitigation),
                  .width = 1.5f,
                  .marker = look.marker,
                  .marker_size = 2.5f});
    }
    trained_line(theme, all.front()->trained);
    plot::end();
  }
  end_panel();
}

void decay_panel(const View& view, const Recording* recording, Rect rect) {
  const Theme& theme = view.theme;
  const ImVec2 size =
      begin_panel(theme, "decay-panel", rect, "Memory of each head", "by its own decay", "half-life");
  const auto layer = static_cast<std::size_t>(view.settings.state_shown_layer);
  const StateRecord* last = nullptr;
  if (recording) {
    for (const StateRecord& record : recording->records) {
      if (layer < record.layers.size()) last = &record;
    }
  }
  if (!last || !plot::begin("decay", size, false)) {
    end_panel();
    return;
  }
  const auto& heads = last->layers[layer];
  constexpr double kRemembers = 0.997;  // of the papers: cumulated over the training length
  const auto trained = static_cast<double>(recording->trained);
  std::vector<double> lives;
  double longest = trained, shortest = 1;
  for (const HeadStatistics& head : heads) {
    const double a_token = -head.log_decay / static_cast<double>(last->tokens);
    lives.push_back(a_token > 0 ? std::log(2.0) / a_token : INFINITY);
    if (!std::isfinite(lives.back())) continue;
    longest = std::max(longest, lives.back());
    shortest = std::min(shortest, lives.back());
  }
  const double top = longest * 6;
  plot::setup_axis(plot::Axis::kX, "head", "", plot::Scale::kLinear,
                   plot::Range{-0.6, static_cast<double>(heads.size()) - 0.4});
  plot::setup_axis(plot::Axis::kY, "half-life", "tokens", plot::Scale::kLog10,
                   plot::Range{shortest / 2, top});
  std::vector<plot::Tick> ticks;
  const std::size_t every = std::max<std::size_t>(1, heads.size() / 16);
  for (std::size_t i = 0; i < heads.size(); i += every)
    ticks.push_back({static_cast<double>(i), std::to_string(i), false});
  plot::setup_ticks(plot::Axis::kX, std::move(ticks));
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const bool never = lives[i] == INFINITY || std::exp2(-trained / lives[i]) > kRemembers;
    const bool finite = std::isfinite(lives[i]);
    std::string value;
    if (heads.size() <= 8) value = never ? "never" : plot::format_value(lives[i]);
    plot::bar(
        ("head " + std::to_string(i)).c_str(), static_cast<double>(i), finite ? lives[i] : top,
        {.color = head_color(theme, i, heads.size()),
         .width = 0.72,
         .hatched = never,
         .value_label = value,
         .note = never ? "never forgets: over 99.7 % left after the training length"
                       : percentage(std::exp2(-trained / lives[i])) + " left after the training length"});
  }
  plot::limit_line("trained", plot::Axis::kY, trained, theme.palette.limit);
  plot::end();
  end_panel();
}

void verdict_panel(const View& view, const All& all, Rect rect) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  const ImVec2 size =
      begin_panel(theme, "verdict-panel", rect, "Collapse", "by the papers' criteria", "collapse");
  const float left = theme.px(112), width = size.x - left;
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(3)});
  for (const auto& recording : all) {
    const Look look = look_of(recording->mitigation);
    legend_entry(theme, color_of(theme, recording->mitigation), look.marker, false, look.title);
    help_on_hover(theme, look.help_key);
    same_line_at(left);
    if (!recording->error.empty()) {
      text(theme.fonts.small, p.dim, "does not apply", width);
      if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", recording->error.c_str());
      continue;
    }
    if (!recording->collapse) {
      text(theme.fonts.small, p.dim, recording->done ? "no records past the training length" : "recording …",
           width);
      continue;
    }
    const Collapse& found = *recording->collapse;
    std::size_t heads = 0;
    for (const auto& layer : recording->records.front().layers) heads += layer.size();
    double most = 0;
    for (const Collapse::Head& head : found.heads) most = std::max(most, head.variance_ratio);
    const std::string line = found.heads.empty()
                                 ? "no head of " + std::to_string(heads)
                                 : std::to_string(found.heads.size()) + " of " + std::to_string(heads) +
                                       " heads, variance up to " + times(most);
    text(theme.fonts.small, found.heads.empty() ? p.good : p.bad, line, width);
    help_on_hover(theme, "collapse");
    ImGui::Dummy({0, 0});
    same_line_at(left);
    text(theme.fonts.small, found.loss ? p.bad : p.dim,
         found.loss ? "loss over twice that within training" : "loss within twice that of training", width);
  }
  if (!all.empty() && all.front()->collapse && !all.front()->collapse->heads.empty()) {
    ImGui::Dummy({0, theme.px(4)});
    text(theme.fonts.bold, p.text, "Collapsed heads");
    help_on_hover(theme, "collapse");
    ImGui::SameLine(0, theme.px(8));
    text(theme.fonts.small, p.dim, std::string(look_of(all.front()->mitigation).title));
    std::vector<Collapse::Head> heads = all.front()->collapse->heads;
    std::stable_sort(heads.begin(), heads.end(), [](const Collapse::Head& a, const Collapse::Head& b) {
      return a.variance_ratio > b.variance_ratio;
    });
    for (const Collapse::Head& head : heads) {
      if (ImGui::GetContentRegionAvail().y < theme.px(16)) break;
      text(theme.fonts.small, p.text,
           "layer " + std::to_string(head.layer) + "  head " + std::to_string(head.head));
      same_line_at(left);
      text(theme.fonts.small, p.text,
           "variance " + times(head.variance_ratio) + (head.never_forgets ? ", never forgets" : ""), width);
    }
  }
  ImGui::PopStyleVar();
  end_panel();
}

}  // namespace statescope::gui
