// Subcommands of `model` that write and run one.
#pragma once

#include "app/cli/command.h"

namespace statescope::cli {

void add_create(CLI::App& model, Action& action);
void add_generate(CLI::App& model, Action& action);

}  // namespace statescope::cli
