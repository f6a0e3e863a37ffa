#include "models/weights.h"

#include "models/operations.h"

namespace statescope {
namespace {

/// What takes part in a matrix product or is a table of rows; convolutions are [C, 1, size].
bool is_matrix(const Shape& shape) {
  return shape.size() == 2 || (shape.size() == 3 && shape[1] > 1);
}

}  // namespace

Weights::Weights(const Checkpoint& checkpoint, Compute& compute, DType dtype) {
  for (const auto& [name, view] : checkpoint.tensors)
    arrays_[name] = compute.constant(view, is_matrix(view.shape) ? dtype : wide_type(dtype));
}

Array Weights::operator()(const std::string& name) const {
  const auto it = arrays_.find(name);
  return it == arrays_.end() ? Array() : it->second;
}

}  // namespace statescope
