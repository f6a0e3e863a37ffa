// Gradients of whatever is computed: the cpu's operations, written down as they run and gone through
// backwards.
#pragma once

#include <statescope/compute.h>

namespace statescope::cpu {

/// Computes as the cpu does. An array is to be written once by whole operations, or in place by the ones that
/// say so. What has no gradient (rows' statistics, places of the largest) passes through.
class Tape : public Compute {
 public:
  /// d loss / d array after backward(); zeros where the loss does not depend on it.
  virtual Tensor gradient(const Array& array) const = 0;
  /// `seed`: d loss / d result, f64. Goes back over everything since the beginning, which is then forgotten.
  virtual void backward(const Array& result, const Tensor& seed) = 0;
};

std::shared_ptr<Tape> make_tape();

}  // namespace statescope::cpu
