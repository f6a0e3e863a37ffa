// Pointwise functions of the papers: before an expansion (paper, section 4.3), after a convolution, in gates.
#pragma once

#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

namespace statescope {

enum class Activation { kIdentity, kSilu, kRelu, kOnePlusElu };
inline constexpr Activation kActivations[] = {Activation::kIdentity, Activation::kSilu, Activation::kRelu,
                                              Activation::kOnePlusElu};

/// "identity", "silu", "relu", "1+elu"
std::string_view name(Activation activation);

template <std::floating_point Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}

/// log(1 + e^x) without overflow.
template <std::floating_point Real>
Real softplus(Real x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

template <std::floating_point Real>
Real activate(Activation activation, Real x) {
  switch (activation) {
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kRelu:
      return x > 0 ? x : Real(0);
    case Activation::kOnePlusElu:
      return x > 0 ? 1 + x : std::exp(x);
    default:
      return x;
  }
}

}  // namespace statescope
