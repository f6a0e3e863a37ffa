#include "app/gui/state_view.h"

#include <algorithm>
#include <cmath>

namespace statescope::gui {
namespace {

constexpr std::int64_t kHeadCounts[] = {1, 2, 4, 8, 16};
constexpr std::int64_t kDims[] = {16, 32, 64, 128};
constexpr std::int64_t kTokenCounts[] = {512, 1024, 2048, 4096, 8192, 16384, 65536};
constexpr std::int64_t kTrainedCounts[] = {64, 128, 256, 512, 1024, 2048, 8192};
/// Records of a run: enough for a line, few enough that reading the state back costs little.
constexpr std::int64_t kRecords = 32;

void heading(const Theme& theme, const char* name, const char* help_key) {
  ImGui::Dummy({0, theme.px(4)});
  text(theme.fonts.bold, theme.palette.text, name);
  help_on_hover(theme, help_key);
}

void number(const Theme& theme, const char* name, const char* help_key, std::span<const std::int64_t> values,
            std::int64_t& value, float left, float width) {
  if (left > 0) same_line_at(left);
  label(theme, name, help_key);
  const float named = ImGui::CalcTextSize(name).x + theme.px(8);
  same_line_at(left + named);
  ImGui::SetNextItemWidth(width - named);
  if (!ImGui::BeginCombo((std::string("##") + name).c_str(), std::to_string(value).c_str())) return;
  for (const std::int64_t candidate : values) {
    if (ImGui::Selectable(std::to_string(candidate).c_str(), candidate == value)) value = candidate;
  }
  ImGui::EndCombo();
}

void model_controls(const View& view, StateUi& ui) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  text(theme.fonts.bold, theme.palette.text, "Model");
  help_on_hover(theme, "state-model");
  const float width = ImGui::GetContentRegionAvail().x, half = std::floor((width - theme.px(10)) / 2);
  static constexpr const char* kSources[] = {"generated", "checkpoint"};
  int source = s.state_generated ? 0 : 1;
  if (choice(theme, "model-source", kSources, source, width)) s.state_generated = source == 0;
  if (s.state_generated) {
    ImGui::SetNextItemWidth(-1);
    if (ImGui::BeginCombo("##type", s.state_layer.type.c_str())) {
      for (const char* type : kLayerTypes) {
        if (ImGui::Selectable(type, s.state_layer.type == type)) s.state_layer.type = type;
      }
      ImGui::EndCombo();
    }
    help_on_hover(theme, "state-model");
    number(theme, "H", "heads", kHeadCounts, s.state_layer.heads, 0, half);
    number(theme, "K", "key-dim", kDims, s.state_layer.key_dim, half + theme.px(10), half);
    number(theme, "V", "value-dim", kDims, s.state_layer.value_dim, 0, half);
  } else {
    path_field(theme, "##checkpoint", "checkpoint's folder", ui.checkpoint_field, s.state_checkpoint,
               "no file");
  }
  path_field(theme, "##state-text", "text; empty: newlines", ui.text_field, s.state_text);
  help_on_hover(theme, "state-text");
  heading(theme, "Run", "state-run");
  device_combo(view);
  number(theme, "tokens", "state-tokens", kTokenCounts, s.state_tokens, 0, width);
  number(theme, "trained on", "trained", kTrainedCounts, s.state_trained, 0, width);
}

void run_controls(const View& view, StateUi& ui) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  const float width = ImGui::GetContentRegionAvail().x;
  const Worker::State state = view.session.worker().state();
  const bool running = state.job == "states";
  const DeviceInfo* device = chosen_device(view);
  const bool possible =
      device && s.state_trained < s.state_tokens && (s.state_generated || !s.state_checkpoint.empty());
  ImGui::BeginDisabled(!possible && !running);
  ImGui::PushStyleColor(ImGuiCol_Button, color(running ? theme.palette.control : theme.palette.accent));
  ImGui::PushStyleColor(ImGuiCol_Text, color(running ? theme.palette.text : theme.palette.on_accent));
  const bool pressed = ImGui::Button(running ? "Stop##states" : "Record##states", {width, 0});
  ImGui::PopStyleColor(2);
  ImGui::EndDisabled();
  if (pressed && running) view.session.worker().cancel();
  if ((pressed && !running) || (ui.run_asked && possible)) {
    RecordingRequest request;
    request.checkpoint = s.state_generated ? "" : s.state_checkpoint;
    request.layer = s.state_layer;
    request.device = device->name;
    request.text = s.state_text;
    request.tokens = s.state_tokens;
    request.trained = s.state_trained;
    request.every = std::max<std::int64_t>(1, std::min(s.state_tokens / kRecords, s.state_trained));
    s.recordings.clear();
    ui.recordings.measure(view.session, request);
  }
  if (device) ui.run_asked = false;
  if (s.state_trained >= s.state_tokens)
    wrapped_text(theme.fonts.small, theme.palette.bad, "The input must be longer than the training length.");
  if (running) {
    // Of the four runs, by the tokens that each has seen.
    double seen = 0;
    for (const auto& recording : ui.recordings.all()) {
      if (recording->done) {
        seen += 1;
      } else if (!recording->records.empty()) {
        seen += static_cast<double>(recording->records.back().tokens) / static_cast<double>(s.state_tokens);
      }
    }
    const ImVec2 corner = ImGui::GetCursorScreenPos();
    ImDrawList& list = *ImGui::GetWindowDrawList();
    list.AddRectFilled(corner, {corner.x + width, corner.y + theme.px(4)}, theme.palette.control,
                       theme.px(2));
    list.AddRectFilled(
        corner, {corner.x + width * static_cast<float>(std::min(seen / 4, 1.0)), corner.y + theme.px(4)},
        theme.palette.accent, theme.px(2));
    ImGui::Dummy({width, theme.px(4)});
  }
}

void show_controls(const View& view, std::int64_t layers) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  heading(theme, "Show", "state-quantity");
  static constexpr const char* kQuantities[] = {"norm", "mean", "variance"};
  choice(theme, "quantity", kQuantities, s.state_quantity, ImGui::GetContentRegionAvail().x);
  help_on_hover(theme, "state-quantity");
  s.state_shown_layer =
      std::clamp<std::int64_t>(s.state_shown_layer, 0, std::max<std::int64_t>(layers - 1, 0));
  if (layers < 2) return;
  label(theme, "layer", "state-layer");
  same_line_at(theme.px(48));
  int layer = static_cast<int>(s.state_shown_layer);
  ImGui::SetNextItemWidth(-1);
  if (ImGui::SliderInt("##shown-layer", &layer, 0, static_cast<int>(layers) - 1)) s.state_shown_layer = layer;
}

void sidebar(const View& view, StateUi& ui, const std::vector<std::shared_ptr<const Recording>>& all,
             Rect rect) {
  const Theme& theme = view.theme;
  begin_panel(theme, "state-controls", rect, nullptr, "", nullptr);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(5)});
  model_controls(view, ui);
  run_controls(view, ui);
  heading(theme, "Open", "state-open");
  std::string joined;
  for (const std::string& file : view.settings.recordings) joined += (joined.empty() ? "" : ";") + file;
  if (path_field(theme, "##recording", "recording", ui.recording_field, joined, "json"))
    set(view.settings, "recordings", joined);
  help_on_hover(theme, "state-open");
  const std::string error = ui.recordings.error();
  if (!error.empty()) wrapped_text(theme.fonts.small, theme.palette.bad, error);
  std::size_t layers = 0;
  for (const auto& recording : all) {
    if (!recording->records.empty()) layers = std::max(layers, recording->records.front().layers.size());
  }
  if (!all.empty()) {
    show_controls(view, static_cast<std::int64_t>(layers));
    const Recording& first = *all.front();
    const float width = ImGui::GetContentRegionAvail().x;
    heading(theme, "Shown", "state-run");
    text(theme.fonts.small, theme.palette.text, first.model, width);
    if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", first.model.c_str());
    text(theme.fonts.small, theme.palette.dim, "recorded on " + first.device, width);
    text(theme.fonts.small, theme.palette.dim, "trained on " + grouped(first.trained) + " tokens", width);
    help_on_hover(theme, "trained");
  }
  ImGui::PopStyleVar();
  end_panel();
}

}  // namespace

void state_view(const View& view, StateUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  ui.recordings.want(view.session, view.settings.recordings);
  const auto all = ui.recordings.all();
  const float gap = theme.px(8), side = theme.px(214);
  sidebar(view, ui, all, {rect.x, rect.y, side, rect.height});
  const float x = rect.x + side + gap, width = rect.width - side - gap;
  const float upper = std::floor((rect.height - gap) * 0.52f), lower = rect.height - gap - upper;
  heads_panel(view, all, {x, rect.y, width, upper});
  const float third = std::floor((width - 2 * gap) * 0.32f), last = width - 2 * third - 2 * gap;
  const float y = rect.y + upper + gap;
  loss_panel(view, all, {x, y, third, lower});
  decay_panel(view, all.empty() ? nullptr : all.front().get(), {x + third + gap, y, third, lower});
  verdict_panel(view, all, {x + 2 * (third + gap), y, last, lower});
}

}  // namespace statescope::gui
