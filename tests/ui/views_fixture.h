// The app drawn without a display and driven by a mouse: what the tests of the views share.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "app/gui/explore.h"
#include "tests/ui/ui_fixture.h"

namespace statescope::gui {

inline constexpr std::pair<int, int> kSizes[] = {{1280, 720}, {1920, 1080}};
inline constexpr double kPatience = 100;

/// Small sizes, so that a software device answers in seconds.
inline Settings small_settings() {
  Settings settings;
  settings.key_dim = settings.value_dim = 32;
  settings.heads = 1;
  settings.seq_len = 64;
  settings.expansion = 4;
  settings.pairs = 32;
  settings.measure = false;
  return settings;
}

struct Row {
  std::string series;
  double x = 0, y = 0, value = 0;
};
inline std::vector<Row> rows_of(const std::string& chart) {
  const plot::Layout* layout = plot::layout(chart);
  std::vector<Row> rows;
  if (!layout) return rows;
  std::istringstream lines(layout->csv);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    Row row;
    std::string x, y, value;
    std::getline(fields, row.series, ',');
    std::getline(fields, x, ',');
    std::getline(fields, y, ',');
    std::getline(fields, value, ',');
    row.x = std::atof(x.c_str());
    row.y = std::atof(y.c_str());
    row.value = std::atof(value.c_str());
    rows.push_back(row);
  }
  return rows;
}
inline const Row* find(const std::vector<Row>& rows, const std::string& series, double x) {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const Row& row) { return row.series == series && row.x == x; });
  return found == rows.end() ? nullptr : &*found;
}

class ViewsTest : public testing::Test {
 protected:
  void SetUp() override {
    plot::capture_csv(true);
    if (!shared_) STATESCOPE_START(shared_ = std::make_unique<Offscreen>(small_settings(), 1280, 720));
    app().settings = small_settings();
    offscreen().resize(1280, 720);
  }
  void TearDown() override {
    if (shared_) {
      EXPECT_EQ(offscreen().renderer().validation_messages(), 0);
    }
  }
  static void TearDownTestSuite() { shared_.reset(); }
  static Offscreen& offscreen() { return *shared_; }
  static App& app() { return shared_->app(); }

  static void settle() { ASSERT_TRUE(offscreen().settle(kPatience)) << "still busy"; }

  static std::vector<DrawnText> text() { return drawn_text(*ImGui::GetDrawData()); }

  /// Where words were drawn in the last frame, the first of them right of and below `from`.
  static ImVec2 place_of(const std::string& words, ImVec2 from = {0, 0}) {
    for (const DrawnText& run : text()) {
      if (run.text == words && run.min.x >= from.x && run.min.y >= from.y)
        return {(run.min.x + run.max.x) / 2, (run.min.y + run.max.y) / 2};
    }
    ADD_FAILURE() << "no '" << words << "' is drawn";
    return {-1, -1};
  }
  static void click_at(ImVec2 at) {
    offscreen().frame(at);
    offscreen().frame(at, true);
    offscreen().frame(at);
    offscreen().frame(at);
  }
  static void click(const std::string& words, ImVec2 from = {0, 0}) { click_at(place_of(words, from)); }
  static void wheel(ImVec2 at, float notches) {
#if IMGUI_VERSION_NUM >= 18700
    ImGui::GetIO().AddMouseWheelEvent(0, notches);
#else
    ImGui::GetIO().MouseWheel = notches;
#endif
    offscreen().frame(at);
    offscreen().frame(at);
  }
  /// Types into the field that shows `hint`, and leaves it.
  static void type(const std::string& hint, const std::string& typed) {
    const ImVec2 at = place_of(hint);
    click_at(at);
    ImGui::GetIO().AddInputCharactersUTF8(typed.c_str());
    offscreen().frame(at);
    offscreen().frame(at);
    click_at({3, 3});
  }

  static void expect_legible(const std::vector<DrawnText>& runs, const std::string& where) {
    for (const DrawnText& run : runs) {
      EXPECT_FALSE(run.clipped) << where << ": '" << run.text << "' is cut";
    }
    for (std::size_t i = 0; i < runs.size(); ++i) {
      for (std::size_t j = i + 1; j < runs.size(); ++j) {
        const float x = std::min(runs[i].max.x, runs[j].max.x) - std::max(runs[i].min.x, runs[j].min.x);
        const float y = std::min(runs[i].max.y, runs[j].max.y) - std::max(runs[i].min.y, runs[j].min.y);
        EXPECT_FALSE(x > 1 && y > 1) << where << ": '" << runs[i].text << "' lies on '" << runs[j].text
                                     << "'";
      }
    }
  }

 private:
  static inline std::unique_ptr<Offscreen> shared_;
};

}  // namespace statescope::gui
