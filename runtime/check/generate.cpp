#include "runtime/check/generate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/check/random.h"

namespace statescope {
namespace {

void fill_normal(std::span<float> out, Random& random, double deviation = 1) {
  for (float& x : out) x = static_cast<float>(deviation * random.normal());
}

/// Rows of `width` normals, each divided by its length.
void fill_unit_rows(std::span<float> out, std::int64_t width, Random& random) {
  std::vector<double> row(width);
  for (std::size_t first = 0; first < out.size(); first += width) {
    double squares = 0;
    for (double& x : row) {
      x = random.normal();
      squares += x * x;
    }
    const double length = std::sqrt(squares);
    for (std::int64_t i = 0; i < width; ++i) out[first + i] = static_cast<float>(row[i] / length);
  }
}

void fill_gates(std::span<float> out, Gates gates, Random& random) {
  for (float& g : out) {
    const double softplus = std::log1p(std::exp(random.normal() - 2));  // median 0.13, 94 % below 0.5
    const std::uint64_t choice = random.bits();
    const double depth = random.uniform();
    if (gates == Gates::kNone) {
      g = 0;
    } else if (gates == Gates::kSpike && choice % 8 == 0) {
      g = static_cast<float>(choice % 16 == 0 ? -20 : -20 * depth);
    } else {
      g = static_cast<float>(-softplus);
    }
  }
}

void fill_beta(std::span<float> out, Random& random) {
  for (float& beta : out) beta = static_cast<float>(1 / (1 + std::exp(-random.normal())));
}

void fill_cuts(std::span<std::int32_t> out, std::int64_t tokens, Random& random) {
  for (std::int32_t& cut : out) cut = static_cast<std::int32_t>(random.bits() % (tokens + 1));
  out.front() = 0;
  out.back() = static_cast<std::int32_t>(tokens);
  std::sort(out.begin(), out.end());
  if (out.size() > 4) out[2] = out[1];  // the second sequence is empty
}

}  // namespace

TensorSet generate_inputs(const Problem& problem, std::uint64_t seed, Gates gates) {
  TensorSet inputs;
  for (Slot slot : kSlots) {
    if (!is_input(slot) || !takes_part(problem, slot)) continue;
    // A stream a slot: adding h0 to a problem leaves its other inputs as they were.
    constexpr std::uint64_t kStreams = 64;
    Random random(Random(seed * kStreams + static_cast<std::size_t>(slot)).bits());
    Tensor& tensor = inputs[slot];
    tensor = Tensor(slot == Slot::kCuSeqlens ? DType::kI32 : DType::kF32, shape_of(problem, slot));
    switch (slot) {
      case Slot::kQ:
      case Slot::kK:
        if (problem.front_end) {
          fill_normal(tensor.as<float>(), random);
        } else {
          fill_unit_rows(tensor.as<float>(), problem.key_dim, random);
        }
        break;
      case Slot::kQExpand:
      case Slot::kKExpand:
        fill_normal(tensor.as<float>(), random, 1 / std::sqrt(static_cast<double>(problem.key_dim)));
        break;
      case Slot::kQConv:
      case Slot::kKConv:
        fill_normal(tensor.as<float>(), random, 1 / std::sqrt(static_cast<double>(kConvolutionWidth)));
        break;
      case Slot::kG:
        fill_gates(tensor.as<float>(), gates, random);
        break;
      case Slot::kBeta:
        fill_beta(tensor.as<float>(), random);
        break;
      case Slot::kCuSeqlens:
        fill_cuts(tensor.as<std::int32_t>(), problem.seq_len, random);
        break;
      default:
        fill_normal(tensor.as<float>(), random);
        break;
    }
  }
  return inputs;
}

}  // namespace statescope
