// A checkpoint's weights on a device: matrices in the type of the activations, everything else wide. Where
// the cpu finds them so, they are used where the file is mapped. Convolutions are there in both types: some
// are part of a recurrence's front end.
#pragma once

#include <map>
#include <string>

#include "models/checkpoint.h"

#include <statescope/compute.h>

namespace statescope {

class Weights {
 public:
  /// The checkpoint must outlive it.
  Weights(const Checkpoint& checkpoint, Compute& compute, DType dtype);

  /// Absent when the model has no such tensor.
  Array operator()(const std::string& name) const;
  /// A convolution [C, size] in the type of the activations.
  Array convolution(const std::string& name) const;

 private:
  std::map<std::string, Array> arrays_, convolutions_;
};

}  // namespace statescope
