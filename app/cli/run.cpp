// statescope run: a file of inputs to a file of outputs.
#include <iostream>

#include "app/cli/command.h"
#include "app/cli/sizes.h"
#include "app/cli/terminal.h"
#include "profiler/build_info.h"
#include "profiler/case_file.h"

#include <statescope/device.h>
#include <statescope/error.h>
#include <statescope/files.h>
#include <statescope/safetensors.h>

namespace statescope::cli {
namespace {

struct RunOptions {
  std::string input, output, rule, device, dtype = "f32", pass, division = "subheads", form = "auto";
  std::optional<float> scale;
};

/// Every pass whose inputs are there, unless one was asked for.
std::vector<Pass> passes_of(const CaseFile& file, const RunOptions& options) {
  if (!options.pass.empty()) return {parse_pass(options.pass)};
  std::vector<Pass> passes{Pass::kForward};
  if (file.tensors[Slot::kDo].present()) passes.push_back(Pass::kBackward);
  return passes;
}

int run(const RunOptions& options) {
  std::error_code error;
  if (std::filesystem::equivalent(options.input, options.output, error)) {
    throw Error(ErrorKind::kUsage, "--output: found the input's own file, wanted another");
  }
  check_place(options.output);
  const Watch job = watch();
  const CaseFile file = read_case_file(options.input);
  const CaseChoice choice{rule_of(file, options.rule), options.scale, parse_run_dtype(options.dtype),
                          parse_division(options.division), parse_form(options.form)};
  std::vector<CaseRun> runs;
  for (Pass pass : passes_of(file, options)) runs.push_back(case_run(file, pass, choice));

  const auto device = open_device(discover(), options.device);
  std::vector<Plan> plans;  // refuse before anything runs
  for (const CaseRun& run : runs) plans.push_back(device->plan(run.problem));

  std::map<std::string, Tensor> outputs;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    job.check();
    job.say(device->info().name + ": " + describe(plans[i].problem));
    const auto execution = device->prepare(plans[i]);
    execution->upload(runs[i].inputs);
    execution->poison();
    execution->run();
    TensorSet result = execution->download();
    for (Slot slot : kSlots) {
      if (!is_input(slot) && takes_part(runs[i].problem, slot)) {
        outputs[std::string(name(slot))] = convert(result[slot].view(), DType::kF32);
      }
    }
  }
  job.check();
  std::map<std::string, TensorView> views;
  for (const auto& [tensor, value] : outputs) views[tensor] = value.view();
  write_safetensors(options.output, views,
                    {{"rule", std::string(name(runs.front().problem.rule))},
                     {"scale", std::to_string(runs.front().problem.scale)},
                     {"dtype", options.dtype},
                     {"device", device->info().name},
                     {"description", device->info().description},
                     {"driver", device->info().driver},
                     {"version", std::string(version())},
                     {"commit", std::string(commit())}});
  return 0;
}

}  // namespace

void add_run(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("run", "Run a file of inputs, write o, ht and gradients as float32");
  auto options = std::make_shared<RunOptions>();
  command
      ->add_option("--input", options->input,
                   "safetensors file: q k v [g] [beta] [h0] [cu_seqlens] [do] [dht]")
      ->required();
  command->add_option("--output", options->output, "safetensors file to write")->required();
  command->add_option("--rule", options->rule,
                      "linear, ssd, gla or gated_delta (default: the file's metadata)");
  command->add_option("--scale", options->scale, "of o (default: the file's metadata, else K^-1/2)");
  command->add_option("--device", options->device, "cpu, vulkan:0, cuda:0 or part of a device's name");
  command->add_option("--dtype", options->dtype, "f32, bf16 or f16")->capture_default_str();
  command->add_option("--pass", options->pass,
                      "forward, backward or step (default: every pass whose inputs are there)");
  command->add_option("--division", options->division, "subheads or naive")->capture_default_str();
  command->add_option("--form", options->form, "auto, recurrent or chunked")->capture_default_str();
  command->callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace statescope::cli
