#include "app/gui/profile.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "profiler/capture_export.h"

namespace statescope::gui {
namespace {

constexpr Pass kPasses[] = {Pass::kForward, Pass::kBackward, Pass::kStep};
/// Comparing wants eight runs or more of each kernel; a few more make the spread mean something.
constexpr int kMinRuns = 12;

std::string stamped(const char* what) {
  char stamp[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(stamp, sizeof stamp, "-%Y%m%d-%H%M%S", std::localtime(&now));
  return std::string("statescope-") + what + stamp;
}

ProfileOptions options_of(const Settings& s) {
  ProfileOptions options;
  const auto given = [](std::int64_t value) { return value > 0 ? std::optional(value) : std::nullopt; };
  SweepOptions& what = options.sweep;
  what.rule = s.rule;
  if (!s.dtype.empty()) what.dtype = parse_dtype(s.dtype);
  what.batch = given(s.batch);
  what.seq_len = given(s.seq_len);
  what.heads = given(s.heads);
  what.key_dim = given(s.key_dim);
  what.value_dim = given(s.value_dim);
  what.passes = {s.profile_pass};
  what.expansions = {s.expansion};
  if (s.profile_powers) {
    what.expansions.clear();
    for (std::int64_t e = 1; e < s.expansion; e *= 2) what.expansions.push_back(e);
    what.expansions.push_back(s.expansion);
  }
  what.series.clear();
  for (const SweepSeries series : kSweepSeries) {
    if (shows(s, series)) what.series.push_back(series);
  }
  what.min_runs = what.min_slow_runs = kMinRuns;
  options.code = true;
  return options;
}

std::string sizes_of(const Problem& p) {
  return std::string(name(p.rule)) + "  " + std::string(name(p.dtype)) + "\nK " + std::to_string(p.key_dim) +
         "  V " + std::to_string(p.value_dim) + "  H " + std::to_string(p.heads) + "  T " +
         std::to_string(p.seq_len) + "  B " + std::to_string(p.batch);
}

void heading(const Theme& theme, const char* name, const char* help_key) {
  ImGui::Dummy({0, theme.px(4)});
  text(theme.fonts.bold, theme.palette.text, name);
  help_on_hover(theme, help_key);
}

void measure_controls(const View& view, ProfileUi& ui) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  text(theme.fonts.bold, theme.palette.text, "Measure");
  help_on_hover(theme, "capture");
  device_combo(view);
  const DeviceInfo* device = chosen_device(view);
  static constexpr const char* kPassNames[] = {"forward", "backward", "step"};
  const float width = ImGui::GetContentRegionAvail().x;
  int pass = static_cast<int>(std::find(std::begin(kPasses), std::end(kPasses), s.profile_pass) - kPasses);
  if (choice(theme, "pass", kPassNames, pass, width)) s.profile_pass = kPasses[pass];
  help_on_hover(theme, "pass");
  const std::string last = std::to_string(s.expansion);
  const std::string one = "E " + last, powers = "E 1 to " + last;
  const char* const kExpansions[] = {one.c_str(), powers.c_str()};
  int all = s.profile_powers ? 1 : 0;
  if (choice(theme, "expansions", kExpansions, all, width)) s.profile_powers = all == 1;
  if (device) {
    wrapped_text(theme.fonts.small, theme.palette.dim, sizes_of(view.session.problem_for(s, device)));
    help_on_hover(theme, "profile-sizes");
  }
  const bool running = view.session.worker().state().job == "profile";
  ImGui::BeginDisabled(!device);
  ImGui::PushStyleColor(ImGuiCol_Button, color(running ? theme.palette.control : theme.palette.accent));
  ImGui::PushStyleColor(ImGuiCol_Text, color(running ? theme.palette.text : theme.palette.on_accent));
  const bool pressed = ImGui::Button(running ? "Stop##run" : "Profile##run", {width, 0});
  ImGui::PopStyleColor(2);
  ImGui::EndDisabled();
  if (pressed && running) view.session.worker().cancel();
  if ((pressed && !running) || (ui.run_asked && device)) {
    ui.run_asked = false;
    s.capture.clear();
    ui.captures.measure(view.session, {device->name}, options_of(s));
  }
}

void baseline_controls(const View& view, ProfileUi& ui) {
  const Theme& theme = view.theme;
  Settings& s = view.settings;
  const ImVec2 from = ImGui::GetCursorScreenPos();
  heading(theme, "Baseline", "baseline");
  path_field(theme, "##baseline", "capture to compare with", ui.baseline_field, s.baseline, "json");
  const auto baseline = ui.captures.baseline();
  const float width = ImGui::GetContentRegionAvail().x, half = std::floor((width - theme.px(4)) / 2);
  ImGui::BeginDisabled(!ui.captures.current());
  if (ImGui::Button("Keep this", {half, 0})) {
    s.baseline.clear();
    ui.captures.keep_as_baseline(view.session);
  }
  ImGui::EndDisabled();
  help_on_hover(theme, "keep-baseline");
  ImGui::SameLine(0, theme.px(4));
  ImGui::BeginDisabled(!baseline && s.baseline.empty());
  if (ImGui::Button("Drop", {half, 0})) {
    s.baseline.clear();
    ui.captures.drop_baseline();
  }
  ImGui::EndDisabled();
  static constexpr double kThresholds[] = {0.02, 0.05, 0.1};
  static constexpr const char* kNames[] = {"2 %", "5 %", "10 %"};
  int which = -1;
  for (int i = 0; i < 3; ++i) {
    if (s.threshold == kThresholds[i]) which = i;
  }
  if (choice(theme, "threshold", kNames, which, width)) {
    s.threshold = kThresholds[which];
    ui.captures.set_threshold(view.session, s.threshold);
  }
  help_on_hover(theme, "threshold");
  const std::string error = ui.captures.baseline_error();
  if (!error.empty()) {
    wrapped_text(theme.fonts.small, theme.palette.bad, error);
  } else if (baseline) {
    text(theme.fonts.small, theme.palette.dim, "of " + baseline->capture.created, width);
  }
  const ImVec2 to = ImGui::GetCursorScreenPos();
  ui.baseline_place = {from.x, from.y, width, to.y - from.y};
}

void save_controls(const View& view, ProfileUi& ui) {
  const Theme& theme = view.theme;
  heading(theme, "Save", "save-capture");
  const float width = ImGui::GetContentRegionAvail().x;
  const float third = std::floor((width - 2 * theme.px(4)) / 3);
  struct File {
    const char* name;
    CaptureFile kind;
    const char* suffix;
  };
  static constexpr File kFiles[] = {{"capture", CaptureFile::kCapture, ".json"},
                                    {"trace", CaptureFile::kTrace, ".trace.json"},
                                    {"CSV", CaptureFile::kTable, ".csv"}};
  ImGui::BeginDisabled(!ui.captures.current());
  for (const File& file : kFiles) {
    if (&file != kFiles) ImGui::SameLine(0, theme.px(4));
    if (ImGui::Button(file.name, {third, 0}))
      ui.captures.save(view.session, file.kind, stamped("capture") + file.suffix);
    help_on_hover(theme, "save-capture");
  }
  ImGui::EndDisabled();
}

void facts_of(const View& view, const OpenCapture& open) {
  const Theme& theme = view.theme;
  const float width = ImGui::GetContentRegionAvail().x;
  heading(theme, "Shown", "capture");
  text(theme.fonts.small, theme.palette.text,
       open.source == "measured here" ? open.source : std::filesystem::path(open.source).filename().string(),
       width);
  if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", open.source.c_str());
  text(theme.fonts.small, theme.palette.dim, open.capture.created, width);
  text(theme.fonts.small, theme.palette.dim,
       "version " + open.capture.version + ", " + open.capture.commit.substr(0, 10), width);
  for (const CapturedDevice& device : open.capture.devices) {
    text(theme.fonts.small, theme.palette.text, device.info.name + "  " + device.info.description, width);
    if (ImGui::IsItemHovered()) {
      ImGui::BeginTooltip();
      text(theme.fonts.bold, theme.palette.text, device.info.description);
      text(theme.fonts.small, theme.palette.dim, device.info.driver);
      for (const std::string& line : device.info.notes) text(theme.fonts.small, theme.palette.dim, line);
      ImGui::EndTooltip();
    }
    const Ceilings& c = device.ceilings;
    const auto ceiling = [&](const char* what, double value, const char* unit) {
      if (!(value > 0)) return;
      text(theme.fonts.small, theme.palette.dim, std::string("  ") + what + " " + quantity(value, unit),
           width);
      help_on_hover(theme, "ceilings");
    };
    ceiling("copy", c.copy_bytes_per_second, "B/s");
    ceiling("float32", c.f32_flop_per_second, "flop/s");
    ceiling("matrix", c.matrix_flop_per_second, "flop/s");
  }
  if (open.capture.timeline.dropped > 0) {
    text(theme.fonts.small, theme.palette.bad,
         grouped(static_cast<std::int64_t>(open.capture.timeline.dropped)) + " older spans dropped", width);
  }
}

void sidebar(const View& view, ProfileUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  begin_panel(theme, "profile-controls", rect, nullptr, "", nullptr);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {theme.px(6), theme.px(5)});
  measure_controls(view, ui);
  heading(theme, "Open", "open-capture");
  path_field(theme, "##capture", "capture file", ui.capture_field, view.settings.capture, "json");
  const std::string error = ui.captures.capture_error();
  if (!error.empty()) wrapped_text(theme.fonts.small, theme.palette.bad, error);
  baseline_controls(view, ui);
  save_controls(view, ui);
  if (ui.shown) facts_of(view, *ui.shown);
  ImGui::PopStyleVar();
  end_panel();
}

// ---- the timeline

ImU32 span_color(const Theme& theme, const Span& span, LaneKind kind) {
  if (kind == LaneKind::kHostThread && span.info->arguments.empty()) return theme.palette.dim;
  SweepSeries series = SweepSeries::kProduction;
  for (const SpanArgument& argument : span.info->arguments) {
    const std::string* word = std::get_if<std::string>(&argument.value);
    if (!word) continue;
    if (argument.name == "series" && *word == name(Series::kComparison) && series == SweepSeries::kProduction)
      series = SweepSeries::kSubheads;
    if (argument.name == "division" && *word == name(Division::kNaive)) series = SweepSeries::kNaive;
  }
  return look_of(theme, series).color;
}

/// Made once a capture and theme: there may be tens of thousands.
void make_marks(const Theme& theme, ProfileUi& ui) {
  if (ui.marks_dark == theme.dark) return;
  ui.marks_dark = theme.dark;
  ui.marks.clear();
  const TimelineSnapshot& timeline = ui.shown->capture.timeline;
  for (const TimelineRow& row : ui.shown->timeline.rows) {
    std::vector<plot::SpanMark> marks;
    for (const std::size_t i : row.spans) {
      const Span& span = timeline.spans[i];
      marks.push_back({static_cast<double>(span.begin_ns) * 1e-9, static_cast<double>(span.end_ns) * 1e-9,
                       span_color(theme, span, timeline.lanes[row.lane].kind), span.info->name});
    }
    ui.marks.push_back(std::move(marks));
  }
}

void draw_timeline(const View& view, ProfileUi& ui, ImVec2 size) {
  make_marks(view.theme, ui);
  const OpenCapture& open = *ui.shown;
  const TimelineSnapshot& timeline = open.capture.timeline;
  if (!plot::begin("timeline", size, false)) return;
  const auto& rows = open.timeline.rows;
  // Rows that fit without being too thin to read; the others come up by dragging.
  const double fit = std::max(1.0f, std::floor((size.y - view.theme.px(54)) / view.theme.px(15)));
  const double count = static_cast<double>(rows.size()), seen = std::min(count, fit);
  plot::setup_axis(plot::Axis::kX, "time", "s", plot::Scale::kLinear,
                   plot::Range{-0.005 * open.timeline.seconds, 1.005 * open.timeline.seconds});
  plot::setup_format(plot::Axis::kX, time_tick);
  plot::setup_axis(plot::Axis::kY, "", "", plot::Scale::kLinear, plot::Range{std::max(seen, 1.0), 0});
  if (seen == count) plot::lock_axis(plot::Axis::kY);
  std::vector<plot::Tick> ticks;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Lane& lane = timeline.lanes[rows[r].lane];
    if (r == 0 || rows[r - 1].lane != rows[r].lane)
      ticks.push_back({static_cast<double>(r) + 0.5, lane.name, false});
    plot::spans(lane.name.c_str(), static_cast<double>(r), ui.marks[r], [&timeline, &rows, r](std::size_t i) {
      return describe_span(timeline.spans[rows[r].spans[i]], timeline.lanes[rows[r].lane]);
    });
  }
  plot::setup_ticks(plot::Axis::kY, std::move(ticks));
  plot::end();
  // A click on a launch chooses its kernel.
  if (const auto click = plot::clicked("timeline")) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (timeline.lanes[rows[r].lane].name != click->label || click->index >= rows[r].spans.size()) continue;
      const Span& span = timeline.spans[rows[r].spans[click->index]];
      if (const auto row = kernel_of(open, *span.info)) ui.kernel = *row;
    }
  }
}

void timeline_panel(const View& view, ProfileUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  std::string note = "wheel zooms, drag pans, double click resets; a click on a launch chooses its kernel";
  const ImVec2 size =
      begin_panel(theme, "timeline-panel", rect, "Timeline", ui.shown ? note : "", "timeline");
  if (ui.shown) {
    draw_timeline(view, ui, size);
  } else {
    const Worker::State state = view.session.worker().state();
    const std::string line =
        state.job == "profile" ? "profiling: " + state.step
                               : "Nothing is open. Press Profile, or open a capture: type its path, or drop "
                                 "the file here.";
    wrapped_text(theme.fonts.body, theme.palette.dim, line);
    if (state.job != "profile") {
      ImGui::Dummy({0, theme.px(4)});
      wrapped_text(theme.fonts.small, theme.palette.dim,
                   "On a machine without a display: statescope profile --with-code --output capture.json");
    }
  }
  end_panel();
}

void inspector(const View& view, ProfileUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  begin_panel(theme, "inspector", rect, nullptr, "", nullptr);
  static constexpr const char* kTabs[] = {"Kernel", "Code", "Roofline", "Baseline", "Shader"};
  choice(theme, "tabs", kTabs, view.settings.profile_tab, ImGui::GetContentRegionAvail().x);
  ImGui::Dummy({0, theme.px(1)});
  const ImVec2 size = ImGui::GetContentRegionAvail();
  if (view.settings.profile_tab == static_cast<int>(ProfileTab::kShader)) {
    shader_tab(view, ui, size);
  } else if (!ui.shown) {
    wrapped_text(theme.fonts.small, theme.palette.dim, "What is known of the chosen kernel stands here.");
  } else {
    switch (static_cast<ProfileTab>(view.settings.profile_tab)) {
      case ProfileTab::kKernel:
        kernel_tab(view, ui, size);
        break;
      case ProfileTab::kCode:
        code_tab(view, ui, size);
        break;
      case ProfileTab::kRoofline:
        roofline_tab(view, ui, size);
        break;
      case ProfileTab::kBaseline:
        baseline_tab(view, ui, size);
        break;
      case ProfileTab::kShader:
        break;
    }
  }
  end_panel();
}

}  // namespace

const DeviceInfo* chosen_device(const View& view) {
  const DeviceInfo* device = view.session.device(view.settings.profile_device);
  return device ? device : view.session.device("");
}

void device_combo(const View& view) {
  const Theme& theme = view.theme;
  const DeviceInfo* chosen = chosen_device(view);
  ImGui::SetNextItemWidth(-1);
  const std::string shown = chosen ? chosen->name + "  " + chosen->description : "looking for devices …";
  const float room = ImGui::GetContentRegionAvail().x - ImGui::GetFrameHeight() - theme.px(10);
  if (!ImGui::BeginCombo("##device", fitted(shown, room).c_str())) return;
  if (const DeviceList* list = view.session.devices()) {
    for (const DeviceEntry& entry : list->devices) {
      const std::string line = entry.info.name + "  " + entry.info.description;
      if (ImGui::Selectable(line.c_str(), chosen && chosen->name == entry.info.name))
        view.settings.profile_device = entry.info.name;
    }
  }
  ImGui::EndCombo();
}

void choose_kernel(ProfileUi& ui, int by) {
  const auto at = std::find(ui.order.begin(), ui.order.end(), ui.kernel);
  if (at == ui.order.end()) return;
  const auto place = std::clamp<std::ptrdiff_t>(at - ui.order.begin() + by, 0,
                                                static_cast<std::ptrdiff_t>(ui.order.size()) - 1);
  ui.kernel = ui.order[static_cast<std::size_t>(place)];
}

void profile_view(const View& view, ProfileUi& ui, Rect rect) {
  const Theme& theme = view.theme;
  ui.captures.want(view.session, view.settings.capture, view.settings.baseline);
  const DeviceInfo* device = chosen_device(view);
  if (device && device->api == Api::kVulkan)
    ui.shaders.want(view.session, view.settings.shader_dir, device->name, shader_problem(view));
  const auto current = ui.captures.current();
  if (current != ui.shown) {  // another capture: the slowest kernel first, the whole of its time
    ui.shown = current;
    ui.kernel = ui.representation = 0;
    ui.marks_dark.reset();
    plot::reset_zoom("timeline");
    plot::reset_zoom("roofline");
  }
  const float gap = theme.px(8), side = theme.px(214);
  sidebar(view, ui, {rect.x, rect.y, side, rect.height});
  const float x = rect.x + side + gap, width = rect.width - side - gap;
  // As high as its rows need, so that the kernels have the room.
  const std::size_t rows = ui.shown ? ui.shown->timeline.rows.size() : 4;
  const float upper = std::clamp(theme.px(88) + theme.px(26) * static_cast<float>(rows), theme.px(120),
                                 std::floor((rect.height - gap) * 0.34f));
  const float lower = rect.height - gap - upper;
  timeline_panel(view, ui, {x, rect.y, width, upper});
  const float table = std::floor((width - gap) * 0.59f);
  kernel_table_panel(view, ui, {x, rect.y + upper + gap, table, lower});
  inspector(view, ui, {x + table + gap, rect.y + upper + gap, width - table - gap, lower});
}

}  // namespace statescope::gui
