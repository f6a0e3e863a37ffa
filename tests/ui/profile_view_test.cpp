// The Profile view, driven by its own buttons: a profile that runs, what is drawn of it, files that open and
// are refused, and a baseline.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "app/gui/path_field.h"
#include "app/gui/quantity.h"
#include "app/gui/shader_compiler.h"
#include "profiler/export.h"
#include "runtime/vulkan/spirv.h"
#include "tests/temporary_directory.h"
#include "tests/ui/views_fixture.h"

namespace statescope::gui {
namespace {

namespace fs = std::filesystem;

class ProfileView : public ViewsTest {
 protected:
  void SetUp() override {
    ViewsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    app().settings.view = "profile";
    app().settings.expansion = 2;
    before_ = fs::current_path();
    fs::current_path(folder_.path());
    offscreen().frame();
  }
  void TearDown() override {
    if (!before_.empty()) fs::current_path(before_);
    ViewsTest::TearDown();
  }
  /// Presses the button and waits for the profile.
  static void profile() {
    settle();
    click("Profile", {0, 100});  // the button, not the view's name above it
    settle();
    ASSERT_TRUE(app().profile.shown);
  }
  static const OpenCapture& open() { return *app().profile.shown; }
  static const KernelRow& chosen() { return open().kernels[app().profile.kernel]; }
  /// A capture of the same kernels whose times are `factor` times as long.
  fs::path slowed(double factor) {
    Capture capture = open().capture;
    for (CaptureEntry& entry : capture.entries) {
      for (RunTime& run : entry.runs) {
        run.total *= factor;
        for (double& launch : run.launches) launch *= factor;
      }
    }
    const fs::path path = folder_ / "slowed.json";
    write_capture(path, capture);
    return path;
  }

  TemporaryDirectory folder_;
  fs::path before_;
};

TEST_F(ProfileView, SaysWhatToDoWhileNothingIsOpen) {
  EXPECT_TRUE(has_text(text(), "Press Profile, or open a capture"));
  EXPECT_TRUE(has_text(text(), "Kernels"));
  expect_legible(text(), "nothing open");
}

TEST_F(ProfileView, AProfileFillsEveryPart) {
  profile();
  ASSERT_EQ(open().capture.devices.size(), 1u);
  EXPECT_EQ(open().source, "measured here");
  // E = 1 and 2, three series; naive at E = 2 may be refused.
  EXPECT_EQ(open().capture.entries.size(), 6u);
  ASSERT_GE(open().kernels.size(), 5u);

  const auto spans = rows_of("timeline");
  const plot::Layout* timeline = plot::layout("timeline");
  ASSERT_TRUE(timeline);
  EXPECT_EQ(spans.size(), open().capture.timeline.spans.size());
  EXPECT_TRUE(timeline->csv.starts_with("series,begin (s),end (s),name\n"));
  for (const auto& [width, height] : kSizes) {
    for (const bool dark : {true, false}) {
      offscreen().resize(width, height);
      app().settings.dark = dark;
      for (const int tab : {0, 2, 3}) {
        app().settings.profile_tab = tab;
        offscreen().frame();
        offscreen().frame();
        const std::string where =
            std::to_string(width) + (dark ? " dark" : " light") + " tab " + std::to_string(tab);
        const auto runs = text();
        for (const char* words :
             {"Timeline", "thread 1", "queue", "time", "Kernels", "kernel", "median", "p95", "ceiling",
              "recurrent", "comparison", "measured here", "copy", "float32"}) {
          EXPECT_TRUE(has_text(runs, words)) << where << ": no '" << words << "'";
        }
        if (tab == 0) {
          for (const char* words : {"predicted", "reported", "shared memory", "occupancy", "limited by",
                                    "workgroups of", "time of a call", "min", "max"})
            EXPECT_TRUE(has_text(runs, words)) << where << ": no '" << words << "'";
        }
        expect_legible(runs, where);
      }
    }
  }
  // A launch is drawn where its time says, in the colour of its series.
  app().settings.dark = true;
  app().settings.profile_tab = 0;
  offscreen().resize(1280, 720);
  offscreen().frame();
  offscreen().frame();
  const auto& rows = open().timeline.rows;
  const Palette& p = app().theme.palette;
  // The longest of each series: others may be less than a pixel.
  struct Longest {
    std::size_t row = 0, span = 0;
    std::int64_t ns = 0;
  };
  std::map<SweepSeries, Longest> longest;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (const std::size_t i : rows[r].spans) {
      const Span& span = open().capture.timeline.spans[i];
      const auto kernel = kernel_of(open(), *span.info);
      if (!kernel) continue;
      Longest& best = longest[open().capture.entries[open().kernels[*kernel].entry].series];
      if (span.end_ns - span.begin_ns > best.ns) best = {r, i, span.end_ns - span.begin_ns};
    }
  }
  ASSERT_EQ(longest.size(), 3u);
  for (const auto& [series, best] : longest) {
    const Span& span = open().capture.timeline.spans[best.span];
    const double begin = static_cast<double>(span.begin_ns) * 1e-9,
                 end = static_cast<double>(span.end_ns) * 1e-9;
    const auto middle = [&] {
      return plot::layout("timeline")->pixel((begin + end) / 2, static_cast<double>(best.row) + 0.5);
    };
    plot::reset_zoom("timeline");
    offscreen().frame();
    for (int i = 0; i < 60; ++i) {
      const plot::Layout* now = plot::layout("timeline");
      if (now->pixel(end, 0).x - now->pixel(begin, 0).x > 40) break;
      wheel(middle(), 2);
    }
    offscreen().frame({3, 3});
    offscreen().frame({3, 3});
    const ImU32 wanted = series == SweepSeries::kNaive      ? p.naive
                         : series == SweepSeries::kSubheads ? p.subheads
                                                            : p.production;
    const plot::Layout* now = plot::layout("timeline");
    // Above the name that may stand in the middle.
    expect_color(offscreen().picture(), {middle().x, now->pixel(0, static_cast<double>(best.row)).y + 4},
                 wanted, span.info->name);
  }
}

TEST_F(ProfileView, AClickDrillsDownAndKeysMoveOn) {
  profile();
  // The slowest first; then the one below it, by the mouse, by the key, and from the timeline.
  EXPECT_EQ(app().profile.kernel, 0u);
  EXPECT_TRUE(has_text(text(), chosen().kernel));
  const ImVec2 heading = place_of("calls", {0, 200});
  click_at({heading.x - 150, heading.y + 16 + 16 * 1});
  EXPECT_EQ(app().profile.kernel, 1u);
  app().press({265, 0});  // up
  EXPECT_EQ(app().profile.kernel, 0u);
  app().press({264, 0});  // down
  EXPECT_EQ(app().profile.kernel, 1u);
  const auto& rows = open().timeline.rows;
  std::size_t row = 0;
  while (open().capture.timeline.lanes[rows[row].lane].kind == LaneKind::kHostThread) ++row;
  const Span& span = open().capture.timeline.spans[rows[row].spans.back()];
  const plot::Layout* timeline = plot::layout("timeline");
  click_at(timeline->pixel(static_cast<double>(span.begin_ns + span.end_ns) / 2e9,
                           static_cast<double>(row) + 0.5));
  ASSERT_TRUE(kernel_of(open(), *span.info));
  EXPECT_EQ(app().profile.kernel, *kernel_of(open(), *span.info));
  // Sorting by the smallest median puts another row on top, and the keys follow the table.
  click("median", {0, 200});
  click("median", {0, 200});
  offscreen().frame();
  ASSERT_GE(app().profile.order.size(), 2u);
  EXPECT_LE(open().kernels[app().profile.order[0]].seconds.median,
            open().kernels[app().profile.order[1]].seconds.median);
}

TEST_F(ProfileView, TheTimelineZoomsIntoTimeAndSaysWhatIsUnderTheMouse) {
  profile();
  const plot::Range all = plot::layout("timeline")->x, lanes = plot::layout("timeline")->y;
  const auto& rows = open().timeline.rows;
  std::size_t row = 0;
  while (open().capture.timeline.lanes[rows[row].lane].kind == LaneKind::kHostThread) ++row;
  const Span& span = open().capture.timeline.spans[rows[row].spans.front()];
  const double middle = static_cast<double>(span.begin_ns + span.end_ns) / 2e9;
  const ImVec2 at = plot::layout("timeline")->pixel(middle, static_cast<double>(row) + 0.5);
  offscreen().frame(at);
  offscreen().frame(at);
  EXPECT_TRUE(has_text(text(), "rule gated_delta"));
  EXPECT_TRUE(has_text(text(), "clock:"));
  wheel(at, 3);
  const plot::Range zoomed = plot::layout("timeline")->x;
  EXPECT_LT(zoomed.hi - zoomed.lo, 0.7 * (all.hi - all.lo));
  EXPECT_GT(middle, zoomed.lo);
  EXPECT_LT(middle, zoomed.hi);
  EXPECT_EQ(plot::layout("timeline")->y, lanes) << "lanes do not zoom";
}

TEST_F(ProfileView, CodeIsShownAndSearched) {
  profile();
  click("Code");
  const KernelRow& row = chosen();
  const auto& compiled = open().capture.entries[row.entry].compiled;
  ASSERT_FALSE(compiled.empty());
  EXPECT_TRUE(has_text(text(), "SPIR-V"));
  EXPECT_TRUE(has_text(text(), "OpCapability")) << "spirv-dis is a package that the setup installs";
  type("search", "opfunctionend");
  offscreen().frame();
  EXPECT_TRUE(has_text(text(), "1 of "));
  EXPECT_TRUE(has_text(text(), "OpFunctionEnd")) << "the match scrolls into view";
  click("↓");
  EXPECT_TRUE(has_text(text(), "2 of "));
}

TEST_F(ProfileView, TheRooflineStandsOnMeasuredCeilings) {
  profile();
  click("Roofline");
  const auto points = rows_of("roofline");
  const Ceilings& ceilings = open().capture.devices[0].ceilings;
  double roof = 0;
  std::size_t marks = 0;
  for (const Row& row : points) {
    if (row.series.starts_with("float32")) roof = row.y;
    if (row.series.find(" E ") != std::string::npos) ++marks;
  }
  EXPECT_NEAR(roof, ceilings.f32_flop_per_second, 1e-6 * roof);
  EXPECT_EQ(marks, open().points.size());
  const plot::Layout* layout = plot::layout("roofline");
  click_at(layout->pixel(open().points.back().intensity, open().points.back().flop_per_second));
  EXPECT_TRUE(has_text(text(), "of its roof"));
}

TEST_F(ProfileView, ABaselineTellsSlowerFromNoise) {
  profile();
  click("Keep this");
  settle();
  click("Baseline", {700, 100});
  EXPECT_TRUE(has_text(text(), "same"));
  const auto comparison = app().profile.captures.comparison();
  ASSERT_TRUE(comparison);
  for (const CompareRow& row : comparison->rows) EXPECT_EQ(row.verdict, Verdict::kSame) << row.kernel;
  // The same runs fifty times as slow, beyond what a busy machine hides, as the baseline: every kernel got
  // faster. every kernel got slower.
  const std::string path = slowed(50).string();
  click("Drop");
  app().settings.baseline.clear();
  type("capture to compare with", path);
  settle();
  EXPECT_EQ(app().settings.baseline, path);
  const auto slower = app().profile.captures.comparison();
  ASSERT_TRUE(slower);
  for (const CompareRow& row : slower->rows) {
    EXPECT_EQ(row.verdict, Verdict::kFaster) << row.kernel;
    EXPECT_NEAR(row.ratio, 1.0 / 50, 1e-6);
  }
  EXPECT_TRUE(has_text(text(), "0.02× faster"));
  EXPECT_TRUE(has_text(text(), "was 1")) << "the table has the ratio too";
  expect_legible(text(), "baseline");
}

TEST_F(ProfileView, FilesRoundTripAndOthersAreRefused) {
  profile();
  const std::size_t kernels = open().kernels.size();
  for (const char* button : {"capture", "trace", "CSV"}) click(button, {0, 250});
  settle();
  EXPECT_TRUE(has_text(text(), "saved "));
  fs::path capture;
  int traces = 0, tables = 0;
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".trace.json")) {
      ++traces;
      std::ifstream file(entry.path());
      const auto trace = nlohmann::json::parse(file);
      std::size_t events = 0;
      for (const auto& event : trace.at("traceEvents")) events += event.at("ph") == "X" ? 1 : 0;
      EXPECT_EQ(events, open().capture.timeline.spans.size());
    } else if (name.ends_with(".csv")) {
      ++tables;
    } else {
      capture = entry.path();
    }
  }
  EXPECT_EQ(traces, 1);
  EXPECT_EQ(tables, 1);
  ASSERT_FALSE(capture.empty());
  // A file that is no capture says why; what is open stays.
  write_text(folder_ / "broken.json", "{\"schema\": \"statescope.capture/1\"}");
  type("capture file", folder_ / "broken.json");
  settle();
  EXPECT_TRUE(has_text(text(), "missing"));
  EXPECT_EQ(open().kernels.size(), kernels);
  // Dropped on the window, the good one opens.
  app().drop({capture.string()}, {700, 400});
  settle();
  EXPECT_EQ(open().source, capture.string());
  EXPECT_EQ(open().kernels.size(), kernels);
  EXPECT_TRUE(has_text(text(), capture.filename().string().substr(0, 18)));
  EXPECT_TRUE(app().profile.captures.capture_error().empty());
  // Dropped on the baseline's controls, it is the baseline.
  const Rect& place = app().profile.baseline_place;
  app().drop({capture.string()}, {place.x + 5, place.y + 5});
  settle();
  EXPECT_TRUE(app().profile.captures.comparison());
}

TEST_F(ProfileView, AProfileCanBeStopped) {
  settle();
  app().settings.seq_len = 4096;
  app().settings.expansion = 16;
  const auto shown = app().profile.captures.current();
  click("Profile", {0, 100});
  for (int i = 0; i < 200 && app().session.worker().state().job != "profile"; ++i) offscreen().frame();
  offscreen().frame();
  click("Stop", {0, 100});
  settle();
  EXPECT_EQ(app().profile.captures.current(), shown);
  EXPECT_TRUE(app().session.worker().state().error.empty());
}

TEST_F(ProfileView, AnEditedShaderIsTimedBesideTheOldAndABrokenOneChangesNothing) {
  if (!shader_compiler_missing().empty()) GTEST_SKIP() << shader_compiler_missing();
  const DeviceInfo* device = app().session.device("");
  settle();
  device = app().session.device("");
  ASSERT_TRUE(device);
  if (device->api != Api::kVulkan) GTEST_SKIP() << "the default device is " << device->name;
  const fs::path shaders = folder_ / "shaders";
  fs::copy(STATESCOPE_SHADERS, shaders);
  app().settings.shader_dir = shaders.string();
  app().settings.profile_tab = 4;
  app().settings.shader_series = 1;  // the comparison kernel: one source
  settle();
  EXPECT_TRUE(has_text(text(), "built in; watching"));
  ASSERT_FALSE(app().profile.shaders.result().modules.empty()) << app().profile.shaders.result().error;
  const auto edit = [&](const std::string& from, const std::string& to) {
    std::ifstream in(shaders / "comparison.comp");
    std::string source((std::istreambuf_iterator<char>(in)), {});
    const std::size_t at = source.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    source.replace(at, from.size(), to);
    std::ofstream(shaders / "comparison.comp") << source;
    // Clocks of file systems may be coarse.
    fs::last_write_time(shaders / "comparison.comp",
                        fs::file_time_type::clock::now() + std::chrono::seconds(2));
    for (int i = 0; i < 40; ++i) offscreen().frame();  // of 1/60 s each: it is seen within 0.3 s
    settle();
  };
  edit("void main() {", "void main() {\n  int unused = 3;");
  EXPECT_TRUE(has_text(text(), "edited kernel in use"));
  EXPECT_TRUE(has_text(text(), "edited shaders"));
  const ShaderResult good = app().profile.shaders.result();
  ASSERT_TRUE(good.edited && good.comparison) << good.error;
  EXPECT_EQ(good.edited->errors[0].error, good.built->errors[0].error) << "the same arithmetic";
  expect_legible(text(), "edited shader");
  edit("int unused = 3;", "int unused = ;");
  const ShaderResult broken = app().profile.shaders.result();
  EXPECT_NE(broken.error.find("comparison.comp"), std::string::npos) << broken.error;
  EXPECT_TRUE(broken.in_use && broken.edited);
  EXPECT_TRUE(has_text(text(), "The kernel before stays:"));
  // Back to what was built in.
  app().settings.shader_dir.clear();
  vulkan::replace_modules({});
}

TEST(Quantities, ReadAsPeopleWriteThem) {
  EXPECT_EQ(duration(0.0123), "12.3 ms");
  EXPECT_EQ(duration(4.5e-7), "450 ns");
  EXPECT_EQ(duration(0), "0 s");
  EXPECT_EQ(duration(0.9999), "1 s");
  EXPECT_EQ(quantity(2.45e9, "flop/s"), "2.45 Gflop/s");
  EXPECT_EQ(quantity(12, "B"), "12 B");
  EXPECT_EQ(memory_size(20992), "20.5 KiB");
  EXPECT_EQ(percentage(0.004), "0.4 %");
  EXPECT_EQ(percentage(0.5), "50 %");
  EXPECT_EQ(times(1.266), "1.27×");
  EXPECT_EQ(time_tick(1.234567, 1e-6), "1,234,567 µs");
  EXPECT_EQ(time_tick(2, 0.5), "2,000 ms");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
}

TEST(PathCompletion, CompletesFoldersAndFilesOfTheExtension) {
  const TemporaryDirectory temporary;
  const fs::path folder = temporary.path();
  fs::create_directories(folder / "captures");
  for (const char* name : {"capture-a.json", "capture-b.json", "capture.txt", ".hidden.json"})
    std::ofstream(folder / name) << "x";
  const std::string base = folder.string() + "/";
  EXPECT_EQ(completions(base + "cap", "json"),
            (std::vector<std::string>{base + "capture-a.json", base + "capture-b.json", base + "captures/"}));
  EXPECT_EQ(common_prefix(completions(base + "cap", "json")), base + "capture");
  EXPECT_EQ(completions(base + ".", "json"), std::vector<std::string>{base + ".hidden.json"});
  EXPECT_TRUE(completions(base + "nothing", "").empty());
  EXPECT_EQ(completions(base, "", 2).size(), 2u);
}

TEST(TimelineRows, ASpanLiesUnderTheOneThatHoldsIt) {
  TimelineSnapshot timeline;
  timeline.lanes = {{LaneKind::kHostThread, "main", "host"}, {LaneKind::kVulkanQueue, "queue", "calibrated"}};
  const auto info = std::make_shared<SpanInfo>("x", std::vector<SpanArgument>{});
  timeline.spans = {
      {0, 0, 100, info}, {0, 10, 40, info}, {1, 12, 30, info}, {0, 20, 30, info}, {0, 40, 90, info}};
  const TimelineRows rows = timeline_rows(timeline);
  ASSERT_EQ(rows.rows.size(), 4u);
  EXPECT_EQ(rows.rows[0].spans, std::vector<std::size_t>{0});
  EXPECT_EQ(rows.rows[1].spans, (std::vector<std::size_t>{1, 4}));
  EXPECT_EQ(rows.rows[2].spans, std::vector<std::size_t>{3});
  EXPECT_EQ(rows.rows[3].lane, 1u);
  EXPECT_DOUBLE_EQ(rows.seconds, 1e-7);
}

}  // namespace
}  // namespace statescope::gui
