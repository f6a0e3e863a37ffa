#include "models/weights.h"

#include <cstdint>

namespace statescope {

Weights::Weights(const Checkpoint& checkpoint) {
  for (const auto& [name, view] : checkpoint.tensors) {
    const auto address = reinterpret_cast<std::uintptr_t>(view.bytes.data());
    if (view.dtype == DType::kF32 && address % alignof(float) == 0) {
      spans_[name] = {reinterpret_cast<const float*>(view.bytes.data()), view.bytes.size() / sizeof(float)};
    } else {
      const Tensor& tensor = widened_[name] = convert(view, DType::kF32);
      spans_[name] = tensor.as<float>();
    }
  }
}

std::span<const float> Weights::operator()(const std::string& name) const {
  const auto it = spans_.find(name);
  return it == spans_.end() ? std::span<const float>() : it->second;
}

}  // namespace statescope
