// A command: adds itself to the program and runs when it was chosen. One file a command.
#pragma once

#include <functional>
#include <stdexcept>

#include <CLI/CLI.hpp>

namespace statescope::cli {

/// Set by the chosen command's callback, run after parsing; returns the exit code.
using Action = std::function<int()>;

void add_devices(CLI::App& program, Action& action);
void add_run(CLI::App& program, Action& action);
void add_verify(CLI::App& program, Action& action);
void add_sweep(CLI::App& program, Action& action);
void add_bench(CLI::App& program, Action& action);
void add_limits(CLI::App& program, Action& action);
void add_dilution(CLI::App& program, Action& action);
void add_profile(CLI::App& program, Action& action);
void add_compare(CLI::App& program, Action& action);
void add_model(CLI::App& program, Action& action);
void add_expand(CLI::App& program, Action& action);
void add_eval(CLI::App& program, Action& action);
void add_collapse(CLI::App& program, Action& action);

}  // namespace statescope::cli
