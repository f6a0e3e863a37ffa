#include "app/cli/terminal.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>

namespace statescope::cli {
namespace {

using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t interrupted = 0;
bool line_shown = false;

void on_interrupt(int signal) {
  interrupted = 1;
  std::signal(signal, SIG_DFL);
}

void show(const std::string& line) {
  static const Clock::time_point start = Clock::now();
  static Clock::time_point last{};
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  const Clock::time_point now = Clock::now();
  if (now - start < std::chrono::seconds(1)) return;
  if (now - last < (terminal ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000))) return;
  last = now;
  if (terminal) {
    std::cerr << "\r\x1b[K" << line << std::flush;
    line_shown = true;
  } else {
    std::cerr << line << std::endl;
  }
}

}  // namespace

void listen_for_interrupt() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
}

Watch watch() {
  show("");  // starts the clock
  return {show, [] { return interrupted != 0; }};
}

void clear_progress() {
  if (line_shown) std::cerr << "\r\x1b[K" << std::flush;
  line_shown = false;
}

}  // namespace statescope::cli
