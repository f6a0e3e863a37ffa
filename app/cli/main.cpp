// statescope: the command line (DESIGN section 3).
#include <iostream>
#include <new>

#include "app/cli/command.h"
#include "app/cli/terminal.h"
#include "profiler/build_info.h"

#include <statescope/error.h>

namespace {

int fail(int code, const std::string& message) {
  statescope::cli::clear_progress();
  std::cerr << "statescope: " << message << "\n";
  return code;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace statescope;
  CLI::App program{"The recurrence of linear RNNs with a scaled state: run it, check it, measure it."};
  program.name("statescope");
  program.set_version_flag("--version",
                           "statescope " + std::string(version()) + " (" + std::string(commit()) + ")");
  program.footer(
      "Exit codes: 0 done; 1 a check missed or got slower; 2 wrong usage or input, or a problem that the "
      "device\n"
      "refuses; 3 no such device; 4 device lost, out of memory or disk full; 130 interrupted.");
  cli::Action action;
  cli::add_devices(program, action);
  cli::add_run(program, action);
  cli::add_verify(program, action);
  cli::add_sweep(program, action);
  cli::add_bench(program, action);
  cli::add_limits(program, action);
  cli::add_dilution(program, action);
  cli::add_profile(program, action);
  cli::add_compare(program, action);
  cli::add_model(program, action);
  cli::add_expand(program, action);
  cli::add_eval(program, action);
  cli::add_collapse(program, action);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return program.exit(e);
    return fail(2, first_line(e.what()) + " (see --help)");
  }
  if (!action) return fail(2, "no command, wanted one of those that --help lists");
  cli::listen_for_interrupt();
  try {
    const int code = action();
    cli::clear_progress();
    std::cout.flush();
    if (!std::cout) return fail(4, "standard output: cannot be written");
    return code;
  } catch (const Cancelled&) {
    return fail(130, "interrupted");
  } catch (const Error& e) {
    return fail(exit_code(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    return fail(4, "out of memory");
  } catch (const std::exception& e) {  // of a library below; no command means to let one through
    return fail(4, first_line(e.what()));
  }
}
