// Outputs: a place that cannot be written is found before the work, and a disk that fills up does not cost
// what was measured.
#include <chrono>

#include "tests/cli/program.h"

namespace statescope {
namespace {

const std::vector<std::string> kSmall{"--device",  "cpu", "--expansion", "1",
                                      "--seq-len", "16",  "--seconds",   "0.001"};

std::vector<std::string> small(const std::string& command, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{command};
  arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// The program where no file may grow beyond 4 or 8 KiB, as the shell counts (the tables go through one of
/// 3): as on a full disk, writing fails, creating does not.
ProcessResult with_a_full_disk(const std::vector<std::string>& arguments) {
  std::vector<std::string> line{"sh", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", program_path()};
  line.insert(line.end(), arguments.begin(), arguments.end());
  return run_process(line).value();
}

TEST(Output, PlacesAreCheckedBeforeTheWork) {
  TemporaryDirectory directory;
  const std::string there = directory / "there.json", absent = directory / "absent/file";
  expect_refusal(small("bench", {"--json", absent}), 4, {"absent/file"});
  expect_refusal(small("profile", {"--output", absent}), 4, {"absent/file"});
  for (const char* option : {"--trace", "--csv"})
    expect_refusal(small("profile", {"--output", there, option, absent}), 4, {"absent/file"});
  expect_refusal(small("profile", {"--output", directory.path()}), 2, {directory.path(), "directory"});
  EXPECT_TRUE(directory.empty());

  std::ofstream(directory / "file") << "in the way";
  const auto start = std::chrono::steady_clock::now();
  expect_refusal({"model", "create", "--config", "gdn-1.5b", "--output", directory / "file/model"}, 4,
                 {"file/model"});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << "weights were drawn first";
}

TEST(Output, AFullDiskDoesNotCostTheTables) {
  TemporaryDirectory directory;
  const ProcessResult result = with_a_full_disk(small("profile", {"--output", directory / "capture.json"}));
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_NE(result.err.find("capture.json: File too large"), std::string::npos) << result.err;
  for (const char* column : {"median", "occupancy"})
    EXPECT_NE(result.out.find(column), std::string::npos) << column << result.out;
  EXPECT_TRUE(directory.empty());
}

}  // namespace
}  // namespace statescope
