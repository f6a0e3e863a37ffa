// What a number on the command line may be: checks of options, and the message of those that are not it.
#pragma once

#include <CLI/CLI.hpp>

namespace statescope::cli {

/// A whole number of at least 1, in 63 bits.
CLI::Validator positive_count();

/// A finite number above 0.
CLI::Validator positive_number();

}  // namespace statescope::cli
