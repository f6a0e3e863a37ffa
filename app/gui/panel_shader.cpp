// The edited kernel beside the one that was built in.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/gui/profile.h"
#include "app/gui/shader_compiler.h"

namespace statescope::gui {
namespace {

std::string error_text(double error) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", error);
  return std::isfinite(error) ? text : "not finite";
}

void line(const Theme& theme, const char* name, const std::string& built, const std::string& edited,
          ImU32 packed, float width) {
  text(theme.fonts.small, theme.palette.dim, name);
  same_line_at(std::floor(width * 0.30f));
  text(theme.fonts.small, theme.palette.text, built, width * 0.33f);
  same_line_at(std::floor(width * 0.65f));
  text(theme.fonts.small, packed, edited, width * 0.35f);
}

void draw_runs(const View& view, const ShaderResult& result, float width) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  line(theme, "", "built in", "edited", p.dim, width);
  const auto time = [](const std::optional<ShaderRun>& run) {
    if (!run) return std::string("-");
    return run->verified ? duration(run->seconds.median) : std::string("not timed");
  };
  line(theme, "median", time(result.built), time(result.edited), p.text, width);
  help_on_hover(theme, "median");
  const auto spread = [](const std::optional<ShaderRun>& run) {
    if (!run || !run->verified) return std::string("-");
    return duration(run->seconds.p10) + " – " + duration(run->seconds.p90);
  };
  line(theme, "p10 – p90", spread(result.built), spread(result.edited), p.text, width);
  for (std::size_t i = 0; result.built && i < result.built->errors.size(); ++i) {
    const OutputError& before = result.built->errors[i];
    const OutputError* after =
        result.edited && i < result.edited->errors.size() ? &result.edited->errors[i] : nullptr;
    const std::string named = "error of " + std::string(name(before.slot));
    line(theme, named.c_str(), error_text(before.error), after ? error_text(after->error) : "-",
         !after        ? p.text
         : after->ok() ? p.good
                       : p.bad,
         width);
    help_on_hover(theme, "errors");
  }
  if (result.comparison) {
    const CompareRow& row = *result.comparison;
    text(theme.fonts.body, verdict_color(theme, row.verdict),
         std::string(name(row.verdict)) + ": " + times(row.ratio) + "  (" + times(row.ratio_low) + " to " +
             times(row.ratio_high) + ")",
         width);
    help_on_hover(theme, "ratio");
  } else if (result.edited && !result.edited->verified) {
    wrapped_text(theme.fonts.small, p.bad, "The edited kernel misses the reference: it was not timed.");
  }
}

}  // namespace

void shader_tab(const View& view, ProfileUi& ui, ImVec2 size) {
  const Theme& theme = view.theme;
  const Palette& p = theme.palette;
  const std::string& folder = view.settings.shader_dir;
  if (folder.empty()) {
    wrapped_text(
        theme.fonts.small, p.dim,
        "Start with --shader-dir shaders to edit a kernel while the app runs: its new time and error then "
        "stand here beside the old.");
    return;
  }
  const std::string missing = shader_compiler_missing();
  if (!missing.empty()) wrapped_text(theme.fonts.small, p.bad, "Nothing can be compiled: " + missing + ".");
  const DeviceInfo* device = chosen_device(view);
  if (!device || device->api != Api::kVulkan) {
    wrapped_text(theme.fonts.small, p.dim, "Choose a Vulkan device: shaders are what Vulkan runs.");
    return;
  }
  static constexpr const char* kSeries[] = {"naive", "subheads", "production"};
  choice(theme, "shader-series", kSeries, view.settings.shader_series, size.x);
  help_on_hover(theme, "shader");
  const ShaderResult result = ui.shaders.result();
  text(theme.fonts.small, p.text, describe(shader_problem(view)), size.x);
  if (ImGui::IsItemHovered()) ImGui::SetTooltip("%s", describe(shader_problem(view)).c_str());
  if (!result.built && result.error.empty()) {
    const Worker::State state = view.session.worker().state();
    text(theme.fonts.small, p.dim, state.job == "shader" ? state.step : std::string("waiting"), size.x);
    return;
  }
  text(theme.fonts.small, result.in_use ? p.limit : p.dim,
       result.in_use ? "edited kernel in use, compiled " + std::to_string(result.edits) + " times"
                     : "built in; watching " + folder,
       size.x);
  std::string sources;
  for (const ShaderModule& module : shader_modules()) {
    if (std::find(result.modules.begin(), result.modules.end(), module.name) == result.modules.end())
      continue;
    for (const std::string& source : shader_sources(module.source, folder)) {
      if (sources.find(source) == std::string::npos) sources += (sources.empty() ? "" : "  ") + source;
    }
  }
  wrapped_text(theme.fonts.small, p.dim, "made of " + sources);
  ImGui::Dummy({0, theme.px(4)});
  draw_runs(view, result, size.x);
  if (!result.error.empty()) {
    ImGui::Dummy({0, theme.px(4)});
    wrapped_text(theme.fonts.bold, p.bad,
                 result.in_use ? "The kernel before stays:" : "The built-in kernel stays:");
    wrapped_text(theme.fonts.mono, p.bad, result.error);
  }
}

Problem shader_problem(const View& view) {
  const DeviceInfo* device = chosen_device(view);
  return cell_problem(view.session.problem_for(view.settings, device),
                      kSweepSeries[view.settings.shader_series], view.settings.expansion,
                      view.settings.profile_pass, {});
}

}  // namespace statescope::gui
