#include "models/weights.h"

#include "models/operations.h"

namespace statescope {
namespace {

bool is_convolution(const Shape& shape) {
  return shape.size() == 3 && shape[1] == 1;
}
/// What takes part in a matrix product or is a table of rows.
bool is_matrix(const Shape& shape) {
  return shape.size() == 2 || (shape.size() == 3 && !is_convolution(shape));
}

Array find(const std::map<std::string, Array>& arrays, const std::string& name) {
  const auto it = arrays.find(name);
  return it == arrays.end() ? Array() : it->second;
}

}  // namespace

Weights::Weights(const Checkpoint& checkpoint, Compute& compute, DType dtype) {
  for (const auto& [name, view] : checkpoint.tensors) {
    arrays_[name] = compute.constant(view, is_matrix(view.shape) ? dtype : wide_type(dtype));
    if (is_convolution(view.shape))
      convolutions_[name] = dtype == wide_type(dtype) ? arrays_[name] : compute.constant(view, dtype);
  }
}

Array Weights::operator()(const std::string& name) const {
  return find(arrays_, name);
}

Array Weights::convolution(const std::string& name) const {
  return find(convolutions_, name);
}

}  // namespace statescope
