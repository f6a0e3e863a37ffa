// Commands on language models: model, expand, eval, and dilution of a checkpoint's keys.
#include "tests/cli/program.h"
#include "tests/golden_files.h"

namespace statescope {
namespace {

TEST(ModelCommand, ChecksEveryGoldenModel) {
  for (const auto& model : golden_models()) {
    const ProcessResult result =
        statescope_program({"model", "check", model.string(), "--device", "cpu", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto j = parse_json(result.out);
    EXPECT_EQ(j["schema"], "statescope.model_check/1");
    EXPECT_TRUE(j["ok"].get<bool>());
    EXPECT_LT(j["error"].get<double>(), 1e-5);
  }
}

TEST(ModelCommand, AWrongLogitIsAMiss) {
  TemporaryDirectory directory;
  const auto golden = golden_models().front();
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden / file, directory / file);
  }
  std::string expected = read_file(golden / "expected.safetensors");
  // The sign and exponent byte of some logits: 128 or more. The ids lie behind them.
  for (std::size_t i = expected.size() / 2; i + 1000 < expected.size(); i += 4096) expected[i | 3] = 0x43;
  std::ofstream(directory / "expected.safetensors", std::ios::binary) << expected;
  const ProcessResult result = statescope_program({"model", "check", directory.path(), "--device", "cpu"});
  EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
  EXPECT_NE(result.out.find("MISS"), std::string::npos);
}

TEST(ModelCommand, CountsTheNamedConfigurations) {
  const ProcessResult result =
      statescope_program({"model", "count", "--config", "gdn-400m", "--expansion", "8", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto j = parse_json(result.out);
  EXPECT_EQ(j["parameters"], 454188032);
  EXPECT_EQ(j["query_key_ratio"], 2.0);
  EXPECT_EQ(j["equivalent_context_tokens"], 1024.0);
}

TEST(ModelCommand, RefusesInOneLine) {
  TemporaryDirectory directory;
  expect_refusal({"model"}, 2, {"subcommand"});
  expect_refusal({"model", "count"}, 2, {"--config"});
  expect_refusal({"model", "count", "--config", "gdn-7b"}, 2, {"gdn-7b", "gdn-400m"});
  expect_refusal({"model", "count", "--config", "gdn-400m", "--method", "wide"}, 2, {"wide", "headwise"});
  const std::string golden = golden_models().front().string();
  expect_refusal({"model", "count", "--config", "gdn-400m", "--model", golden}, 2, {"not both"});
  expect_refusal({"model", "count", "--model", golden, "--rank", "2"}, 2, {"--rank", "--config"});
  expect_refusal({"model", "check", directory / "none", "--device", "cpu"}, 2, {"none: no such directory"});
  expect_refusal({"model", "generate", "--device", "cpu"}, 2, {"a directory or --config NAME"});
  expect_refusal({"model", "generate", golden, "--config", "gdn-400m", "--device", "cpu"}, 2, {"not both"});
  expect_refusal({"model", "generate", golden, "--expansion", "4", "--device", "cpu"}, 2,
                 {"--expansion", "--config"});
  std::ofstream(directory / "config.json") << R"({"model_type": "rwkv7", "num_hidden_layers": 2})";
  expect_refusal({"model", "generate", directory.path(), "--device", "cpu"}, 2, {"rwkv7", "gated_deltanet"});
  expect_refusal({"eval", "--model", golden_models().front().string(), "--device", "cpu", "--task", "trivia"},
                 2, {"trivia", "passkey"});
  expect_refusal(
      {"expand", "--model", golden_models().front().string(), "--output", directory / "x", "--layers", "a"},
      2, {"--layers", "'a'"});
  for (const char* expansion : {"-2", "1", "257", "100000"}) {
    expect_refusal({"expand", "--model", golden, "--output", directory / "x", "--expansion", expansion}, 2,
                   {std::string("found ") + expansion + ", wanted 2 to 256"});
  }
}

// Without an activation before the expansion the grown model has the old one's logits.
TEST(ExpandCommand, KeepsTheFunctionOfTheGolden) {
  TemporaryDirectory directory;
  for (const auto& model : golden_models()) {
    if (model.filename() == "mamba2") continue;
    const std::string grown = directory / model.filename().string();
    const ProcessResult result = statescope_program(
        {"expand", "--model", model.string(), "--output", grown, "--expansion", "4", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto j = parse_json(result.out);
    EXPECT_TRUE(j["function_unchanged"].get<bool>());
    EXPECT_EQ(j["state_elements"][1], 4 * j["state_elements"][0].get<std::int64_t>());
    std::filesystem::copy_file(model / "expected.safetensors", grown + "/expected.safetensors");
    EXPECT_EQ(statescope_program({"model", "check", grown, "--device", "cpu"}).exit_code, 0);
  }
}

TEST(EvalCommand, ScoresEachTask) {
  for (const char* task : {"passkey", "s-niah", "m-niah", "mqar"}) {
    const ProcessResult result =
        statescope_program({"eval", "--model", golden_models().front().string(), "--device", "cpu", "--task",
                            task, "--lengths", "1024,512", "--samples", "1", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto j = parse_json(result.out);
    EXPECT_EQ(j["lengths"], (std::vector<int>{512, 1024}));
    EXPECT_EQ(j["accuracy"].size(), 2u);
    EXPECT_EQ(j["longest_above"]["0.5"], 0);  // random weights recall nothing
  }
}

// The page has the measured accuracies, and the published fits at the model's own state size beside them.
TEST(EvalCommand, DrawsTheFitsBesideTheMeasurement) {
  TemporaryDirectory directory;
  const ProcessResult result = statescope_program(
      {"eval", "--model", golden_models().front().string(), "--device", "cpu", "--task", "mqar", "--pairs",
       "4", "--lengths", "64,128", "--samples", "1", "--output", directory / "report"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string page = read_file(directory / "report/eval.html");
  for (const char* drawn : {"data-series=\"mqar\" data-x=\"128\"", "forgets past (fit)",
                            "recalls a passkey to (fit)", "accuracy of 0.8 to"}) {
    EXPECT_NE(page.find(drawn), std::string::npos) << drawn;
  }
}

TEST(EvalCommand, AnOutputThatCannotBeMadeIsFoundBeforeTheWork) {
  TemporaryDirectory directory;
  std::ofstream(directory / "file") << "in the way";
  expect_refusal({"eval", "--model", golden_models().front().string(), "--device", "cpu", "--output",
                  directory / "file", "--samples", "1000000"},
                 4, {"file"});
}

TEST(CollapseCommand, RecordsAndMitigates) {
  for (const auto& model : golden_models()) {
    const std::vector<std::string> command = {"collapse", "--model",   model.string(), "--device",
                                              "cpu",      "--tokens",  "96",           "--every",
                                              "32",       "--trained", "64",           "--json"};
    for (const std::string mitigation : {"none", "forget-more", "normalise"}) {
      auto arguments = command;
      arguments.insert(arguments.end(), {"--mitigation", mitigation, "--norm", "0.01"});
      const ProcessResult result = statescope_program(arguments);
      EXPECT_EQ(result.exit_code, 0) << result.err;
      const auto j = parse_json(result.out);
      ASSERT_EQ(j["records"].size(), 3u);
      const auto& head = j["records"][2]["heads"][0];
      EXPECT_LT(head["log_decay"].get<double>(), 0);
      EXPECT_EQ(head["rms"].get<double>() < 0.01 / 32,
                mitigation == "normalise");  // p / sqrt(K V), K V >= 1024
    }
  }
  expect_refusal(
      {"collapse", "--model", golden_models().front().string(), "--device", "cpu", "--trained", "9000"}, 2,
      {"--trained", "4096"});
}

TEST(DilutionCommand, KeysOfACheckpoint) {
  TemporaryDirectory directory;
  std::ofstream(directory / "text") << "The state of a linear RNN keeps what its keys let it tell apart.";
  const auto model = golden_models().front().string();
  const ProcessResult result = statescope_program({"dilution", "--model", model, "--text", directory / "text",
                                                   "--pairs", "40", "--device", "cpu", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto j = parse_json(result.out);
  EXPECT_EQ(j["heads"].size(), 4u);
  for (const auto& head : j["heads"]) EXPECT_GT(head["interference"].get<double>(), 0);
  expect_refusal(
      {"dilution", "--model", model, "--text", directory / "text", "--pairs", "4000", "--device", "cpu"}, 2,
      {"4000"});
  expect_refusal({"dilution", "--model", model, "--device", "cpu"}, 2, {"--text"});
}

}  // namespace
}  // namespace statescope
