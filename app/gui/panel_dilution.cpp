// Attention dilution (eq 7): how alike the keys are, and what that costs a read-out. Theory stands beside
// measurement, and three sources of keys stand apart, since the theory is of the first of them only.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "app/gui/panels.h"

namespace statescope::gui {
namespace {

constexpr std::int64_t kPairCounts[] = {8, 16, 32, 64, 128, 256};

/// P(u <= x) of u, the product of two independent unit vectors of `values` elements: its density is
/// (1 - u^2)^((V - 3) / 2).
class UnitProduct {
 public:
  explicit UnitProduct(double values) {
    double sum = 0;
    for (std::size_t i = 0; i < kCells; ++i) {
      const double u = -1 + 2 * (static_cast<double>(i) + 0.5) / kCells;
      below_[i] = sum += std::pow(1 - u * u, (values - 3) / 2);
    }
    for (double& x : below_) x /= sum;
  }
  double below(double x) const {
    const double cell = (std::clamp(x, -1.0, 1.0) + 1) / 2 * (kCells - 1);
    return below_[static_cast<std::size_t>(cell)];
  }

 private:
  static constexpr std::size_t kCells = 4000;
  std::array<double, kCells> below_;
};

/// Recall of n pairs with independent unit keys and unit values under a rule that only adds. What leaks into
/// a read-out is taken as a normal vector of mean square I = (n - 1) / (E K), eq 7's interference, so its own
/// square has variance 2 I^2 / V and its part along the right value L / V. With the right value's score T, a
/// wrong one's is the read-out's length, sqrt(1 + L + 2 (T - 1)), times the product of two unit vectors; its
/// own share in the leak adds 1 / (E K) to the variance. The right one is above all n - 1 wrong ones.
double additive_recall(double n, double width, double values, const UnitProduct& product) {
  const double mean = (n - 1) / width;
  constexpr int kLeaks = 24, kScores = 96;
  double sum = 0, weight = 0;
  for (int a = 0; a <= kLeaks; ++a) {
    const double y = -4 + 8.0 * a / kLeaks;
    const double leak = mean * std::max(1 + y * std::sqrt(2 / values), 0.01);
    for (int b = 0; b <= kScores; ++b) {
      const double z = -5 + 10.0 * b / kScores, density = std::exp(-(y * y + z * z) / 2);
      const double beyond = z * std::sqrt(leak / values);
      const double length = std::sqrt(std::max(1 + leak + 2 * beyond, 0.0) + values / width);
      sum += density * std::pow(product.below((1 + beyond) / length), n - 1);
      weight += density;
    }
  }
  return sum / weight;
}

/// Of every number of pairs that the chart has; kept, since a frame asks for the same ones again.
const std::vector<double>& recall_theory(double width, double values) {
  static std::map<std::pair<double, double>, std::vector<double>> known;
  const auto [entry, fresh] = known.try_emplace({width, values});
  if (fresh) {
    const UnitProduct product(values);
    for (const std::int64_t n : kPairCounts)
      entry->second.push_back(additive_recall(static_cast<double>(n), width, values, product));
  }
  return entry->second;
}

/// Sources of the curves: the random ones, and the captured file when one is named.
std::vector<std::optional<KeySource>> sources(const View& view) {
  std::vector<std::optional<KeySource>> all(std::begin(kKeySources), std::end(kKeySources));
  if (!view.settings.keys_file.empty()) all.push_back(std::nullopt);
  return all;
}

KeyRequest request_of(const View& view, std::optional<KeySource> source, std::int64_t pairs) {
  KeyRequest request{source, pairs, view.settings.expansion, view.base.key_dim, {}};
  if (!source) {  // a file brings its own E and K
    request.file = key_file(view.settings);
    request.expansion = request.key_dim = 0;
  }
  return request;
}

RecallRequest recall_of(const View& view, const KeyRequest& keys) {
  return {keys, view.first ? view.first->name : "", view.settings.rule, view.base.value_dim};
}

struct Curve {
  SeriesLook look;
  std::vector<double> pairs, interference, recall_pairs, recall;
  std::string recall_error;
};

std::vector<Curve> gather_curves(const View& view) {
  std::vector<Curve> curves;
  for (const auto& source : sources(view)) {
    Curve curve{look_of(view.theme, source), {}, {}, {}, {}, {}};
    for (const std::int64_t n : kPairCounts) {
      const KeyRequest request = request_of(view, source, n);
      if (const auto point = view.session.interference_of(request)) {
        // A file with fewer tokens ends there.
        if (point->pairs < n) continue;
        curve.pairs.push_back(static_cast<double>(n));
        curve.interference.push_back(point->interference);
      }
      if (const auto recall = view.session.recall(recall_of(view, request))) {
        if (!recall->error.empty()) {
          curve.recall_error = recall->error;
        } else {
          curve.recall_pairs.push_back(static_cast<double>(n));
          curve.recall.push_back(recall->value);
        }
      }
    }
    curves.push_back(std::move(curve));
  }
  return curves;
}

void ask(const View& view, const std::optional<KeyRequest>& shown) {
  std::vector<KeyRequest> points;
  std::vector<RecallRequest> recalls;
  for (const std::int64_t n : kPairCounts) {
    for (const auto& source : sources(view)) {
      const KeyRequest request = request_of(view, source, n);
      points.push_back(request);
      if (view.first) recalls.push_back(recall_of(view, request));
    }
  }
  view.session.want_dilution(shown, points, recalls);
}

void draw_gram(const View& view, const GramResult* result, ImVec2 size) {
  if (!result) {
    ImGui::Dummy(size);
    return;
  }
  if (!plot::begin("gram", size)) return;
  const auto n = static_cast<double>(result->keys.pairs);
  plot::setup_axis(plot::Axis::kX, "key i", "", plot::Scale::kLinear, plot::Range{0, n});
  plot::setup_axis(plot::Axis::kY, "key j", "", plot::Scale::kLinear, plot::Range{n, 0});
  const auto count = static_cast<std::size_t>(result->keys.pairs);
  plot::heatmap("cosine of keys", result->gram, count, count, {-0.5, 0.5}, view.theme.palette.diverging);
  plot::end();
}

void draw_histogram(const View& view, const GramResult* result, ImU32 packed, ImVec2 size) {
  if (!result) {
    ImGui::Dummy(size);
    return;
  }
  if (!plot::begin("cosines", size, false)) return;
  plot::setup_axis(plot::Axis::kX, "cosine of two keys", "", plot::Scale::kLinear, plot::Range{-1, 1});
  plot::setup_axis(plot::Axis::kY, "pairs of keys", "");
  plot::histogram("pairs of keys", {-1, 1}, result->histogram, packed);
  plot::limit_line("", plot::Axis::kX, 0, view.theme.palette.dim);
  plot::end();
}

std::vector<plot::Tick> pair_ticks() {
  std::vector<plot::Tick> ticks;
  for (const std::int64_t n : kPairCounts) ticks.push_back({static_cast<double>(n), std::to_string(n), true});
  return ticks;
}

void draw_interference(const View& view, const std::vector<Curve>& curves, ImVec2 size) {
  if (!plot::begin("interference", size, false)) return;
  plot::setup_axis(plot::Axis::kX, "stored pairs n", "", plot::Scale::kLog2, plot::Range{7, 290});
  plot::setup_ticks(plot::Axis::kX, pair_ticks());
  plot::setup_axis(plot::Axis::kY, "interference I", "", plot::Scale::kLog10);
  std::vector<double> ns, theory;
  for (double n = 8; n <= 256; n *= 2) {
    ns.push_back(n);
    theory.push_back(
        independent_expectation(static_cast<std::int64_t>(n), view.settings.expansion, view.base.key_dim));
  }
  for (const Curve& curve : curves) {
    plot::line(curve.look.name, curve.pairs, curve.interference,
               {.color = curve.look.color, .marker = curve.look.marker});
  }
  plot::line("theory (independent only)", ns, theory,
             {.color = view.theme.palette.theory, .width = 1.5f, .dashed = true});
  plot::end();
}

void draw_recall(const View& view, const std::vector<Curve>& curves, ImVec2 size) {
  if (!plot::begin("recall", size, false)) return;
  plot::setup_axis(plot::Axis::kX, "stored pairs n", "", plot::Scale::kLog2, plot::Range{7, 290});
  plot::setup_ticks(plot::Axis::kX, pair_ticks());
  plot::setup_axis(plot::Axis::kY, "recall@1", "share", plot::Scale::kLinear, plot::Range{0, 1.05});
  const std::vector<double> ns(std::begin(kPairCounts), std::end(kPairCounts));
  std::vector<double> theory;
  // The delta rule replaces what it reads: there is no such estimate of it.
  if (view.settings.rule != Rule::kGatedDelta) {
    theory = recall_theory(static_cast<double>(view.settings.expansion * view.base.key_dim),
                           static_cast<double>(view.base.value_dim));
  }
  plot::line("theory (independent only)", ns, theory,
             {.color = view.theme.palette.theory, .width = 1.5f, .dashed = true});
  for (const Curve& curve : curves) {
    plot::line(curve.look.name, curve.recall_pairs, curve.recall,
               {.color = curve.look.color, .marker = curve.look.marker});
    if (!curve.recall_error.empty())
      plot::missing_point(curve.look.name, 8, curve.recall_error, curve.look.color);
  }
  plot::end();
}

void draw_legend(const View& view) {
  for (const auto& source : sources(view)) {
    const SeriesLook look = look_of(view.theme, source);
    legend_entry(view.theme, look.color, look.marker, false, look.name);
    ImGui::SameLine(0, view.theme.px(12));
  }
  legend_entry(view.theme, view.theme.palette.theory, plot::Marker::kNone, true, "theory (independent only)");
}

}  // namespace

SeriesLook look_of(const Theme& theme, std::optional<KeySource> source) {
  const Palette& p = theme.palette;
  if (!source) return {p.captured, plot::Marker::kDiamond, "captured"};
  switch (*source) {
    case KeySource::kIndependent:
      return {p.independent, plot::Marker::kCircle, "independent"};
    case KeySource::kLinearExpansion:
      return {p.linear_expansion, plot::Marker::kSquare, "linear expansion"};
    case KeySource::kSiluExpansion:
      break;
  }
  return {p.silu_expansion, plot::Marker::kTriangle, "SiLU expansion"};
}

KeyFile key_file(const Settings& settings) {
  return {settings.keys_file, settings.keys_text, settings.keys_layer};
}

void dilution_panel(const View& view, Rect rect) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  std::optional<KeyRequest> shown;
  if (view.settings.keys || !view.settings.keys_file.empty()) {
    shown = request_of(view, view.settings.keys, view.settings.pairs);
  }
  ask(view, shown);

  begin_panel(theme, "dilution-panel", rect, "Attention dilution", "", "dilution",
              view.highlight == "dilution");
  ImGui::SameLine(0, theme.px(24));
  draw_legend(view);
  const ImVec2 size = ImGui::GetContentRegionAvail();
  const float gap = theme.px(14);
  const float heading = theme.px(18);
  const float height = size.y - heading - theme.px(4);
  const float square = std::min(height - theme.px(10), size.x * 0.24f);
  const float rest = (size.x - square - 3 * gap) / 3;
  const auto gram = shown ? view.session.gram(*shown) : nullptr;
  const auto curves = gather_curves(view);
  const SeriesLook look = look_of(theme, view.settings.keys);

  const auto column = [&](const char* id, float width, const std::string& title, const char* help_key,
                          auto draw) {
    ImGui::BeginGroup();
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(4)});
    text(theme.fonts.small, p.text, title, width);
    help_on_hover(theme, help_key);
    ImGui::PushID(id);
    draw(ImVec2(width, height));
    ImGui::PopID();
    ImGui::PopStyleVar();
    ImGui::EndGroup();
  };
  column("gram", square, std::string("Gram matrix, ") + look.name, "gram",
         [&](ImVec2 s) { draw_gram(view, gram.get(), s); });
  ImGui::SameLine(0, gap);
  column("cosines", rest, std::string("Cosines, ") + look.name, "cosine",
         [&](ImVec2 s) { draw_histogram(view, gram.get(), look.color, s); });
  ImGui::SameLine(0, gap);
  column("interference", rest, "Interference, measured on keys", "interference",
         [&](ImVec2 s) { draw_interference(view, curves, s); });
  ImGui::SameLine(0, gap);
  column("recall", rest, "Recall@1" + (view.first ? ", run on " + view.first->name : ""), "recall",
         [&](ImVec2 s) { draw_recall(view, curves, s); });
  end_panel();
}

}  // namespace statescope::gui
