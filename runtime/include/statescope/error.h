// The one exception type of the library. Every message is one line that names what was found and what was
// wanted.
#pragma once

#include <stdexcept>
#include <string>

namespace statescope {

enum class ErrorKind {
  kUsage,     ///< wrong usage or malformed input (exit code 2)
  kRefused,   ///< a valid problem that this device cannot run; the message gives the numbers (exit code 2)
  kNoDevice,  ///< no such device (exit code 3)
  kDevice,    ///< device lost, out of memory, or disk full (exit code 4)
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Process exit code of an error kind: 2, 2, 3, 4 in the order of the enumeration.
int exit_code(ErrorKind kind);

}  // namespace statescope
