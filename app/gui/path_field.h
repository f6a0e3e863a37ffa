// A field for a path that completes what is typed: Tab fills in, the list below is clicked.
#pragma once

#include <string>
#include <vector>

#include "app/gui/theme.h"

namespace statescope::gui {

/// What is in the field while it is being typed; a static of whoever draws it.
struct PathField {
  char typed[1024] = "";
  bool active = false, list_hovered = false, focus = false;
};

/// Takes effect with Enter, when a file of the list is clicked, or when the field is left. True when the
/// value changed. `extension` ("json", without a dot) narrows the files of the list; folders stay.
bool path_field(const Theme& theme, const char* id, const char* hint, PathField& field, std::string& value,
                const char* extension = "");

/// Folders (with a slash behind) and files that begin with what is typed, in the order of their names; at
/// most `most`. Hidden ones only where a dot is typed.
std::vector<std::string> completions(const std::string& typed, const std::string& extension,
                                     std::size_t most = 12);
/// What all of them begin with.
std::string common_prefix(const std::vector<std::string>& words);

}  // namespace statescope::gui
