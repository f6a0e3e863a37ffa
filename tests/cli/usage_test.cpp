// Wrong usage: exit code 2 (or 3 for a device that is not there) and one line that says what was found and
// wanted.
#include "tests/cli/program.h"

namespace statescope {
namespace {

TEST(Usage, HelpOfTheProgramAndOfEveryCommand) {
  const ProcessResult help = statescope_program({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* code :
       {"0 done", "1 a check", "2 wrong usage", "3 no such device", "4 device lost", "130 "})
    EXPECT_NE(help.out.find(code), std::string::npos) << code;
  for (const std::string command : {"devices", "run", "verify", "sweep", "bench", "limits", "dilution"}) {
    EXPECT_NE(help.out.find(command), std::string::npos) << command;
    const ProcessResult of_command = statescope_program({command, "--help"});
    EXPECT_EQ(of_command.exit_code, 0) << command;
    EXPECT_NE(of_command.out.find("--help"), std::string::npos) << command;
    EXPECT_EQ(of_command.err, "") << command;
  }
}

TEST(Usage, Version) {
  const ProcessResult result = statescope_program({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out.rfind("statescope ", 0), 0u) << result.out;
}

TEST(Usage, NoCommandOrAnUnknownOne) {
  expect_refusal({}, 2, {"no command", "--help"});
  expect_refusal({"frobnicate"}, 2, {"frobnicate"});
  expect_refusal({"limits", "--frobnicate"}, 2, {"--frobnicate"});
}

TEST(Usage, WordsThatAreNotAllowed) {
  expect_refusal({"sweep", "--device", "cpu", "--rule", "rnn"}, 2, {"rnn", "gated_delta"});
  for (const char* type : {"f8", "f64", "i32"}) {
    const std::string message = std::string("found '") + type + "', wanted f32, bf16 or f16\n";
    for (const char* command : {"sweep", "bench"})
      expect_refusal({command, "--device", "cpu", "--dtype", type}, 2, {"--dtype", message});
    expect_refusal({"profile", "--static", "--target", "navi21", "--dtype", type}, 2, {"--dtype", message});
    expect_refusal({"limits", "--dtype", type}, 2, {"--dtype", message});
  }
  expect_refusal({"sweep", "--device", "cpu", "--pass", "sideways"}, 2, {"sideways", "forward"});
  expect_refusal({"sweep", "--device", "cpu", "--division", "thirds"}, 2, {"thirds", "naive"});
  expect_refusal({"bench", "--device", "cpu", "--series", "fast"}, 2, {"fast", "comparison"});
  expect_refusal({"dilution", "--device", "cpu", "--rule", "rnn"}, 2, {"rnn", "linear"});
}

TEST(Usage, NumbersThatAreNotAllowed) {
  expect_refusal({"sweep", "--device", "cpu", "--expansion", "1,two"}, 2, {"--expansion", "two"});
  expect_refusal({"sweep", "--device", "cpu", "--expansion", "1,2,1"}, 2, {"--expansion", "'1' twice"});
  expect_refusal({"sweep", "--device", "cpu", "--pass", "step,step"}, 2, {"--pass", "'step' twice"});
  expect_refusal({"sweep", "--device", "cpu", "--expansion", "0"}, 2, {"--expansion", "'0'"});
  for (const char* number : {"0", "-3", "abc", "2.5", "9223372036854775808", "nan"}) {
    const std::string message = std::string("found '") + number + "', wanted a positive whole number (see";
    for (const char* option : {"--seq-len", "--heads", "--batch", "--key-dim"})
      expect_refusal({"sweep", "--device", "cpu", option, number}, 2, {option, message});
    expect_refusal({"bench", "--device", "cpu", "--expansion", number}, 2, {"--expansion", message});
    expect_refusal({"model", "generate", "--count", number}, 2, {"--count", message});
  }
  for (const char* number : {"0", "-1", "abc", "nan", "inf", "1s"}) {
    const std::string message = std::string("found '") + number + "', wanted a positive number (see";
    for (const char* command : {"bench", "sweep", "profile"})
      expect_refusal({command, "--device", "cpu", "--seconds", number}, 2, {"--seconds", message});
    expect_refusal({"collapse", "--factor", number}, 2, {"--factor", message});
  }
  expect_refusal({"bench", "--device", "cpu", "--key-dim", "100"}, 2, {"100", "multiple of 16"});
  expect_refusal({"limits", "--key-dim", "512"}, 2, {"512", "256"});
}

TEST(Usage, DevicesThatAreNotThere) {
  expect_refusal({"bench", "--device", "cuda:77"}, 3, {"cuda:77", "cpu"});
  expect_refusal({"sweep", "--device", "abacus"}, 3, {"abacus", "cpu"});
  expect_refusal({"limits", "--device-db", "abacus"}, 3, {"abacus", "RTX 3090"});
}

TEST(Usage, BenchRefusesABaselineThatIsNone) {
  TemporaryDirectory directory;
  std::ofstream(directory / "baseline.json") << "{\"schema\": \"other/1\"}";
  expect_refusal({"bench", "--device", "cpu", "--baseline", directory / "baseline.json"}, 2,
                 {"baseline.json", "statescope.bench/1"});
  expect_refusal({"bench", "--device", "cpu", "--baseline", directory / "absent.json"}, 2, {"absent.json"});
  for (const char* text :
       {R"({"schema": 1})", R"({"schema": "statescope.bench/1", "measurement": 1})",
        R"({"schema": "statescope.bench/1", "measurement": {"seconds": {"median": "1"}}})"}) {
    std::ofstream(directory / "baseline.json") << text;
    expect_refusal({"bench", "--device", "cpu", "--baseline", directory / "baseline.json"}, 2,
                   {"baseline.json", "statescope.bench/1"});
  }
}

TEST(Usage, ADirectoryInPlaceOfAFile) {
  TemporaryDirectory directory;
  const std::string there = directory.path();
  expect_refusal({"compare", there, there}, 2, {there, "directory"});
  expect_refusal({"bench", "--device", "cpu", "--baseline", there}, 2, {there, "directory"});
}

}  // namespace
}  // namespace statescope
