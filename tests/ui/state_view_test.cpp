// The State view: a recording that runs and can be stopped, what is drawn of it, files that open and are
// refused.
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>

#include <nlohmann/json.hpp>

#include <statescope/error.h>

#include "profiler/export.h"
#include "tests/temporary_directory.h"
#include "tests/ui/views_fixture.h"

namespace statescope::gui {
namespace {

namespace fs = std::filesystem;

class StateView : public ViewsTest {
 protected:
  void SetUp() override {
    ViewsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Settings& s = app().settings;
    s.view = "state";
    s.state_layer = {"retnet", 4, 16, 16};
    s.state_tokens = 256;
    s.state_trained = 32;
    settle();
  }
  static std::vector<std::shared_ptr<const Recording>> all() { return app().states.recordings.all(); }
  static void record() {
    click("Record");
    settle();
  }
};

/// Two heads; the variance of the second grows 25-fold past the training length of 100.
nlohmann::json recording_file() {
  nlohmann::json file{{"schema", "statescope.collapse/1"},
                      {"version", "1"},
                      {"commit", "c"},
                      {"model", "somewhere"},
                      {"device", "cuda:0"},
                      {"trained", 100},
                      {"mitigation", "none"}};
  for (const int tokens : {50, 100, 150, 200}) {
    nlohmann::json heads = nlohmann::json::array();
    for (const int head : {0, 1}) {
      const double variance = head == 1 && tokens > 100 ? 25 : 1;
      heads.push_back({{"layer", 0},
                       {"head", head},
                       {"mean", 0.1},
                       {"variance", variance},
                       {"rms", std::sqrt(variance)},
                       {"median", 0},
                       {"max", 3},
                       {"log_decay", head == 1 ? 0.0 : -0.1 * tokens}});
    }
    file["records"].push_back({{"tokens", tokens}, {"loss", 2}, {"heads", heads}});
  }
  return file;
}

TEST_F(StateView, SaysWhatToDoWhileNothingIsRecorded) {
  EXPECT_TRUE(has_text(text(), "Press Record"));
  expect_legible(text(), "nothing recorded");
}

TEST_F(StateView, RecordsWithoutAndWithEachMitigation) {
  record();
  ASSERT_EQ(all().size(), 4u) << app().states.recordings.error();
  for (const auto& recording : all()) {
    EXPECT_TRUE(recording->done);
    EXPECT_EQ(recording->error, "") << recording->mitigation;
    ASSERT_FALSE(recording->records.empty());
    EXPECT_EQ(recording->records.back().tokens, 256);
    EXPECT_TRUE(recording->collapse);
  }
  for (const auto& [width, height] : kSizes) {
    for (const bool dark : {true, false}) {
      for (const int quantity : {0, 1, 2}) {
        offscreen().resize(width, height);
        app().settings.dark = dark;
        app().settings.state_quantity = quantity;
        offscreen().frame();
        offscreen().frame();
        const auto runs = text();
        const std::string where =
            std::to_string(width) + (dark ? " dark " : " light ") + std::to_string(quantity);
        for (const char* words : {"no mitigation", "forget more", "window", "normalise", "r = 32 tokens",
                                  "trained", "head 0", "head 3", "loss (nats a token)", "half-life (tokens)",
                                  "Collapse", "tokens", "generated retnet"})
          EXPECT_TRUE(has_text(runs, words)) << where << ": no '" << words << "'";
        expect_legible(runs, where);
      }
    }
  }
  // RetNet's decays are fixed: log(1 - 2^(-5 - i)) of head i.
  for (const Row& bar : rows_of("decay")) {
    if (!bar.series.starts_with("head")) continue;
    EXPECT_NEAR(bar.y, std::log(2.0) / -std::log1p(-std::exp2(-5 - bar.x)), 0.01 * bar.y) << bar.series;
  }
  // Normalising keeps every state at the largest norm within training, or below.
  double within = 0, past = 0;
  for (const StateRecord& record : all()[0]->records) {
    for (const HeadStatistics& head : record.layers[0]) {
      if (record.tokens <= 32) within = std::max(within, head.rms);
    }
  }
  for (const StateRecord& record : all()[3]->records) {
    for (const HeadStatistics& head : record.layers[0]) past = std::max(past, head.rms);
  }
  EXPECT_LE(past, within * 1.0001);
  // Marks lie where the records say.
  const auto lines = rows_of("heads-0");
  const StateRecord& last = all()[0]->records.back();
  app().settings.state_quantity = 0;
  offscreen().frame();
  bool found = false;
  for (const Row& row : rows_of("heads-0")) {
    if (row.series.starts_with("head 3") && row.x == 256) {
      EXPECT_NEAR(row.y, last.layers[0][3].rms, 1e-6 * row.y);
      found = true;
    }
  }
  EXPECT_TRUE(found);
}

TEST_F(StateView, AMitigationThatDoesNotApplySaysWhy) {
  app().settings.state_layer.type = "gated_deltanet";
  app().settings.state_tokens = 64;
  record();
  ASSERT_EQ(all().size(), 4u) << app().states.recordings.error();
  EXPECT_NE(all()[2]->error.find("ssd with E = 1"), std::string::npos) << all()[2]->error;
  EXPECT_TRUE(has_text(text(), "does not apply"));
  expect_legible(text(), "gated_deltanet");
}

TEST_F(StateView, EveryGeneratedLayerRuns) {
  for (const char* type : kLayerTypes) {
    app().settings.state_layer.type = type;
    app().settings.state_tokens = 48;
    record();
    ASSERT_FALSE(all().empty()) << type << ": " << app().states.recordings.error();
    EXPECT_EQ(all()[0]->records.back().tokens, 48) << type;
    EXPECT_EQ(all()[0]->records.back().layers.at(0).size(), 4u) << type;
  }
}

TEST_F(StateView, ACheckpointIsRead) {
  const TemporaryDirectory temporary;
  const fs::path folder = temporary / "checkpoint";
  save_checkpoint(generate({"retnet", 2, 16, 16}), folder);
  click("checkpoint");
  type("checkpoint's folder", folder.string());
  EXPECT_EQ(app().settings.state_checkpoint, folder.string());
  app().settings.state_tokens = 64;
  record();
  ASSERT_EQ(all().size(), 4u) << app().states.recordings.error();
  EXPECT_EQ(all()[0]->model, folder.string());
  EXPECT_EQ(all()[0]->records.back().layers.at(0).size(), 2u);
}

TEST_F(StateView, ARecordingOfAnotherMachineOpensAndABrokenOneIsRefused) {
  const TemporaryDirectory temporary;
  const fs::path path = temporary / "r.json";
  write_text(path, recording_file().dump());
  app().drop({path.string()}, {10, 10});
  settle();
  EXPECT_EQ(app().settings.view, "state");
  ASSERT_EQ(all().size(), 1u) << app().states.recordings.error();
  EXPECT_TRUE(has_text(text(), "1 of 2 heads, variance up to 25"));
  EXPECT_TRUE(has_text(text(), "variance 25×, never forgets"));
  EXPECT_TRUE(has_text(text(), "never"));
  EXPECT_TRUE(has_text(text(), "recorded on cuda:0"));
  expect_legible(text(), "opened");

  nlohmann::json broken = recording_file();
  broken["records"][2]["heads"].erase(0);
  EXPECT_THROW(parse_recording(broken.dump(), "broken"), Error);
  broken = recording_file();
  broken["records"][1].erase("loss");
  EXPECT_THROW(parse_recording(broken.dump(), "broken"), Error);
  broken = recording_file();
  broken["records"] = nlohmann::json::array();
  EXPECT_THROW(parse_recording(broken.dump(), "broken"), Error);
  broken["schema"] = "statescope.collapse/9";
  EXPECT_THROW(parse_recording(broken.dump(), "broken"), Error);
  EXPECT_THROW(parse_recording("{\"schema\"", "broken"), Error);
  write_text(path, "{}");
  app().settings.recordings = {path.string(), path.string()};
  settle();
  EXPECT_TRUE(has_text(text(), "wanted schema"));
  EXPECT_EQ(all().size(), 1u) << "what was open stays";
}

TEST_F(StateView, ARecordingCanBeStopped) {
  app().settings.state_tokens = 65536;
  click("Record");
  for (int i = 0; i < 2000 && (all().empty() || all()[0]->records.empty()); ++i) {
    offscreen().frame();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_FALSE(all().empty()) << app().states.recordings.error();
  click("Stop", {0, 100});
  settle();
  EXPECT_FALSE(all()[0]->done);
  EXPECT_LT(all()[0]->records.back().tokens, 65536);
}

}  // namespace
}  // namespace statescope::gui
