// What program wrote a file.
#pragma once

#include <string_view>

namespace statescope {

std::string_view version();  ///< "0.1.0"
std::string_view commit();   ///< of the source tree that was built, "unknown" outside a repository

}  // namespace statescope
