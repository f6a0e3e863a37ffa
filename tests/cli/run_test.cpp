// run: a file in, a file out, and one line for each way in which a file can be wrong.
#include <functional>
#include <limits>

#include "profiler/case_file.h"
#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "tests/cli/program.h"
#include "tests/golden_files.h"

#include <statescope/safetensors.h>

namespace statescope {
namespace {

Problem small(Rule rule, Pass pass = Pass::kForward) {
  Problem p;
  p.rule = rule;
  p.pass = pass;
  p.seq_len = pass == Pass::kStep ? 1 : 20;
  p.heads = p.qk_heads = 2;
  p.expansion = 2;
  p.key_dim = p.value_dim = 16;
  p.initial_state = pass == Pass::kStep;
  return p;
}

/// Writes a case; `spoil` may change its tensors first.
void write_case(const std::string& path, const Problem& problem,
                const std::function<void(TensorSet&)>& spoil = {},
                std::map<std::string, std::string> metadata = {}) {
  TensorSet inputs = generate_inputs(problem, 7);
  if (spoil) spoil(inputs);
  std::map<std::string, TensorView> views;
  for (Slot slot : kSlots) {
    if (inputs[slot].present()) views[std::string(name(slot))] = inputs[slot].view();
  }
  if (metadata.empty()) metadata = {{"rule", std::string(name(problem.rule))}, {"scale", "0.25"}};
  write_safetensors(path, views, metadata);
}

std::vector<std::string> run_arguments(const std::string& input, const std::string& output,
                                       std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"run", "--device", "cpu", "--input", input, "--output", output};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Run, GoldenFilesForwardAndBackward) {
  TemporaryDirectory directory;
  for (const auto& path : golden_files()) {
    const ProcessResult result =
        statescope_program(run_arguments(path.string(), directory / "out.safetensors"));
    ASSERT_EQ(result.exit_code, 0) << path << result.err;
    const SafetensorsFile golden(path), out(directory / "out.safetensors");
    int compared = 0;
    for (const std::string& tensor : out.names()) {
      ASSERT_TRUE(golden.contains(tensor)) << path << " " << tensor;
      EXPECT_EQ(out.view(tensor).dtype, DType::kF32) << tensor;
      const double error =
          relative_rms(convert(out.view(tensor), DType::kF64), convert(golden.view(tensor), DType::kF64));
      EXPECT_LE(error, 1e-5) << path << " " << tensor;
      ++compared;
    }
    EXPECT_GE(compared, golden.contains("do") ? 5 : 2) << path;
  }
}

TEST(Run, PassesAndTheirOutputs) {
  TemporaryDirectory directory;
  write_case(directory / "in.safetensors", small(Rule::kGatedDelta, Pass::kBackward));
  const auto names_of = [&](std::vector<std::string> more) {
    const ProcessResult result =
        statescope_program(run_arguments(directory / "in.safetensors", directory / "out.safetensors", more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return SafetensorsFile(directory / "out.safetensors").names();
  };
  EXPECT_EQ(names_of({}), (std::vector<std::string>{"dbeta", "dg", "dk", "dq", "dv", "ht", "o"}));
  EXPECT_EQ(names_of({"--pass", "forward"}), (std::vector<std::string>{"ht", "o"}));
  EXPECT_EQ(names_of({"--pass", "backward"}), (std::vector<std::string>{"dbeta", "dg", "dk", "dq", "dv"}));
  write_case(directory / "in.safetensors", small(Rule::kSsd, Pass::kStep));
  EXPECT_EQ(names_of({"--pass", "step"}), (std::vector<std::string>{"ht", "o"}));
}

TEST(Run, RuleAndScaleOfTheMetadataYieldToTheOptions) {
  TemporaryDirectory directory;
  const auto output = [&](const std::map<std::string, std::string>& metadata, std::vector<std::string> more) {
    write_case(directory / "in.safetensors", small(Rule::kSsd), {}, metadata);
    const ProcessResult result =
        statescope_program(run_arguments(directory / "in.safetensors", directory / "out.safetensors", more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return convert(SafetensorsFile(directory / "out.safetensors").view("o"), DType::kF64);
  };
  const Tensor quarter = output({{"rule", "ssd"}, {"scale", "0.25"}}, {});
  EXPECT_LE(relative_rms(output({{"rule", "ssd"}}, {}), quarter), 1e-7);  // K^-1/2 of K = 16
  EXPECT_LE(relative_rms(output({{"rule", "ssd"}, {"scale", "7"}}, {"--scale", "0.25"}), quarter), 1e-7);
  EXPECT_LE(relative_rms(output({{"note", "none"}}, {"--rule", "ssd"}), quarter), 1e-7);
  EXPECT_GT(relative_rms(output({{"rule", "ssd"}, {"scale", "0.5"}}, {}), quarter), 0.9);
  EXPECT_GT(relative_rms(output({{"rule", "ssd"}}, {"--rule", "linear"}), quarter), 0.1);
}

TEST(Run, NaiveDivisionOfAFileWithSubheads) {
  TemporaryDirectory directory;
  for (Rule rule : {Rule::kLinear, Rule::kGla}) {
    write_case(directory / "in.safetensors", small(rule));
    ASSERT_EQ(statescope_program(run_arguments(directory / "in.safetensors", directory / "a.safetensors"))
                  .exit_code,
              0);
    ASSERT_EQ(statescope_program(run_arguments(directory / "in.safetensors", directory / "b.safetensors",
                                               {"--division", "naive"}))
                  .exit_code,
              0);
    const SafetensorsFile subheads(directory / "a.safetensors"), naive(directory / "b.safetensors");
    EXPECT_LE(relative_rms(convert(naive.view("o"), DType::kF64), convert(subheads.view("o"), DType::kF64)),
              1e-6)
        << name(rule);
    EXPECT_EQ(naive.view("ht").shape, (Shape{1, 2, 1, 32, 16}));
  }
  for (Rule rule : {Rule::kSsd, Rule::kGatedDelta}) {
    write_case(directory / "in.safetensors", small(rule));
    expect_refusal(
        run_arguments(directory / "in.safetensors", directory / "c.safetensors", {"--division", "naive"}), 2,
        {"E = 2", "E = 1", std::string(name(rule))});
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "c.safetensors"));
}

TEST(Run, MalformedInputsAreNamed) {
  TemporaryDirectory directory;
  const std::string in = directory / "in.safetensors", out = directory / "out.safetensors";
  struct Fault {
    std::function<void(TensorSet&)> spoil;
    std::vector<std::string> parts;
  };
  const std::vector<Fault> faults = {
      {[](TensorSet& t) { t[Slot::kV] = Tensor(); }, {"'v'"}},
      {[](TensorSet& t) { t[Slot::kBeta] = Tensor(); }, {"'beta'"}},
      {[](TensorSet& t) {
         t[Slot::kK] = Tensor(DType::kF32, {1, 20, 2, 2, 32});
       },
       {"'k'", "[1, 20, 2, 2, 32]", "[1, 20, 2, 2, 16]"}},
      {[](TensorSet& t) {
         t[Slot::kQ] = Tensor(DType::kF32, {20, 16});
       },
       {"'q'", "[20, 16]"}},
      {[](TensorSet& t) { t[Slot::kG].as<float>()[3] = 0.5f; }, {"'g'", "0.5"}},
      {[](TensorSet& t) { t[Slot::kV].as<float>()[5] = std::numeric_limits<float>::quiet_NaN(); },
       {"'v'", "NaN"}},
      {[](TensorSet& t) { t[Slot::kK].dtype = DType::kI32; }, {"'k'", "i32"}},
      {[](TensorSet& t) {
         t[Slot::kH0] = Tensor(DType::kF32, {1, 2, 2, 16, 8});
       },
       {"'h0'", "[1, 2, 2, 16, 8]"}},
  };
  for (const Fault& fault : faults) {
    write_case(in, small(Rule::kGatedDelta), fault.spoil);
    expect_refusal(run_arguments(in, out), 2, fault.parts);
  }
  write_case(in, small(Rule::kSsd), {}, {{"note", "no rule"}});
  expect_refusal(run_arguments(in, out), 2, {"rule"});
  write_case(in, small(Rule::kSsd), {}, {{"rule", "rnn"}});
  expect_refusal(run_arguments(in, out), 2, {"rnn", "gated_delta"});
  write_case(in, small(Rule::kSsd), {}, {{"rule", "ssd"}, {"scale", "much"}});
  expect_refusal(run_arguments(in, out), 2, {"scale", "much"});
  write_case(in, small(Rule::kSsd));
  expect_refusal(run_arguments(in, out, {"--pass", "backward"}), 2, {"'do'"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Run, TruncatedAbsentAndForeignFiles) {
  TemporaryDirectory directory;
  const std::string in = directory / "in.safetensors", out = directory / "out.safetensors";
  expect_refusal(run_arguments(directory / "absent.safetensors", out), 2, {"absent.safetensors"});
  write_case(in, small(Rule::kSsd));
  const std::string whole = read_file(in);
  for (std::size_t size : {std::size_t{0}, std::size_t{4}, std::size_t{40}, whole.size() - 1}) {
    std::ofstream(in, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    expect_refusal(run_arguments(in, out), 2, {"in.safetensors"});
  }
  std::ofstream(in, std::ios::trunc) << std::string(4096, 'x');
  expect_refusal(run_arguments(in, out), 2, {"in.safetensors"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Run, AnOutputThatCannotBeWritten) {
  TemporaryDirectory directory;
  write_case(directory / "in.safetensors", small(Rule::kLinear));
  expect_refusal(run_arguments(directory / "in.safetensors", directory / "no/such/out.safetensors"), 4,
                 {"out.safetensors"});
}

TEST(Run, TheInputIsNoOutput) {
  TemporaryDirectory directory;
  const std::string in = directory / "in.safetensors";
  write_case(in, small(Rule::kLinear));
  std::filesystem::create_symlink(in, directory / "link");
  const std::string before = read_file(in);
  for (const std::string& output : {in, directory.path() + "/./in.safetensors", directory / "link"})
    expect_refusal(run_arguments(in, output), 2, {"--output", "input"});
  EXPECT_EQ(read_file(in), before);
}

TEST(Bench, TimesTheTensorsOfAFile) {
  TemporaryDirectory directory;
  write_case(directory / "in.safetensors", small(Rule::kGatedDelta));
  const std::vector<std::string> arguments{
      "bench", "--device", "cpu", "--input", directory / "in.safetensors", "--seconds", "0.01"};
  auto forward = arguments, sized = arguments, backward = arguments;
  forward.insert(forward.end(), {"--json", directory / "out.json"});
  const ProcessResult result = statescope_program(forward);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(std::ifstream(directory / "out.json"));
  EXPECT_EQ(json["problem"]["expansion"], 2);
  EXPECT_EQ(json["problem"]["seq_len"], 20);
  EXPECT_EQ(json["problem"]["scale"], 0.25);
  EXPECT_EQ(json["measurement"]["verified"], true);
  sized.insert(sized.end(), {"--heads", "3"});
  expect_refusal(sized, 2, {"--heads", "--input"});
  backward.insert(backward.end(), {"--pass", "backward"});
  expect_refusal(backward, 2, {"do"});
}

}  // namespace
}  // namespace statescope
