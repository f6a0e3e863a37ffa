#include "profiler/subprocess.h"

#include <gtest/gtest.h>

#include "profiler/code_view.h"

namespace statescope {
namespace {

TEST(Subprocess, PassesInputEnvironmentAndOutput) {
  const auto result = run_process({"sh", "-c", "cat; echo $STATESCOPE_TEST; echo oops >&2; exit 3"}, "in\n",
                                  {{"STATESCOPE_TEST", "value"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->out, "in\nvalue\n");
  EXPECT_EQ(result->err, "oops\n");
}

TEST(Subprocess, LargeStreamsDoNotBlock) {
  const std::string input(3 << 20, 'x');
  const auto result = run_process({"sh", "-c", "cat >&2; echo done"}, input);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out, "done\n");
  EXPECT_EQ(result->err.size(), input.size());
}

TEST(Subprocess, DeathAndAbsenceAreTold) {
  const auto killed = run_process({"sh", "-c", "kill -9 $$"});
  ASSERT_TRUE(killed);
  EXPECT_FALSE(killed->exit_code);
  EXPECT_EQ(killed->signal, 9);
  EXPECT_FALSE(run_process({"statescope-no-such-program"}));
}

TEST(CodeView, SpirvThatIsNoneIsTold) {
  CompiledKernel kernel;
  kernel.spirv = {1, 2, 3};
  add_disassembly(kernel);
  ASSERT_EQ(kernel.representations.size(), 1u);
  EXPECT_EQ(kernel.representations[0].name, "SPIR-V");
  EXPECT_EQ(kernel.representations[0].text[0], ';') << kernel.representations[0].text;
}

TEST(CodeView, SpirvIsDisassembled) {
  if (!run_process({"spirv-dis", "--version"})) GTEST_SKIP() << "spirv-dis is not installed";
  CompiledKernel kernel;
  // Magic, version 1.0, generator, bound, schema; OpCapability Shader; OpMemoryModel Logical GLSL450.
  kernel.spirv = {0x07230203, 0x00010000, 0, 1, 0, 0x00020011, 1, 0x0003000e, 0, 1};
  add_disassembly(kernel);
  EXPECT_NE(kernel.representations[0].text.find("OpMemoryModel Logical GLSL450"), std::string::npos)
      << kernel.representations[0].text;
}

}  // namespace
}  // namespace statescope
