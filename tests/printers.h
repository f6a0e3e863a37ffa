// How GoogleTest prints the library's words: "gla", not the bytes of an enumerator.
#pragma once

#include <ostream>

#include <statescope/types.h>

namespace statescope {

inline void PrintTo(Rule value, std::ostream* out) {
  *out << name(value);
}
inline void PrintTo(Pass value, std::ostream* out) {
  *out << name(value);
}
inline void PrintTo(Form value, std::ostream* out) {
  *out << name(value);
}
inline void PrintTo(DType value, std::ostream* out) {
  *out << name(value);
}
inline void PrintTo(Series value, std::ostream* out) {
  *out << name(value);
}
inline void PrintTo(Division value, std::ostream* out) {
  *out << name(value);
}

}  // namespace statescope
