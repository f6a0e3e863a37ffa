// What every term on the screen means, with its equation: shown where the mouse rests.
#pragma once

#include <span>
#include <string_view>

namespace statescope::gui {

struct Term {
  std::string_view key;  ///< what the views ask for
  std::string_view title;
  std::string_view text;      ///< one to three sentences
  std::string_view equation;  ///< empty where there is none
};

std::span<const Term> terms();
/// The term; a key that is not there is a mistake of the program (asserted).
const Term& term(std::string_view key);

}  // namespace statescope::gui
