// Every view at two sizes and in both themes: labels are there, none is cut or lies on another, and marks lie
// where the data says.
#include <chrono>
#include <cmath>
#include <filesystem>

#include <statescope/safetensors.h>

#include "app/gui/help.h"
#include "app/gui/tour.h"
#include "tests/temporary_directory.h"
#include "tests/ui/views_fixture.h"

namespace statescope::gui {
namespace {

TEST_F(ViewsTest, ExploreShowsEveryPanelAtEverySizeInBothThemes) {
  settle();
  for (const auto& [width, height] : kSizes) {
    for (const bool dark : {true, false}) {
      const std::string where = std::to_string(width) + (dark ? " dark" : " light");
      offscreen().resize(width, height);
      app().settings.dark = dark;
      settle();
      const auto runs = text();
      for (const char* words : {"Statescope",
                                "Explore",
                                "Tour",
                                "E = 4",
                                "expansion",
                                "rule",
                                "gated_delta",
                                "division",
                                "Measured on",
                                "Limit lines",
                                "4 of",
                                "Keys",
                                "Shared memory",
                                "shared memory a workgroup (KiB)",
                                "naive",
                                "subheads",
                                "production",
                                "48 KiB",
                                "64 KiB",
                                "99 KiB",
                                "227 KiB",
                                "any E",
                                "RTX 3090 (cuda)",
                                "RX 7900 XTX (vulkan)",
                                "Throughput",
                                "throughput (tokens/s)",
                                "expansion E",
                                "Published",
                                "training rates, not ours",
                                "table 9",
                                "0.21",
                                "OOM",
                                "State of a layer",
                                "tokens",
                                "head-wise",
                                "published recall",
                                "Attention dilution",
                                "Gram matrix, SiLU",
                                "key i",
                                "key j",
                                "cosine of two keys",
                                "interference I",
                                "recall@1 (share)",
                                "stored pairs n",
                                "theory (independent only)",
                                "linear expansion",
                                "independent",
                                "predicted",
                                "measured on"}) {
        EXPECT_TRUE(has_text(runs, words)) << where << ": no '" << words << "'";
      }
      EXPECT_TRUE(has_text(runs, dark ? "Light" : "Dark"));
      expect_legible(runs, where);

      const Picture picture = offscreen().picture();
      const Palette& p = app().theme.palette;
      expect_color(picture, {2, static_cast<float>(height) - 2}, p.background, where + " margin");
      const plot::Layout* memory = plot::layout("memory");
      ASSERT_TRUE(memory);
      const auto bars = rows_of("memory");
      const ImU32 colors[] = {p.naive, p.subheads, p.production};
      for (int i = 0; i < 3; ++i) {
        const char* name = i == 0 ? "naive" : i == 1 ? "subheads" : "production";
        const Row* bar = find(bars, name, i);
        ASSERT_TRUE(bar) << name;
        if (bar->y > 4)
          expect_color(picture, memory->pixel(i + 0.25, bar->y / 2), colors[i], where + " bar " + name);
        expect_color(picture, memory->pixel(i + 0.43, bar->y + 2), p.panel, where + " beside bar " + name);
      }
      const plot::Layout* leaks = plot::layout("interference");
      ASSERT_TRUE(leaks);
      const auto points = rows_of("interference");
      for (const char* name : {"linear expansion", "SiLU expansion"}) {
        const Row* point = find(points, name, 64);
        ASSERT_TRUE(point) << name;
        expect_color(picture, leaks->pixel(64, point->y),
                     std::string(name) == "linear expansion" ? p.linear_expansion : p.silu_expansion,
                     where + name);
      }
      const plot::Layout* gram = plot::layout("gram");
      ASSERT_TRUE(gram);
      for (const Row& cell : rows_of("gram")) {  // x: row j, y: column i
        if (cell.x != cell.y && !(cell.x == 3 && cell.y == 20)) continue;
        expect_color(picture, gram->pixel(cell.y + 0.5, cell.x + 0.5),
                     plot::blend(p.diverging, cell.value + 0.5), where + " cell");
      }
    }
  }
}

TEST_F(ViewsTest, TheTourPointsAndSets) {
  app().settings.view = "tour";
  for (const auto& [width, height] : kSizes) {
    for (const bool dark : {true, false}) {
      offscreen().resize(width, height);
      app().settings.dark = dark;
      for (int step = 0; step < static_cast<int>(tour_steps().size()); ++step) {
        app().settings.tour_step = step;
        apply_tour_step(app().settings);
        offscreen().frame();
        offscreen().frame();
        const auto runs = text();
        const std::string where = "step " + std::to_string(step + 1);
        EXPECT_TRUE(has_text(runs, "Tour, " + where + " of 5")) << where;
        EXPECT_TRUE(has_text(runs, "E = " + std::to_string(app().settings.expansion))) << where;
        EXPECT_TRUE(has_text(runs, "Back")) << where;
        EXPECT_TRUE(has_text(runs, step < 4 ? "Next" : "Explore")) << where;
        expect_legible(runs, where);
        for (const char* words : {"Shared memory", "Attention dilution"})
          EXPECT_TRUE(has_text(runs, words)) << words;
      }
    }
  }
  // The buttons move it: Next is drawn in step 1.
  app().settings.tour_step = 0;
  offscreen().frame();
  const auto runs = text();
  const auto next =
      std::find_if(runs.begin(), runs.end(), [](const DrawnText& t) { return t.text == "Next"; });
  ASSERT_NE(next, runs.end());
  const ImVec2 at{(next->min.x + next->max.x) / 2, (next->min.y + next->max.y) / 2};
  offscreen().frame(at);
  offscreen().frame(at, true);
  offscreen().frame(at);
  EXPECT_EQ(app().settings.tour_step, 1);
  EXPECT_EQ(app().settings.expansion, 8);
}

TEST_F(ViewsTest, DraggingTheSliderMovesEveryPanel) {
  settle();
  const auto runs = text();
  const auto tick = [&](const char* name) {
    // The slider's ticks lie above the panels.
    const auto found = std::find_if(runs.begin(), runs.end(), [&](const DrawnText& t) {
      return t.text == name && t.min.y < 110 && t.min.x > 340;
    });
    EXPECT_NE(found, runs.end()) << name;
    return ImVec2((found->min.x + found->max.x) / 2, found->min.y - 22);
  };
  const auto naive_before = rows_of("memory"), leaks_before = rows_of("interference");
  const ImVec2 from = tick("4"), to = tick("16");
  offscreen().frame(from);
  offscreen().frame(from, true);
  EXPECT_EQ(app().settings.expansion, 4);
  offscreen().frame({(from.x + to.x) / 2, from.y}, true);
  EXPECT_EQ(app().settings.expansion, 8);
  offscreen().frame(to, true);
  offscreen().frame(to);
  EXPECT_EQ(app().settings.expansion, 16);
  settle();
  EXPECT_TRUE(has_text(text(), "E = 16"));
  const auto naive_after = rows_of("memory"), leaks_after = rows_of("interference");
  EXPECT_GT(find(naive_after, "naive", 0)->y, 3 * find(naive_before, "naive", 0)->y);
  EXPECT_EQ(find(naive_after, "subheads", 1)->y, find(naive_before, "subheads", 1)->y);
  EXPECT_LT(find(leaks_after, "independent", 64)->y, find(leaks_before, "independent", 64)->y / 3);
  EXPECT_TRUE(has_text(text(), "512"));  // 2 E K V / (K + V)
}

TEST_F(ViewsTest, TheoryStandsBesideMeasurement) {
  settle();
  const auto points = rows_of("interference");
  for (const double n : {64.0, 128.0, 256.0}) {
    const Row* measured = find(points, "independent", n);
    const Row* theory = find(points, "theory (independent only)", n);
    ASSERT_TRUE(measured && theory) << n;
    EXPECT_DOUBLE_EQ(theory->y, (n - 1) / (4 * 32));
    EXPECT_NEAR(measured->y, theory->y, 0.15 * theory->y) << n;
    // Random expansion gains little: the difference that must not be hidden.
    EXPECT_GT(find(points, "linear expansion", n)->y, 2 * measured->y) << n;
  }
  const auto recall = rows_of("recall");
  for (const char* name : {"independent", "linear expansion", "SiLU expansion"}) {
    ASSERT_TRUE(find(recall, name, 8)) << name;
    EXPECT_GT(find(recall, name, 8)->y, 0.9) << name;
    EXPECT_LE(find(recall, name, 256)->y, find(recall, name, 8)->y) << name;
  }
}

TEST_F(ViewsTest, RecallHasATheoryWhereRulesOnlyAdd) {
  settle();
  EXPECT_FALSE(find(rows_of("recall"), "theory (independent only)", 64)) << "the delta rule replaces";
  app().settings.rule = Rule::kLinear;
  app().settings.expansion = 1;
  settle();
  const auto points = rows_of("recall");
  for (const double n : {8.0, 32.0, 64.0, 128.0, 256.0}) {
    const Row* measured = find(points, "independent", n);
    const Row* theory = find(points, "theory (independent only)", n);
    ASSERT_TRUE(measured && theory) << n;
    EXPECT_NEAR(measured->y, theory->y, 0.08) << n;
  }
  EXPECT_LT(find(points, "theory (independent only)", 256)->y, 0.5) << "K = V = 32 hold no 256 pairs";
}

TEST_F(ViewsTest, ThroughputIsMeasuredOrSaysWhyNot) {
  app().settings.measure = true;
  settle();
  const auto points = rows_of("throughput");
  for (const char* name : {"naive", "subheads", "production"}) {
    for (const double e : {1, 2, 4, 8, 16, 32}) {
      const Row* point = find(points, name, e);
      EXPECT_TRUE(point) << name << " E " << e;
    }
  }
  const Row* production = find(points, "production", 1);
  ASSERT_TRUE(production);
  EXPECT_GT(production->y, 100);
  const plot::Layout* chart = plot::layout("throughput");
  const Picture picture = offscreen().picture();
  expect_color(picture, chart->pixel(1, production->y), app().theme.palette.production, "production at E 1");
}

TEST_F(ViewsTest, CapturedKeysAreACurveAndABadFileSaysWhy) {
  // A capture of our own: 40 tokens, one head, E = 2, K = 16.
  const TemporaryDirectory temporary;
  const std::filesystem::path file = temporary / "keys.safetensors";
  const Keys keys = make_keys(KeySource::kIndependent, 40, 2, 16, 3);
  Tensor k(DType::kF32, {1, 40, 1, 2, 16});
  std::copy(keys.values.begin(), keys.values.end(), k.as<float>().begin());
  write_safetensors(file, {{"k", k.view()}});
  app().settings.keys_file = file.string();
  app().settings.keys = std::nullopt;
  settle();
  EXPECT_TRUE(has_text(text(), "captured: E 2, K 16"));
  EXPECT_TRUE(has_text(text(), "Gram matrix, captured"));
  const auto points = rows_of("interference");
  ASSERT_TRUE(find(points, "captured", 32));
  EXPECT_NEAR(find(points, "captured", 32)->y, 31.0 / 32, 0.3);
  EXPECT_FALSE(find(points, "captured", 64)) << "the file has 40 tokens";
  EXPECT_EQ(rows_of("gram").size(), 32u * 32u);
  app().settings.keys_file = file.string() + ".absent";
  settle();
  EXPECT_TRUE(has_text(text(), "statescope-keys") || has_text(text(), "absent"));
  EXPECT_FALSE(find(rows_of("interference"), "captured", 32));
  EXPECT_TRUE(app().session.worker().state().error.empty());
}

TEST_F(ViewsTest, HelpOpensOnHover) {
  settle();
  const auto runs = text();
  const auto title = std::find_if(runs.begin(), runs.end(),
                                  [](const DrawnText& t) { return t.text == "Attention dilution"; });
  ASSERT_NE(title, runs.end());
  const ImVec2 at{(title->min.x + title->max.x) / 2, (title->min.y + title->max.y) / 2};
  offscreen().frame(at);
  offscreen().frame(at);
  EXPECT_TRUE(has_text(text(), "(eq 7)"));
  for (const Term& t : terms()) {
    EXPECT_FALSE(t.title.empty());
    EXPECT_FALSE(t.text.empty()) << t.key;
    EXPECT_EQ(&term(t.key), &t) << t.key << " stands twice";
  }
}

TEST_F(ViewsTest, KeysChangeWhatIsShown) {
  app().press({262, 0});  // right
  EXPECT_EQ(app().settings.expansion, 5);
  app().press({263, 1});  // shift left
  EXPECT_EQ(app().settings.expansion, 2);
  app().press({269, 0});  // end
  EXPECT_EQ(app().settings.expansion, 32);
  app().press({262, 1});
  EXPECT_EQ(app().settings.expansion, 32);
  app().press({'2', 2});  // ctrl
  EXPECT_EQ(app().settings.view, "profile");
  app().press({'3', 2});
  EXPECT_EQ(app().settings.view, "state");
  app().press({'4', 2});
  EXPECT_EQ(app().settings.view, "tour");
  app().press({267, 0});  // page down
  EXPECT_EQ(app().settings.tour_step, 1);
  app().press({'D', 2});
  EXPECT_FALSE(app().settings.dark);
  app().press({'Q', 0});
  EXPECT_FALSE(app().quit);
}

TEST_F(ViewsTest, ScalesWithTheDisplay) {
  app().settings.scale = 1.5;
  offscreen().resize(1920, 1080);
  settle();
  const auto runs = text();
  EXPECT_TRUE(has_text(runs, "shared memory a workgroup (KiB)"));
  expect_legible(runs, "scale 1.5");
  app().settings.scale = 0;
  offscreen().frame();
  EXPECT_EQ(app().theme.scale, 1);
}

TEST_F(ViewsTest, FifteenFramesASecondAndMore) {
  settle();
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  // The best of some: other programs share this machine's processors.
  double build = 1e9, draw = 1e9;
  for (int i = 0; i < 30; ++i) {
    app().settings.expansion = 1 + i;  // as a drag does
    const auto start = Clock::now();
    offscreen().frame();
    const auto built = Clock::now();
    offscreen().picture();
    build = std::min(build, seconds(built - start));
    draw = std::min(draw, seconds(Clock::now() - built));
  }
  std::printf("best frame: built in %.1f ms, drawn and read back in %.1f ms\n", 1e3 * build, 1e3 * draw);
  EXPECT_LT(build, 1.0 / 120);
  // The validation layer checks every call of the driver: its time is not the app's.
  const char* validation = std::getenv("STATESCOPE_VALIDATION");
  EXPECT_LT(build + draw, validation ? 1.0 / 4 : 1.0 / 15);
}

}  // namespace
}  // namespace statescope::gui
