// A checkpoint's weights as float32: where the file has them so, they are used where they are mapped.
#pragma once

#include <map>
#include <span>
#include <string>

#include "models/checkpoint.h"

namespace statescope {

class Weights {
 public:
  explicit Weights(const Checkpoint& checkpoint);  ///< the checkpoint must outlive it

  /// Empty when the model has no such tensor.
  std::span<const float> operator()(const std::string& name) const;

 private:
  std::map<std::string, std::span<const float>> spans_;
  std::map<std::string, Tensor> widened_;
};

}  // namespace statescope
