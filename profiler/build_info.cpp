#include "profiler/build_info.h"

#include <commit.h>

namespace statescope {

std::string_view version() {
  return STATESCOPE_VERSION;
}

std::string_view commit() {
  return STATESCOPE_COMMIT;
}

}  // namespace statescope
