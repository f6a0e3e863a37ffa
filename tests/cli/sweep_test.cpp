// sweep: the table, sweep.json, sweep.csv and report.html tell the same story.
#include <cmath>
#include <map>
#include <regex>

#include "tests/cli/program.h"

namespace statescope {
namespace {

/// A mark of a chart: its data and where it was drawn.
struct Mark {
  std::string figure, series, text;
  double x = 0, y = 0, page_y = 0;
};

std::string attribute(const std::string& tag, const std::string& name) {
  std::smatch match;
  return std::regex_search(tag, match, std::regex(" " + name + "=\"([^\"]*)\"")) ? match[1].str() : "";
}

/// Where a circle, square, triangle or diamond has its centre.
double centre_y(const std::string& tag) {
  if (const std::string cy = attribute(tag, "cy"); !cy.empty()) return std::stod(cy);
  if (const std::string y = attribute(tag, "y"); !y.empty()) return std::stod(y) + 4.2;
  const std::string d = attribute(tag, "d");
  return std::stod(d.substr(d.find(' ') + 1)) + (d.find("l5.2") != std::string::npos ? 5.6 : 5.4);
}

std::vector<Mark> marks_of(const std::string& page) {
  std::vector<Mark> marks;
  const std::regex figures("<figure class=\"chart[^\"]*\" id=\"([^\"]+)\">([\\s\\S]*?)</figure>");
  const std::regex shapes(
      "<(?:circle|rect|path)([^>]*class=\"mark[^>]*data-series=[^>]*)><title>([^<]*)</title>");
  for (auto figure = std::sregex_iterator(page.begin(), page.end(), figures);
       figure != std::sregex_iterator(); ++figure) {
    const std::string body = (*figure)[2];
    for (auto shape = std::sregex_iterator(body.begin(), body.end(), shapes); shape != std::sregex_iterator();
         ++shape) {
      const std::string tag = " " + (*shape)[1].str();
      marks.push_back({(*figure)[1], attribute(tag, "data-series"), (*shape)[2],
                       std::stod(attribute(tag, "data-x")), std::stod(attribute(tag, "data-y")),
                       centre_y(tag)});
    }
  }
  return marks;
}

/// One sweep of the cpu for all tests: E = 128 makes naive's K = 64 E too long, so that there is a refused
/// cell.
class Sweep : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    result_ = new ProcessResult(statescope_program({"sweep", "--device", "cpu", "--expansion", "1,2,128",
                                                    "--seq-len", "40", "--heads", "1", "--value-dim", "16",
                                                    "--seconds", "0.01", "--output", *directory_ / "out"}));
  }
  static void TearDownTestSuite() {
    delete directory_;
    delete result_;
  }
  static std::string file(const std::string& name) { return read_file(*directory_ / ("out/" + name)); }
  static nlohmann::json rows() { return parse_json(file("sweep.json"))["rows"]; }

  static TemporaryDirectory* directory_;
  static ProcessResult* result_;
};
TemporaryDirectory* Sweep::directory_ = nullptr;
ProcessResult* Sweep::result_ = nullptr;

TEST_F(Sweep, EndsWellAndPrintsEveryCell) {
  EXPECT_EQ(result_->exit_code, 0) << result_->err;
  for (const char* word : {"naive", "production", "measured", "refused", "no subheads rows of cpu"}) {
    EXPECT_NE(result_->out.find(word), std::string::npos) << word;
  }
}

TEST_F(Sweep, JsonHasEveryCellVerifiedOrWithItsReason) {
  const auto json = parse_json(file("sweep.json"));
  EXPECT_EQ(json["schema"], "statescope.sweep/1");
  for (const char* field : {"version", "commit"}) EXPECT_NE(json[field], "") << field;
  EXPECT_EQ(json["devices"][0]["name"], "cpu");
  EXPECT_NE(json["devices"][0]["driver"], "");
  ASSERT_EQ(json["rows"].size(), 2u * 3);
  int refused = 0;
  for (const auto& row : json["rows"]) {
    if (row["status"] == "refused") {
      ++refused;
      EXPECT_EQ(row["series"], "naive");
      EXPECT_EQ(row["expansion"], 128);
      EXPECT_NE(row["reason"].get<std::string>().find("8192"), std::string::npos) << row["reason"];
      EXPECT_TRUE(row["measurement"].is_null());
      continue;
    }
    EXPECT_EQ(row["status"], "measured");
    const auto& m = row["measurement"];
    EXPECT_EQ(m["verified"], true);
    EXPECT_GT(m["seconds"]["median"], 0);
    EXPECT_LE(m["seconds"]["p10"].get<double>(), m["seconds"]["p90"].get<double>());
    EXPECT_NEAR(m["tokens_per_second"].get<double>() * m["seconds"]["median"].get<double>(), 40, 1e-6);
    ASSERT_EQ(m["errors"].size(), 2u);  // o and ht
    for (const auto& e : m["errors"]) EXPECT_LE(e["error"].get<double>(), e["tolerance"].get<double>());
  }
  EXPECT_EQ(refused, 1);
}

TEST_F(Sweep, CsvHasTheSameRows) {
  std::istringstream csv(file("sweep.csv"));
  std::string line;
  std::getline(csv, line);
  const auto columns = std::count(line.begin(), line.end(), ',');
  for (const char* column :
       {"time_median_s", "throughput_tokens_per_s", "traffic_bytes_per_s", "shared_memory_bytes"}) {
    EXPECT_NE(line.find(column), std::string::npos) << column;
  }
  std::size_t count = 0;
  while (std::getline(csv, line)) {
    ++count;
    const std::string plain = std::regex_replace(line, std::regex("\"[^\"]*\""), "quoted");
    EXPECT_EQ(std::count(plain.begin(), plain.end(), ','), columns) << line;
  }
  EXPECT_EQ(count, rows().size());
}

TEST_F(Sweep, ReportStandsAlone) {
  const std::string page = file("report.html");
  for (const char* outside : {"http:", "https:", " src=", "@import", "url(", "<script"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
  for (const char* id : {"throughput-0-forward", "relative", "shared-memory", "context", "parameters",
                         "dilution", "recall", "error"}) {
    EXPECT_NE(page.find("id=\"" + std::string(id) + "\""), std::string::npos) << id;
  }
  EXPECT_EQ(page.find("nan"), std::string::npos);
  EXPECT_EQ(page.find("inf\""), std::string::npos);
}

TEST_F(Sweep, ReportDrawsEveryMeasurementWhereTheDataSays) {
  const auto marks = marks_of(file("report.html"));
  std::vector<const Mark*> throughput;
  for (const Mark& mark : marks) {
    if (mark.figure == "throughput-0-forward") throughput.push_back(&mark);
  }
  std::size_t measured = 0;
  for (const auto& row : rows()) {
    if (row["status"] != "measured") continue;
    ++measured;
    const double y = row["measurement"]["tokens_per_second"], x = row["expansion"];
    EXPECT_TRUE(std::any_of(throughput.begin(), throughput.end(), [&](const Mark* m) {
      return m->x == x && std::abs(m->y / y - 1) < 1e-9;
    })) << row.dump();
  }
  ASSERT_EQ(throughput.size(), measured);
  // A logarithmic axis: page positions are affine in log y.
  const auto [low, high] = std::minmax_element(throughput.begin(), throughput.end(),
                                               [](const Mark* a, const Mark* b) { return a->y < b->y; });
  const double slope = ((*high)->page_y - (*low)->page_y) / std::log((*high)->y / (*low)->y);
  EXPECT_LT(slope, 0);
  for (const Mark* m : throughput)
    EXPECT_NEAR(m->page_y, (*low)->page_y + slope * std::log(m->y / (*low)->y), 0.2) << m->text;
}

TEST_F(Sweep, ReportMarksTheRefusedCell) {
  EXPECT_TRUE(
      std::regex_search(file("report.html"),
                        std::regex("class=\"cross[^>]*data-x=\"128\"[^>]*><title>[^<]*8192[^<]*</title>")));
}

TEST_F(Sweep, ReportDrawsTheoryBesideMeasuredDilution) {
  std::map<std::string, std::map<double, double>> curves;
  for (const Mark& mark : marks_of(file("report.html"))) {
    if (mark.figure == "dilution") curves[mark.series][mark.x] = mark.y;
  }
  ASSERT_EQ(curves.size(), 4u);
  for (const auto& [e, theory] : curves["theory (n-1)/(EK), independent only"]) {
    EXPECT_DOUBLE_EQ(theory, 255 / (64 * e));
    EXPECT_NEAR(curves["independent subkeys"][e], theory, 0.05 * theory);
    if (e == 1) continue;
    EXPECT_GT(curves["expanded keys, linear"][e], theory);
    EXPECT_GT(curves["expanded keys, SiLU"][e], curves["expanded keys, linear"][e]);
  }
}

TEST_F(Sweep, ReportDrawsTheLimitsOfTheDatabase) {
  const std::string page = file("report.html");
  for (const char* bytes : {"32768", "49152", "65536", "101376", "166912", "232448"}) {
    EXPECT_NE(page.find("class=\"limit\" data-y=\"" + std::string(bytes) + "\""), std::string::npos) << bytes;
  }
}

// --foreground: one interrupt, not a second to the whole group, which ends a program at once.
TEST(SweepOutput, InterruptedInItsFirstCellLeavesNothingBehind) {
  TemporaryDirectory directory;
  const auto result = run_process({"timeout", "--foreground", "--signal=INT", "--preserve-status", "4",
                                   program_path(), "sweep", "--device", "cpu", "--seq-len", "65536",
                                   "--heads", "8", "--seconds", "30", "--output", directory / "out"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 130);
  EXPECT_NE(result->err.find("interrupted"), std::string::npos) << result->err;
  EXPECT_TRUE(std::filesystem::is_empty(directory / "out"));
}

TEST(SweepOutput, InterruptedKeepsTheCellsThatWereMeasured) {
  TemporaryDirectory directory;
  const auto result =
      run_process({"timeout", "--foreground", "--signal=INT", "--preserve-status", "7", program_path(),
                   "sweep", "--device", "cpu", "--expansion", "1,2,4,8,16,32,48,64", "--seq-len", "256",
                   "--seconds", "0.6", "--output", directory / "out"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 130);
  EXPECT_NE(result->err.find("interrupted"), std::string::npos) << result->err;
  std::ifstream file(directory / "out/sweep.json");
  const auto document = nlohmann::json::parse(file);
  EXPECT_GE(document["rows"].size(), 1u);
  EXPECT_LT(document["rows"].size(), 16u);
  EXPECT_TRUE(std::filesystem::exists(directory / "out/sweep.csv"));
  EXPECT_FALSE(std::filesystem::exists(directory / "out/report.html"));
}

/// Longer than any machine's memory: the cells, the report's dilution and the rest are written all the same.
TEST(SweepOutput, SizesBeyondMemoryAreReasonsInEveryFile) {
  TemporaryDirectory directory;
  const auto result = statescope_program({"sweep", "--device", "cpu", "--expansion", "2000000", "--seq-len",
                                          "512", "--output", directory / "out"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("wrote"), std::string::npos) << result.out;
  for (const auto& row : parse_json(read_file(directory / "out/sweep.json"))["rows"])
    EXPECT_EQ(row["status"], "refused") << row.dump();
  EXPECT_TRUE(std::regex_search(read_file(directory / "out/report.html"),
                                std::regex("not measured\n[^<]* B of memory on cpu")));
}

TEST(SweepOutput, ADirectoryThatCannotBeMade) {
  TemporaryDirectory directory;
  std::ofstream(directory / "file") << "in the way";
  expect_refusal({"sweep", "--device", "cpu", "--output", directory / "file/out"}, 4, {"file/out"});
}

TEST(SweepOutput, BenchAgainstItsOwnBaseline) {
  TemporaryDirectory directory;
  const std::vector<std::string> arguments{"bench",     "--device", "cpu",       "--expansion", "2",
                                           "--seq-len", "256",      "--seconds", "0.05"};
  auto first = arguments, second = arguments, other = arguments;
  first.insert(first.end(), {"--json", directory / "a.json"});
  ASSERT_EQ(statescope_program(first).exit_code, 0);
  const auto json = parse_json(read_file(directory / "a.json"));
  EXPECT_EQ(json["schema"], "statescope.bench/1");
  EXPECT_EQ(json["measurement"]["verified"], true);
  EXPECT_GT(json["ceilings"]["copy_bytes_per_second"], 0);
  second.insert(second.end(), {"--baseline", directory / "a.json"});
  const ProcessResult compared = statescope_program(second);
  EXPECT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_NE(compared.out.find("baseline"), std::string::npos) << compared.out;
  other.insert(other.end(), {"--rule", "ssd", "--baseline", directory / "a.json"});
  expect_refusal(other, 2, {"another configuration"});
}

}  // namespace
}  // namespace statescope
