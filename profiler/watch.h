// How a long job talks to whoever started it.
#pragma once

#include <functional>
#include <string>

namespace statescope {

/// Thrown between steps when the user asked to stop (Ctrl-C, a button).
struct Cancelled {};

struct Watch {
  std::function<void(const std::string&)> progress;  ///< what is being done now, one line; may be empty
  std::function<bool()> cancelled;                   ///< whether to stop; may be empty

  void say(const std::string& line) const {
    if (progress) progress(line);
  }
  /// Throws Cancelled when asked to stop.
  void check() const {
    if (cancelled && cancelled()) throw Cancelled{};
  }
};

}  // namespace statescope
