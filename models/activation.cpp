#include "models/activation.h"

namespace statescope {

std::string_view name(Activation activation) {
  switch (activation) {
    case Activation::kIdentity:
      return "identity";
    case Activation::kSilu:
      return "silu";
    case Activation::kRelu:
      return "relu";
    case Activation::kOnePlusElu:
      return "1+elu";
  }
  return "";
}

}  // namespace statescope
