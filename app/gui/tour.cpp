#include "app/gui/tour.h"

#include <algorithm>
#include <cmath>

namespace statescope::gui {

std::span<const TourStep> tour_steps() {
  static constexpr TourStep kSteps[] = {
      {"A state of fixed size",
       "A linear RNN keeps its whole past in one matrix of K × V a head, here at E = 1. Drag the slider: the "
       "state and "
       "the context of the Transformer whose cache it equals grow with E.",
       "state",
       [](Settings& s) {
         s.expansion = 1;
         s.compare = Compare::kBoth;
       }},
      {"Why grow it",
       "Reading one stored pair returns a little of every other, because keys are not orthogonal: the "
       "coloured specks "
       "off the diagonal. At E = 8 independent keys leak eight times less, and recall@1 holds for more "
       "pairs.",
       "dilution",
       [](Settings& s) {
         s.expansion = 8;
         s.keys = KeySource::kIndependent;
       }},
      {"Random expansion is not enough",
       "These keys are one random key each, expanded by a random matrix: their specks are stronger, and "
       "their curves "
       "lie above the dashed theory, which is of independent keys only. What is missing is what training the "
       "expansion "
       "must win.",
       "dilution",
       [](Settings& s) {
         s.expansion = 8;
         s.keys = KeySource::kSiluExpansion;
       }},
      {"The naive way hits a wall",
       "One head with a key of E K must hold E K × V numbers in one workgroup's shared memory, and the "
       "orange bar runs "
       "through one device's limit after the other as you drag. Subheads split it into E states of K × V, "
       "each in a "
       "workgroup of its own: the blue bar stays where it is.",
       "memory",
       [](Settings& s) {
         s.expansion = 16;
         s.compare = Compare::kBoth;
       }},
      {"What it costs in time",
       "Measured on this machine while you read: a larger state is more work, so throughput falls with E for "
       "every "
       "kernel, and the naive curve ends where its state no longer fits. The paper's training rates stand "
       "beside it as "
       "published; compare ratios, not rates.",
       "speed",
       [](Settings& s) {
         s.expansion = 8;
         s.compare = Compare::kBoth;
         s.measure = true;
       }},
  };
  return kSteps;
}

void apply_tour_step(Settings& settings) {
  tour_steps()[static_cast<std::size_t>(settings.tour_step)].apply(settings);
}

void tour_card(const View& view, Rect rect) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  Settings& s = view.settings;
  const auto steps = tour_steps();
  const int last = static_cast<int>(steps.size()) - 1;
  const TourStep& step = steps[static_cast<std::size_t>(s.tour_step)];
  begin_panel(theme, "tour", rect, nullptr, "", nullptr);
  text(theme.fonts.small, p.dim,
       "Tour, step " + std::to_string(s.tour_step + 1) + " of " + std::to_string(last + 1));
  ImGui::Dummy({0, theme.px(4)});
  wrapped_text(theme.fonts.bold, p.text, step.title);
  ImGui::Dummy({0, theme.px(4)});
  wrapped_text(theme.fonts.body, p.text, step.text);
  ImGui::Dummy({0, theme.px(10)});

  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 corner = ImGui::GetCursorScreenPos();
  for (int i = 0; i <= last; ++i) {
    const ImVec2 at(corner.x + theme.px(5 + 16 * static_cast<float>(i)), corner.y + theme.px(5));
    list.AddCircleFilled(at, theme.px(i == s.tour_step ? 5 : 3.5f), i == s.tour_step ? p.accent : p.border);
  }
  ImGui::Dummy({0, theme.px(14)});
  const float half = std::floor((ImGui::GetContentRegionAvail().x - theme.px(8)) / 2);
  const auto go = [&](int to) {
    s.tour_step = std::clamp(to, 0, last);
    apply_tour_step(s);
  };
  ImGui::BeginDisabled(s.tour_step == 0);
  if (ImGui::Button("Back", {half, 0})) go(s.tour_step - 1);
  ImGui::EndDisabled();
  ImGui::SameLine(0, theme.px(8));
  if (s.tour_step < last) {
    ImGui::PushStyleColor(ImGuiCol_Button, color(p.accent));
    ImGui::PushStyleColor(ImGuiCol_Text, color(p.on_accent));
    if (ImGui::Button("Next", {half, 0})) go(s.tour_step + 1);
    ImGui::PopStyleColor(2);
  } else if (ImGui::Button("Explore", {half, 0})) {
    s.view = "explore";
  }
  ImGui::Dummy({0, theme.px(6)});
  wrapped_text(theme.fonts.small, p.dim, "The slider stays yours. Page Up and Page Down move between steps.");
  end_panel();
}

}  // namespace statescope::gui
