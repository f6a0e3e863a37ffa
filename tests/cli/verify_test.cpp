// verify: golden files pass, a wrong one fails, and neither passes silently.
#include "tests/cli/program.h"
#include "tests/golden_files.h"

#include <statescope/problem.h>
#include <statescope/safetensors.h>

namespace statescope {
namespace {

std::string smallest_golden() {
  const auto files = golden_files();
  return std::min_element(files.begin(), files.end(),
                          [](const auto& a, const auto& b) {
                            return std::filesystem::file_size(a) < std::filesystem::file_size(b);
                          })
      ->string();
}

TEST(Verify, GoldenFilePassesInEveryFormAndType) {
  const ProcessResult result = statescope_program(
      {"verify", "--device", "cpu", "--json", "--require-all", "--input", smallest_golden()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out);
  EXPECT_EQ(json["schema"], "statescope.verify/1");
  EXPECT_GE(json["rows"].size(), 6u);
  for (const auto& row : json["rows"]) {
    EXPECT_EQ(row["status"], "passed") << row.dump();
    EXPECT_LE(row["worst_error"].get<double>(), row["tolerance"].get<double>());
    EXPECT_EQ(row["passed"], 1);
  }
}

TEST(Verify, AWrongOutputFails) {
  TemporaryDirectory directory;
  const SafetensorsFile golden(smallest_golden());
  Tensor wrong = convert(golden.view("o"), DType::kF32);
  for (float& x : wrong.as<float>()) x *= 1.001f;
  std::map<std::string, TensorView> views;
  for (const std::string& tensor : golden.names())
    views[tensor] = tensor == "o" ? wrong.view() : golden.view(tensor);
  write_safetensors(directory / "wrong.safetensors", views, golden.metadata());
  const ProcessResult result =
      statescope_program({"verify", "--device", "cpu", "--input", directory / "wrong.safetensors"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("FAILED"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("wrong.safetensors: o"), std::string::npos) << result.out;
}

TEST(Verify, InputsThatAreNoCases) {
  TemporaryDirectory directory;
  expect_refusal({"verify", "--device", "cpu", "--input", directory.path()}, 2,
                 {directory.path(), "*.safetensors"});
  expect_refusal({"verify", "--device", "cpu", "--input", directory / "absent.safetensors"}, 2,
                 {"absent.safetensors"});
  const SafetensorsFile golden(smallest_golden());
  std::map<std::string, TensorView> views;
  for (const std::string& tensor : golden.names()) {
    if (tensor != "o") views[tensor] = golden.view(tensor);
  }
  write_safetensors(directory / "in.safetensors", views, golden.metadata());
  expect_refusal({"verify", "--device", "cpu", "--input", directory / "in.safetensors"}, 2, {"'o'"});
}

}  // namespace
}  // namespace statescope
