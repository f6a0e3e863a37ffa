#include "models/expansion.h"

#include <string>

#include <statescope/error.h>

namespace statescope {

std::vector<float> expand_headwise(std::span<const float> keys, std::span<const float> weight,
                                   std::int64_t key_dim, Activation activation) {
  const auto k_size = static_cast<std::size_t>(key_dim);
  if (key_dim < 1 || keys.size() % k_size != 0 || weight.size() % (k_size * k_size) != 0) {
    throw Error(ErrorKind::kUsage, "expansion: keys of " + std::to_string(keys.size()) + " and a weight of " +
                                       std::to_string(weight.size()) + " elements, wanted [n, " +
                                       std::to_string(key_dim) + "] and [" + std::to_string(key_dim) +
                                       ", E " + std::to_string(key_dim) + "]");
  }
  const std::size_t n = keys.size() / k_size;
  const std::size_t width = weight.size() / k_size;
  std::vector<float> expanded(n * width);
  std::vector<double> row(width);
  for (std::size_t token = 0; token < n; ++token) {
    row.assign(width, 0);
    for (std::size_t i = 0; i < k_size; ++i) {
      const double activated = activate(activation, static_cast<double>(keys[token * k_size + i]));
      for (std::size_t j = 0; j < width; ++j) row[j] += activated * weight[i * width + j];
    }
    for (std::size_t j = 0; j < width; ++j) expanded[token * width + j] = static_cast<float>(row[j]);
  }
  return expanded;
}

}  // namespace statescope
