// Fresh weights (papers/methods, section A: as the published layers begin).
#include <atomic>
#include <cmath>
#include <thread>

#include "models/checkpoint.h"
#include "models/layout.h"
#include "runtime/check/random.h"

namespace statescope {
namespace {

/// The inverse of softplus at a step drawn log-uniformly from [1e-3, 0.1].
double inverse_softplus_step(Random& random) {
  const double step = std::exp(std::log(1e-3) + random.uniform() * (std::log(0.1) - std::log(1e-3)));
  return step + std::log(-std::expm1(-step));
}

double draw(const TensorSpec& spec, std::int64_t index, double deviation, Random& random) {
  switch (spec.init) {
    case Init::kNormal:
      return deviation * random.normal();
    case Init::kOnes:
      return 1;
    case Init::kZeros:
      return 0;
    case Init::kFanIn:
      return (2 * random.uniform() - 1) / std::sqrt(static_cast<double>(spec.shape.back()));
    case Init::kExpansion:
      return random.normal() / (spec.shape.size() == 3 ? std::sqrt(static_cast<double>(spec.shape[1])) : 1.0);
    case Init::kDecay:
      return std::log(16 * (1 - random.uniform()));  // never log 0
    case Init::kRamp:
      return std::log(static_cast<double>(index + 1));
    case Init::kStep:
      return inverse_softplus_step(random);
  }
  return 0;
}

}  // namespace

Tensor random_tensor(const TensorSpec& spec, double deviation, std::uint64_t seed, DType dtype) {
  Tensor tensor(DType::kF32, spec.shape);
  Random random(seed);
  const std::span<float> values = tensor.as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(draw(spec, static_cast<std::int64_t>(i), deviation, random));
  }
  return dtype == DType::kF32 ? tensor : convert(tensor.view(), dtype);
}

Checkpoint random_checkpoint(const ModelConfig& config, std::uint64_t seed, DType dtype) {
  std::map<std::string, Tensor> tensors;
  struct Drawn {
    TensorSpec spec;
    std::uint64_t seed;
    Tensor* tensor;
  };
  std::vector<Drawn> drawn;
  Random seeds(seed);
  for (const TensorSpec& spec : tensor_specs(config)) {
    const std::uint64_t own = seeds.bits();  // drawn for every tensor, so that the others keep theirs
    if (!spec.optional) drawn.push_back({spec, own, &tensors[spec.name]});
  }
  // Each tensor has a seed of its own, so threads do not change what comes out.
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < drawn.size(); i = next++)
      *drawn[i].tensor = random_tensor(drawn[i].spec, config.initializer_range, drawn[i].seed, dtype);
  };
  {
    std::vector<std::jthread> workers;
    for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) workers.emplace_back(work);
    work();
  }
  return make_checkpoint(config, std::move(tensors));
}

}  // namespace statescope
