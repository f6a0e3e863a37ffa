#include "profiler/capture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include <statescope/error.h>

#include "profiler/capture_export.h"
#include "tests/profiler/synthetic.h"

namespace statescope {
namespace {

using nlohmann::json;

TEST(Capture, RoundTripsEveryField) {
  const Capture capture = synthetic_capture();
  const std::string text = capture_json(capture);
  const Capture back = parse_capture(text, "test");
  EXPECT_EQ(capture_json(back), text);
  EXPECT_EQ(back.devices[0].info.uuid, capture.devices[0].info.uuid);
  EXPECT_EQ(back.devices[0].info.limits.registers_per_multiprocessor, 65536u);
  EXPECT_EQ(back.entries[1].problem, capture.entries[1].problem);
  EXPECT_EQ(back.entries[1].runs[0].total, 4e-3);
  EXPECT_EQ(back.entries[1].launches[0].registers, 40);
  EXPECT_EQ(back.entries[1].compiled[0].representations[0].text, "s_endpgm \"x\"\n");
  EXPECT_EQ(back.entries[2].reason, capture.entries[2].reason);
  EXPECT_FALSE(back.entries[1].errors[1].error.has_value());
  EXPECT_EQ(back.timeline.dropped, 7u);
  ASSERT_EQ(back.timeline.spans.size(), 3u);
  EXPECT_EQ(back.timeline.spans[2].end_ns, 3'500);
  EXPECT_EQ(back.timeline.spans[1].info, back.timeline.spans[2].info);  // shared, as before
  EXPECT_EQ(std::get<double>(back.timeline.spans[1].info->arguments[1].value), 8);
}

TEST(Capture, ScalesAndTimesKeepTheirBits) {
  Capture capture = synthetic_capture();
  capture.entries[0].runs[0].total = 1.0 / 3;
  capture.entries[0].problem.scale = 1.0f / 3;
  const Capture back = parse_capture(capture_json(capture), "test");
  EXPECT_EQ(back.entries[0].runs[0].total, 1.0 / 3);
  EXPECT_EQ(back.entries[0].problem.scale, 1.0f / 3);
}

TEST(Capture, FilesAreWrittenWholeOrNotAtAll) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "statescope_capture";
  std::filesystem::create_directories(folder);
  const auto path = folder / "c.json";
  write_capture(path, synthetic_capture());
  EXPECT_EQ(capture_json(read_capture(path)), capture_json(synthetic_capture()));
  EXPECT_THROW(write_capture(folder / "absent" / "c.json", synthetic_capture()), Error);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder)) ++files;
  EXPECT_EQ(files, 1u);
  std::filesystem::remove_all(folder);
}

/// The one line that a changed capture is refused with.
template <typename Change>
std::string refusal(Change change) {
  json file = json::parse(capture_json(synthetic_capture()));
  change(file);
  try {
    parse_capture(file.dump(), "c.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    return e.what();
  }
  return "accepted";
}

TEST(Capture, MalformedFilesAreRefusedInOneLine) {
  EXPECT_EQ(refusal([](json&) {}), "accepted");
  const auto at = [](json& file, const char* pointer) -> json& { return file[json::json_pointer(pointer)]; };
  struct {
    const char* pointer;
    json value;
    const char* message;
  } const cases[] = {
      {"/schema", "statescope.capture/2",
       "c.json: found schema statescope.capture/2, this program reads statescope.capture/1"},
      {"/schema", "statescope.sweep/1", "c.json: not a capture, wanted schema statescope.capture/1"},
      {"/schema", 3, "c.json: not a capture, wanted schema statescope.capture/1"},
      {"/devices", 3, "c.json: devices: found number, wanted an array"},
      {"/entries/1/launches/0/registers", "many",
       "c.json: entries[1].launches[0].registers: found string, wanted an integer"},
      {"/entries/1/device", 1, "c.json: entries[1].device: found 1, there are 1"},
      {"/entries/1/device", -1, "c.json: entries[1].device: found -1, out of range"},
      {"/entries/0/problem/rule", "gdn", nullptr},
      {"/entries/0/problem/key_dim", 17, nullptr},
      {"/entries/0/problem/seq_len", 1.5,
       "c.json: entries[0].problem.seq_len: found number, wanted an integer"},
      {"/entries/0/problem/packed", 1,
       "c.json: entries[0].problem.packed: found number, wanted true or false"},
      {"/entries/0/status", "fine",
       "c.json: entries[0].status: found 'fine', wanted one of measured, refused, wrong, failed"},
      {"/entries/0/runs", json::array(), "c.json: entries[0].runs: measured, but empty"},
      {"/entries/0/runs/2/total", -1, "c.json: entries[0].runs[2].total: negative"},
      {"/entries/0/runs/2/total", nullptr, "c.json: entries[0].runs[2].total: found null, wanted a number"},
      {"/entries/0/runs/1/launches", {1, 2}, "c.json: entries[0].runs[1].launches: found 2 times, wanted 1"},
      {"/devices/0/info/uuid", "xyz",
       "c.json: devices[0].info.uuid: found 'xyz', wanted 32 hexadecimal digits"},
      {"/devices/0/info/limits/max_workgroup_size", 5'000'000'000,
       "c.json: devices[0].info.limits.max_workgroup_size: found 5000000000, out of range"},
      {"/timeline/spans/0", {9, 0, 0, 1}, "c.json: timeline.spans[0]: no such lane"},
      {"/timeline/spans/0", {0, 9, 0, 1}, "c.json: timeline.spans[0]: no such info"},
      {"/timeline/spans/0", {0, 0, 0, -1}, "c.json: timeline.spans[0]: begin or duration out of range"},
      {"/timeline/spans/0",
       {0, 0, 9'000'000'000'000'000'000, 9'000'000'000'000'000'000},
       "c.json: timeline.spans[0]: begin or duration out of range"},
      {"/timeline/spans/0", {0, 0, 0}, "c.json: timeline.spans[0]: found 3 elements, wanted 4"},
  };
  for (const auto& [pointer, value, message] : cases) {
    const std::string found = refusal([&](json& file) { at(file, pointer) = value; });
    EXPECT_NE(found, "accepted") << pointer;
    EXPECT_EQ(found.find('\n'), std::string::npos);
    if (message) {
      EXPECT_EQ(found, message);
    }
  }
  EXPECT_EQ(refusal([](json& file) { file.erase("timeline"); }), "c.json: timeline: missing");
  EXPECT_EQ(refusal([](json& file) { file["entries"][0]["problem"].erase("heads"); }),
            "c.json: entries[0].problem.heads: missing");
}

TEST(Capture, AnyCutShortFileIsRefused) {
  const std::string text = capture_json(synthetic_capture());
  for (std::size_t length = 0; length < text.size(); length += 97)
    EXPECT_THROW(parse_capture(text.substr(0, length), "c.json"), Error);
  EXPECT_THROW(read_capture("/nowhere/c.json"), Error);
}

TEST(Capture, DamageIsRefusedOrHarmless) {
  const std::string text = capture_json(synthetic_capture());
  Random random(6);
  int refused = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string damaged = text;
    for (int change = 0; change < 3; ++change)
      damaged[random.bits() % damaged.size()] = "0-9e[]{}\",:x"[random.bits() % 12];
    try {
      const Capture capture = parse_capture(damaged, "c.json");
      for (const CaptureEntry& entry : capture.entries) EXPECT_LT(entry.device, capture.devices.size());
      kernel_csv(capture);
      chrome_trace(capture);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_THROW(parse_capture(std::string(1'000'000, '['), "c.json"), Error);
}

TEST(CaptureExport, ChromeTraceHoldsToTheFormat) {
  const Capture capture = synthetic_capture();
  const json trace = json::parse(chrome_trace(capture));
  ASSERT_TRUE(trace.at("traceEvents").is_array());
  std::size_t complete = 0;
  std::map<std::pair<int, int>, std::string> threads;
  for (const json& event : trace["traceEvents"]) {
    ASSERT_TRUE(event.at("ph").is_string());
    ASSERT_TRUE(event.at("name").is_string());
    ASSERT_TRUE(event.at("pid").is_number_integer());
    ASSERT_TRUE(event.at("tid").is_number_integer());
    ASSERT_TRUE(event.at("args").is_object());
    if (event["ph"] == "M") {
      ASSERT_TRUE(event["args"].at("name").is_string());
      if (event["name"] == "thread_name") threads[{event["pid"], event["tid"]}] = event["args"]["name"];
      continue;
    }
    ASSERT_EQ(event["ph"], "X");
    ASSERT_TRUE(event.at("ts").is_number());
    ASSERT_GE(event.at("dur").get<double>(), 0);
    ASSERT_TRUE(event.at("cat").is_string());
    ++complete;
  }
  EXPECT_EQ(complete, capture.timeline.spans.size());
  EXPECT_EQ(threads.size(), 2u);
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") {
      EXPECT_TRUE(threads.contains({event["pid"], event["tid"]}));
    }
    if (event["name"] == "test.recurrent.forward" && event["ts"] == 1.0) {
      EXPECT_EQ(event["dur"], 1.0);  // 1000 ns
      EXPECT_EQ(event["args"]["E"], 8.0);
      EXPECT_EQ(event["args"]["rule"], "gla");
    }
  }
}

TEST(CaptureExport, SpansThatOverlapGetTracksOnWhichTheyNest) {
  Capture capture = synthetic_capture();
  const auto info = capture.timeline.spans[1].info;
  capture.timeline.spans = {{1, 0, 1'000, info}, {1, 500, 1'500, info}, {1, 1'200, 1'400, info}};
  const json trace = json::parse(chrome_trace(capture));
  std::vector<int> tracks;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") tracks.push_back(event["tid"]);
  }
  ASSERT_EQ(tracks.size(), 3u);
  EXPECT_NE(tracks[0], tracks[1]);
  EXPECT_EQ(tracks[2], tracks[0]);  // the first is over by then
}

TEST(CaptureExport, CsvHasOneLineAKernelAndUnits) {
  const std::string csv = kernel_csv(synthetic_capture());
  std::vector<std::string> lines;
  for (std::size_t from = 0; from < csv.size();) {
    const std::size_t to = csv.find('\n', from);
    lines.push_back(csv.substr(from, to - from));
    from = to + 1;
  }
  ASSERT_EQ(lines.size(), 3u);  // the refused entry has no kernel
  EXPECT_NE(lines[0].find("median_s"), std::string::npos);
  EXPECT_NE(lines[1].find("\"Test, \"\"device\"\"\""), std::string::npos) << lines[1];
  EXPECT_NE(lines[1].find(",4096,4096,40,0"), std::string::npos) << lines[1];
}

}  // namespace
}  // namespace statescope
